from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import (
    ShiftConfig,
    ShiftConv1d,
    ShiftConv2d,
    ShiftLinear,
    convert_batch_norm,
    convert_to_shift,
    export_c,
    fold_batch_norm,
)
from shiftlayers.config import QUANTIZER_NAMES
from worker.models import build_network

PROGRAM = """
#include "network.h"
int input_fraction = NET_INPUT_FRACTION, input_size = NET_INPUT_SIZE, n_bytes = sizeof(net_value);
int output_fraction = NET_OUTPUT_FRACTION, output_size = NET_OUTPUT_SIZE;
void infer(const net_value *input, net_value *output) {
  net_value scratch[NET_SCRATCH_SIZE];
  net_infer(input, output, scratch);
}
"""
STRICT = (
    *("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"),
    *("-fsanitize=undefined", "-fno-sanitize-recover=all"),
)
FIXED = ShiftConfig("deepshift-ps", activation_bits=(4, 4))


def compiled(model: nn.Module, folder: Path, input_size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """The exported network as a function of images in float; any undefined behaviour in C ends the process."""
    export_c(model, folder / "network.h", input_size, name="net")
    (folder / "main.c").write_text(PROGRAM)
    subprocess.run(["gcc", *STRICT, "-shared", "-fPIC", "-o", "net.so", "main.c"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "net.so"))

    def number(name: str) -> int:
        return ctypes.c_int.in_dll(library, name).value

    dtype = {4: np.int32, 8: np.int64}[number("n_bytes")]

    def infer(images: Tensor) -> Tensor:
        outputs = np.zeros((len(images), number("output_size")), dtype)
        for image, output in zip(images.double().numpy(), outputs, strict=True):
            whole = np.round(image.reshape(-1) * 2.0 ** number("input_fraction")).astype(dtype)
            assert whole.size == number("input_size")
            library.infer(whole.ctypes.data_as(ctypes.c_void_p), output.ctypes.data_as(ctypes.c_void_p))
        return torch.from_numpy(outputs.astype(np.float64) * 2.0 ** -number("output_fraction"))

    infer.n_bytes = number("n_bytes")
    return infer


def assert_equal_in_c(model: nn.Module, folder: Path, x: Tensor) -> None:
    infer = compiled(model, folder, tuple(x.shape[1:]))
    with torch.no_grad():
        assert torch.equal(infer(x), model.eval()(x).double().flatten(1))


def trained_a_bit(model: nn.Module, x: Tensor) -> nn.Module:
    """With statistics and affine parameters of batch normalisation that are not the initial ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.train()(x)
    return model.eval()


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, groups=4, dilation=2, padding=2, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 10),
    )  # fmt: skip


@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_network_in_c_equals_its_evaluation_bit_for_bit(quantizer, unsigned, tmp_path):
    config = ShiftConfig(quantizer, 3, activation_bits=(4, 4), unsigned_activations=unsigned)
    x = torch.randn(6, 3, 16, 16) * 3
    model = convert_batch_norm(convert_to_shift(small_network(), config))

    assert_equal_in_c(fold_batch_norm(trained_a_bit(model, x)), tmp_path, x)


def test_a_residual_network_in_c_equals_its_evaluation_bit_for_bit(tmp_path):
    x = torch.randn(3, 3, 16, 16)
    model = convert_batch_norm(convert_to_shift(build_network("resnet8", (3, 16, 16), 10), FIXED))

    assert_equal_in_c(fold_batch_norm(trained_a_bit(model, x)), tmp_path, x)


class Functional(nn.Module):
    """A network that calls functions where others hold modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, (1, 3), padding=(0, 1)), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(torch.relu(self.a(x)), 2, stride=1)
        y = F.avg_pool2d(self.b(y).relu(), 2)
        return self.c(F.dropout(F.adaptive_avg_pool2d(y, (2, 2)), training=self.training).view(x.size(0), -1))


def test_functions_are_exported_like_modules(tmp_path):
    model = convert_to_shift(Functional(), FIXED)

    assert_equal_in_c(model, tmp_path, torch.randn(5, 2, 11, 11) * 4)


def test_a_convolution_over_sequences_is_exported(tmp_path):
    model = nn.Sequential(
        nn.Conv1d(2, 4, 5, stride=2, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3), nn.AvgPool1d(2),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip

    assert_equal_in_c(convert_to_shift(model, FIXED), tmp_path, torch.randn(5, 2, 26) * 4)


@pytest.mark.parametrize("layer_type", [ShiftConv1d, ShiftConv2d, ShiftLinear])
def test_one_layer_alone_is_exported(layer_type, tmp_path):
    arguments, shape = {ShiftConv1d: ((2, 3, 3), (2, 7)), ShiftConv2d: ((2, 3, 3), (2, 7, 7))}.get(
        layer_type, ((6, 4), (6,))
    )

    assert_equal_in_c(layer_type(*arguments, config=FIXED), tmp_path, torch.randn(5, *shape))


@pytest.mark.parametrize("bits", [(8, 8), (3, 13), (16, 4)])
def test_wide_sums_take_64_bits_and_are_integer_arithmetic(bits, tmp_path):
    config = ShiftConfig("deepshift-q", 5, activation_bits=bits)
    model = convert_to_shift(nn.Sequential(nn.Linear(300, 40), nn.ReLU(), nn.Linear(40, 4)), config).eval()
    x = torch.randn(7, 300) * 20
    infer = compiled(model, tmp_path, (300,))

    low, high = -(2 ** (sum(bits) - 1)), 2 ** (sum(bits) - 1) - 1
    values = (x.double() * 2 ** bits[1]).round().clamp(low, high)
    for layer in (model[0], model[2]):
        weight = layer.effective_weight().double() * 2**15
        bias = (layer.bias.double() * 2 ** bits[1]).round().clamp(low, high) * 2**15
        sums = (values.long() @ weight.long().T + bias.long()).double()
        values = (sums.relu() / 2**15).round().clamp(low, high)

    assert infer.n_bytes == 8
    assert torch.equal(infer(x), sums * 2.0 ** -(bits[1] + 15))


def test_inputs_outside_the_range_saturate(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(3, 2)), FIXED)

    assert_equal_in_c(model, tmp_path, torch.tensor([[100.0, -100.0, 7.96875], [1e6, -1e6, 0.03125]]))


def test_two_networks_live_in_one_program(tmp_path):
    for name in ("first", "second"):
        export_c(convert_to_shift(nn.Sequential(nn.Linear(3, 2)), FIXED), tmp_path / f"{name}.h", (3,), name=name)
    (tmp_path / "main.c").write_text('#include "first.h"\n#include "second.h"\nint main(void) { return 0; }\n')

    subprocess.run(["gcc", *STRICT, "-o", "main", "main.c"], cwd=tmp_path, check=True)


def test_the_code_of_a_network_has_no_float_and_multiplies_no_weight(tmp_path):
    export_c(convert_to_shift(small_network()[4:6], FIXED), tmp_path / "network.h", (8, 8, 8))
    code = (tmp_path / "network.h").read_text()

    assert "float" not in code.replace("no float", "")
    assert "double" not in code
    assert "code[t] *" not in code


def test_exporting_leaves_the_network_as_it_was(tmp_path):
    model = convert_to_shift(small_network()[4:], FIXED).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    export_c(model, tmp_path / "network.h", (8, 4, 4))

    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)), (1, 4, 4), r"BatchNorm2d.*unknown operation"),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), (2,), r"GELU.*unknown operation"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(3)), (1, 3, 3), "an average over 9 values is no shift"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2, ceil_mode=True)), (1, 3, 3), "ceil_mode"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), (1, 3, 3), "padding must be a number of zeros"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), (1, 3, 3), "padding must be"),
        (nn.Sequential(nn.Linear(2, 2)), (3, 2), "a linear layer takes one row of values"),
        (nn.Sequential(nn.ReLU()), (2,), "the first shift layer must have activation_bits"),
    ],
)
def test_what_has_no_counterpart_in_integers_is_refused_by_name(model, size, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_c(convert_to_shift(model, FIXED), tmp_path / "network.h", size)


def test_a_layer_without_fixed_point_is_refused(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(2, 2)), ShiftConfig())

    with pytest.raises(ValueError, match="must have activation_bits"):
        export_c(model, tmp_path / "network.h", (2,))


def test_a_plain_layer_is_refused(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), FIXED, 1)

    with pytest.raises(ValueError, match=r"'_0' \(Linear\) has no counterpart in whole numbers"):
        export_c(model, tmp_path / "network.h", (2,))


def test_numbers_beyond_64_bits_are_refused(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(2, 2)), ShiftConfig(activation_bits=(32, 32)))

    with pytest.raises(ValueError, match=r"numbers may grow to 2\^\d+, more than 64 bits hold"):
        export_c(model, tmp_path / "network.h", (2,))


def test_a_name_that_is_no_identifier_is_refused(tmp_path):
    with pytest.raises(ValueError, match="name must be a C identifier, got 'my-net'"):
        export_c(convert_to_shift(nn.Linear(2, 2), FIXED), tmp_path / "network.h", (2,), name="my-net")
