"""Convolutions in int8 are exact whatever their kernel, steps, padding, dilation and groups, and the input's size."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shiftlayers import to_int8
from tests.shiftlayers.integers import PS, UNSIGNED, inputs, integer_conv, spread

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")

# The option of mallopt that fills new memory.
M_PERTURB = -6
GEOMETRIES = [
    {"stride": 2},
    {"padding": 2},
    {"padding": 1, "stride": 3},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid"},
    {"padding": 2, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": "same", "padding_mode": "replicate"},
    {"dilation": 2, "padding": 2},
    {"groups": 2},
    {"groups": 4, "padding": 1},
    {"bias": False},
]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("config", [PS, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("arguments", GEOMETRIES, ids=str)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_of_every_geometry_compute_what_integer_arithmetic_does(kind, arguments, config):
    conv = spread(kind(4, 8, 3, **arguments), config)
    x = inputs(2, 4, *(7, 6, 5)[: len(conv.kernel_size)])

    output = to_int8(conv)(x)

    assert torch.equal(output, integer_conv(conv, x))
    assert torch.equal(output, conv(x))


@pytest.fixture(scope="module")
def foul_memory():
    """What is allocated holds neither zeros nor what was there before; elsewhere than with glibc it may."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_PERTURB, 165)
    yield
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_PERTURB, 0)


@st.composite
def convolutions(draw):
    """A layer, and the size of an input that it can have."""
    n_dims = draw(st.integers(1, 3))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * n_dims))

    kernel, stride, padding, dilation = each(1, 4), each(1, 3), each(0, 5), each(1, 2)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(low + more for low, more in zip(least, each(0, 8), strict=True))
    groups, n_in, n_out = draw(
        st.sampled_from([(1, 1, 1), (1, 1, 17), (1, 3, 5), (1, 17, 9), (2, 4, 6), (2, 2, 10), (3, 3, 3), (4, 4, 8)])
    )
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n_dims - 1]
    layer = kind(n_in, n_out, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return spread(layer, draw(st.sampled_from([PS, UNSIGNED]))), size


@given(convolutions())
def test_convolutions_of_any_shape_compute_what_integer_arithmetic_does(foul_memory, drawn):
    conv, size = drawn
    x = inputs(1, conv.in_channels, *size)

    assert torch.equal(to_int8(conv)(x), integer_conv(conv, x))


# What kernels of oneDNN 3.12 get wrong: groups, channels in and out, size of the input, and the rest of the layer.
WRONG = {
    "padding beyond the kernel": (1, 1, 1, (8, 9), {"kernel_size": (2, 1), "padding": (2, 1)}),
    "and many outputs": (1, 1, 17, (8, 9), {"kernel_size": (3, 2), "padding": (4, 3)}),
    "and groups": (4, 4, 8, (8, 9), {"kernel_size": (2, 1), "padding": (2, 1)}),
    "an input between the taps": (
        1,
        17,
        9,
        (1, 1),
        {"kernel_size": (3, 2), "padding": (2, 1), "dilation": 2, "stride": (2, 1)},
    ),
    "a flat volume": (4, 4, 8, (1, 8, 8), {"kernel_size": 3, "padding": 1}),
    "one column": (1, 1, 17, (7, 1), {"kernel_size": (1, 3), "padding": (2, 1), "stride": (1, 3)}),
    "one column without padding": (4, 4, 8, (9, 3), {"kernel_size": (2, 3), "stride": (1, 2)}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_kernels_get_wrong_is_right(foul_memory, case):
    groups, n_in, n_out, size, options = WRONG[case]
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[len(size)]
    conv = spread(kind(n_in, n_out, groups=groups, **options), PS)
    x = inputs(1, n_in, *size)

    assert torch.equal(to_int8(conv)(x), integer_conv(conv, x))


def test_an_input_smaller_than_the_kernel_is_refused():
    with pytest.raises(RuntimeError, match=r"must be \[3, 3\] at least, got \[8, 2\]"):
        to_int8(spread(nn.Conv2d(1, 2, 3, stride=2), PS))(inputs(1, 1, 8, 2))
