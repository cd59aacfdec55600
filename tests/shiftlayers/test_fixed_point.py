from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from shiftlayers import FixedPoint, ShiftConfig, ShiftConv2d, ShiftLinear, round_to_fixed_point
from shiftlayers.fixed_point import fixed_point_range

finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("x", "integer_bits", "fraction_bits", "expected"),
    [
        (7.9, 4, 4, 7.875),
        (100.0, 4, 4, 7.9375),
        (-100.0, 4, 4, -8.0),
        (-0.001, 4, 4, 0.0),
        (0.04, 4, 4, 0.0625),
        (5.0, 1, 3, 0.875),
        (-5.0, 1, 3, -1.0),
        (0.4, 1, 3, 0.375),
        (9.0, 2, 2, 1.75),
        (-9.0, 1, 0, -1.0),
        (9.0, 1, 0, 0.0),
        (0.03125, 4, 4, 0.0),
        (0.09375, 4, 4, 0.125),
    ],
)
def test_fixed_point_gives_the_nearest_number_of_its_grid(x, integer_bits, fraction_bits, expected):
    assert round_to_fixed_point(torch.tensor([x]), integer_bits, fraction_bits).item() == expected


@pytest.mark.parametrize("x", [2.0**15 - 2.0**-16, 2.0**15, 1e30])
def test_top_of_sixteen_and_sixteen_bits_is_never_exceeded(x):
    assert round_to_fixed_point(torch.tensor([x]), 16, 16).double().item() <= 2.0**15 - 2.0**-16


@given(finite_floats, st.integers(1, 32), st.integers(0, 32))
def test_fixed_point_is_a_multiple_of_its_step_in_range(x, integer_bits, fraction_bits):
    rounded = round_to_fixed_point(torch.tensor([x]), integer_bits, fraction_bits).double().item()

    assert (rounded * 2.0**fraction_bits).is_integer()
    assert -(2.0 ** (integer_bits - 1)) <= rounded <= 2.0 ** (integer_bits - 1) - 2.0**-fraction_bits


@given(finite_floats, st.integers(1, 32), st.integers(0, 32))
def test_rounding_to_fixed_point_is_idempotent(x, integer_bits, fraction_bits):
    once = round_to_fixed_point(torch.tensor([x]), integer_bits, fraction_bits)

    assert torch.equal(round_to_fixed_point(once, integer_bits, fraction_bits), once)


@given(st.floats(-7.9375, 7.9375, width=32))
def test_fixed_point_errs_by_half_a_step_at_most(x):
    assert abs(round_to_fixed_point(torch.tensor([x]), 4, 4).item() - x) <= 2**-5


def test_fixed_point_gradient_is_one_inside_and_zero_where_saturated():
    x = torch.tensor([-9.0, -8.0, -0.3, 0.0, 0.01, 7.9375, 8.0, 100.0])

    gradient = gradient_of(x, 4, 4)

    assert gradient.tolist() == [0, 2, 2, 2, 2, 2, 0, 0]


def test_fixed_point_leaves_its_input_as_it_was():
    x = torch.randn(100)
    before = x.clone()

    round_to_fixed_point(x, 4, 4)

    assert torch.equal(x, before)


def test_fixed_point_keeps_nan():
    assert round_to_fixed_point(torch.tensor([math.nan]), 4, 4).isnan().all()


def gradient_of(x: Tensor, *args, n: float = 2.0) -> Tensor:
    leaf = x.clone().requires_grad_()
    round_to_fixed_point(leaf, *args).backward(torch.full_like(x, n))
    return leaf.grad


def nearest(x: float, integer_bits: int, fraction_bits: int, signed: bool) -> float:
    """The definition in exact arithmetic; `round` of a Fraction ties to even."""
    low, high = (-(2 ** (integer_bits - 1)), 2 ** (integer_bits - 1)) if signed else (0, 2**integer_bits)
    steps = round(Fraction(x) * 2**fraction_bits)
    return float(Fraction(min(max(steps, low * 2**fraction_bits), high * 2**fraction_bits - 1), 2**fraction_bits))


@given(
    st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=40),
    st.integers(1, 10),
    st.integers(0, 13),
    st.booleans(),
)
def test_fixed_point_is_the_nearest_in_exact_arithmetic(values, integer_bits, fraction_bits, signed):
    rounded = round_to_fixed_point(torch.tensor(values), integer_bits, fraction_bits, signed)

    assert rounded.tolist() == [nearest(v, integer_bits, fraction_bits, signed) for v in values]


@given(st.lists(finite_floats, min_size=1, max_size=8), st.integers(1, 32), st.integers(0, 32), st.booleans())
def test_a_value_is_rounded_alike_beside_saturating_ones(values, integer_bits, fraction_bits, signed):
    alone = [round_to_fixed_point(torch.tensor([v]), integer_bits, fraction_bits, signed) for v in values]
    together = round_to_fixed_point(torch.tensor([*values, 3e38]), integer_bits, fraction_bits, signed)

    assert torch.equal(together[:-1], torch.cat(alone))


@pytest.mark.parametrize("signed", [True, False])
def test_a_gradient_is_the_same_beside_saturating_values(signed):
    low, high = fixed_point_range(3, 5, signed)
    x = torch.linspace(low, high, 100)

    beside = gradient_of(torch.cat([x, torch.tensor([1e9])]), 3, 5, signed)

    assert torch.equal(beside[:-1], gradient_of(x, 3, 5, signed))
    assert beside[-1] == 0


def test_unsigned_fixed_point_reaches_twice_as_far_and_has_no_negative_numbers():
    x = torch.tensor([-3.0, -0.01, 0.0, 0.03, 7.99, 15.94, 40.0])

    assert round_to_fixed_point(x, 4, 4, signed=False).tolist() == [0, 0, 0, 0, 8.0, 15.9375, 15.9375]
    assert gradient_of(x, 4, 4, False).tolist() == [0, 0, 2, 2, 2, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [(4, 4), (8, 9), (16, 16)])
def test_fixed_point_keeps_the_dtype(dtype, bits):
    x = torch.tensor([0.75, -1.5, 200.0], dtype=dtype)
    high = fixed_point_range(*bits)[1]

    rounded = round_to_fixed_point(x, *bits)

    assert rounded.dtype == dtype
    assert rounded.tolist() == [0.75, -1.5, torch.tensor(min(200.0, high)).to(dtype).item()]


def test_infinities_saturate():
    x = torch.tensor([math.inf, -math.inf])

    assert round_to_fixed_point(x, 4, 4).tolist() == [7.9375, -8.0]
    assert round_to_fixed_point(x, 16, 16).tolist() == list(reversed(fixed_point_range(16, 16)))


def test_no_values_are_no_error():
    assert round_to_fixed_point(torch.empty(0, 3), 4, 4).shape == (0, 3)


@pytest.mark.parametrize("bits", [(0, 4), (33, 4), (4, -1), (4, 33)])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match=r"1\.\.32 integer and 0\.\.32 fraction bits"):
        round_to_fixed_point(torch.zeros(1), *bits)


def test_compiled_rounding_has_no_graph_break_and_equals_the_eager_one():
    x = torch.randn(50) * 5

    compiled = torch.compile(lambda t: round_to_fixed_point(t, 4, 4), backend="aot_eager", fullgraph=True)

    assert torch.equal(compiled(x), round_to_fixed_point(x, 4, 4))


UNSIGNED = ShiftConfig(activation_bits=(2, 3), unsigned_activations=True)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(ShiftConv2d(2, 3, 3, config=UNSIGNED), (1, 2, 4, 4)), (ShiftLinear(5, 4, config=UNSIGNED), (2, 5))],
    ids=["conv", "linear"],
)
def test_a_layer_of_unsigned_activations_rounds_inputs_without_and_biases_with_a_sign(layer, shape):
    x = torch.randn(shape) * 3
    layer.bias.data.fill_(-0.3)
    plain = nn.functional.conv2d if isinstance(layer, ShiftConv2d) else nn.functional.linear

    expected = plain(round_to_fixed_point(x, 2, 3, signed=False), layer.effective_weight(), layer.bias * 0 - 0.25)

    assert torch.equal(layer(x), expected)


def test_the_module_says_how_it_rounds():
    assert repr(FixedPoint(4, 4, signed=False)) == "FixedPoint(4, 4, signed=False)"


def test_saturating_values_survive_activation_checkpointing():
    layer = ShiftLinear(4, 4, config=ShiftConfig(activation_bits=(2, 2)))
    x = (torch.randn(9, 4) * 3).requires_grad_()

    checkpoint(layer, x, use_reentrant=False).sum().backward()
    again = x.grad.clone()
    x.grad = None
    layer(x).sum().backward()

    assert torch.equal(x.grad, again)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_traced_network_saturates_whatever_it_was_traced_with():
    traced = torch.jit.trace(FixedPoint(4, 4), torch.rand(2, 4), check_trace=False)

    assert traced(torch.full((2, 4), 100.0)).unique().item() == 7.9375


def test_shapes_alone_can_be_rounded():
    with FakeTensorMode():
        assert round_to_fixed_point(torch.empty(2, 3), 4, 4).shape == (2, 3)
