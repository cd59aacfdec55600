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
from shiftlayers.swap import replace_layer
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


class Written(nn.Module):
    """Three layers that keep the shape of what they are given, and a forward that a test chooses."""

    def __init__(self, forward: Callable[[Written, Tensor], Tensor], n_dims: int = 2, channels: int = 4) -> None:
        super().__init__()
        layer = {0: nn.Linear, 1: nn.Conv1d, 2: nn.Conv2d}[n_dims]
        arguments = {} if n_dims == 0 else {"kernel_size": 3, "padding": 1}
        self.a, self.b, self.c = (layer(channels, channels, **arguments) for _ in range(3))
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(inplace=True)
        self.register_buffer("mean", torch.ones(1))
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool1d(2), lambda x: F.adaptive_avg_pool1d(x, 2), nn.AvgPool1d(16)])
def test_a_sequence_is_averaged_to_a_given_length(pool, tmp_path):
    model = convert_to_shift(Written(lambda m, x: m.b(m.pool(m.a(x))), 1), FIXED)
    model.pool = pool

    assert_equal_in_c(model, tmp_path, torch.randn(5, 4, 32) * 4)


@pytest.mark.parametrize(
    "pool",
    [
        *(
            lambda x: F.avg_pool2d(x, (2,)),
            lambda x: F.max_pool2d(x, [2]),
            nn.AvgPool2d((2,), (1,)),
            nn.MaxPool2d((3,)),
        ),
        *(lambda x: F.max_pool2d(x, (3,), (2,), (1,), (1,)), lambda x: F.avg_pool2d(x, x.size(2))),
        *(lambda x: F.avg_pool2d(x, (2, 1), stride=[1, 2]), lambda x: F.adaptive_avg_pool2d(x, (1, 4))),
    ],
)
def test_a_window_of_one_number_counts_in_both_directions(pool, tmp_path):
    model = convert_to_shift(Written(lambda m, x: m.pool(m.a(x))), FIXED)
    model.pool = pool

    assert_equal_in_c(model, tmp_path, torch.randn(5, 4, 8, 8) * 4)


@pytest.mark.parametrize(
    ("n_dims", "mean"),
    [
        (1, lambda y: y.mean(2)),
        (1, lambda y: torch.mean(y, dim=-1, keepdim=True)),
        (2, lambda y: y.mean((-1, 2))),
        (2, lambda y: y.mean([2, 3], True)),
        (2, lambda y: torch.mean(y, axis=(y.dim() - 1, -2))),
    ],
)
def test_a_mean_over_all_positions_is_exported(n_dims, mean, tmp_path):
    model = convert_to_shift(Written(lambda m, x: mean(m.a(x)), n_dims), FIXED)

    assert_equal_in_c(model, tmp_path, torch.randn(5, 4, *[4] * n_dims) * 4)


@pytest.mark.parametrize(
    ("n_dims", "mean"),
    [
        *((0, lambda y: y.mean(1)), (1, lambda y: y.mean(1)), (1, lambda y: y.mean((1, 2)))),
        *((2, lambda y: y.mean((1, 2))), (2, lambda y: y.mean(-1)), (2, lambda y: y.mean((1, 2, 3)))),
        (2, lambda y: y.mean((2, y.size(2) - 3))),
    ],
)
def test_a_mean_over_other_dimensions_is_refused(n_dims, mean, tmp_path):
    model = convert_to_shift(Written(lambda m, x: mean(m.a(x)), n_dims), FIXED)

    with pytest.raises(ValueError, match=r"'mean' \(mean\).*must be over all positions of each channel"):
        export_c(model, tmp_path / "network.h", (4,) * (n_dims + 1))


@pytest.mark.parametrize(
    "reshape", [lambda y: y.flatten(0), lambda y: y.view(-1), lambda y: y.view(y.size(1), -1), torch.mean]
)
def test_what_does_away_with_the_batch_is_refused(reshape, tmp_path):
    model = convert_to_shift(Written(lambda m, x: reshape(m.a(x))), FIXED)

    with pytest.raises(ValueError, match=r"makes the shape .* of a batch of one image"):
        export_c(model, tmp_path / "network.h", (4, 3, 3))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Sequential(nn.Conv1d(1, 1, 3)), (8,)),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), (8, 8)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool2d(2)), (2, 10)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.AvgPool2d(2)), (2, 10)),
    ],
)
def test_what_takes_the_batch_for_channels_is_refused(model, size, tmp_path):
    with pytest.raises(ValueError, match=r"it takes channels and [12] dimensions, got the shape"):
        export_c(convert_to_shift(model, FIXED), tmp_path / "network.h", size)


def rectified_by_name(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(m.relu(y)) + y


def rectified_by_statement(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    F.relu_(y)
    return m.b(y)


def added_by_operator(m: Written, x: Tensor) -> Tensor:
    y = z = m.a(x)
    y += m.b(x)
    return m.c(z)


def rectified_through_a_view(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    m.relu(y.flatten(1))
    return m.b(y)


@pytest.mark.parametrize(
    "forward", [rectified_by_name, rectified_by_statement, added_by_operator, rectified_through_a_view]
)
def test_a_tensor_that_is_used_after_it_was_changed_in_place_is_refused(forward, tmp_path):
    model = convert_to_shift(Written(forward), FIXED)

    with pytest.raises(ValueError, match=r"changes in place a tensor that .* uses again"):
        export_c(model, tmp_path / "network.h", (4, 3, 3))


def test_operations_in_place_whose_inputs_are_not_used_again_are_exported(tmp_path):
    def forward(m: Written, x: Tensor) -> Tensor:
        y = m.relu(m.a(x))
        z = m.dropout(m.b(y))
        z += y
        return m.c(F.relu_(z))

    assert_equal_in_c(convert_to_shift(Written(forward), FIXED), tmp_path, torch.randn(5, 4, 5, 5) * 4)


UNSIGNED = ShiftConfig("deepshift-ps", activation_bits=(4, 4), unsigned_activations=True)
COARSE = ShiftConfig("deepshift-ps", activation_bits=(4, 1))


@pytest.mark.parametrize(
    ("forward", "second", "found"),
    [
        (lambda m, x: m.a(x) + m.b(x), COARSE, r"'a' .* with \(4, 4, True\), 'b' .* with \(4, 1, True\)"),
        (lambda m, x: m.a(x) + m.b(F.relu(x)), UNSIGNED, r"'b' .* with \(4, 4, False\)"),
        (lambda m, x: m.b(F.max_pool2d(x, 1).flatten(1).view(-1, 4, 3, 3)) + m.a(x), COARSE, "'b' .*4, 1, True"),
        (lambda m, x: m.b(m.a(x)) + x, FIXED, r"'a' .*, 'add' \(add\) with none"),
        (lambda m, x: m.a(F.avg_pool2d(x, 1)), FIXED, r"got 'avg_pool2d' \(avg_pool2d\) with none"),
        (lambda m, x: m.a(x) + m.b(x), ShiftConfig(), r"'a' .*4, 4, True\), 'b' \(ShiftConv2d\) with none"),
    ],
)
def test_an_input_that_is_read_on_several_grids_is_refused(forward, second, found, tmp_path):
    model = convert_to_shift(Written(forward), second, select=lambda name, _m: name == "b")

    with pytest.raises(ValueError, match=f"what reads the input must be shift layers.*{found}"):
        export_c(convert_to_shift(model, FIXED), tmp_path / "network.h", (4, 3, 3))


@pytest.mark.parametrize("config", [FIXED, UNSIGNED], ids=["signed", "unsigned"])
def test_an_input_goes_to_several_layers_through_what_commutes_with_rounding(config, tmp_path):
    def forward(m: Written, x: Tensor) -> Tensor:
        y = F.relu(m.dropout(x.view(x.size(0), 4, 6, 6)))
        return m.a(y) + m.b(F.max_pool2d(y, 3, 1, 1))

    model = Written(forward)
    for layer in (model.a, model.b):
        model = replace_layer(model, layer, ShiftConv2d.from_float(layer, config))

    assert_equal_in_c(model, tmp_path, torch.randn(5, 4 * 36) * 20)


@pytest.mark.parametrize("size", [(3, 3), (2, 5, 5), (-1,), 7])
def test_an_input_size_that_the_network_does_not_run_on_is_refused_in_silence(size, tmp_path, capfd):
    model = convert_to_shift(Written(lambda m, x: m.a(x)), FIXED)

    with pytest.raises(ValueError, match="the network does not run on one image of input_size"):
        export_c(model, tmp_path / "network.h", size)

    assert capfd.readouterr() == ("", "")


def test_a_network_of_doubles_is_exported(tmp_path):
    model = convert_to_shift(Written(lambda m, x: m.b(m.a(x).relu())), FIXED).double()

    assert_equal_in_c(model, tmp_path, torch.randn(5, 4, 5, 5, dtype=torch.float64) * 4)


def test_a_buffer_is_refused_whatever_its_name(tmp_path):
    model = convert_to_shift(Written(lambda m, x: m.a(x) + m.mean), FIXED)

    with pytest.raises(ValueError, match=r"'mean' \(get_attr\).*parameters and buffers can be read by shift layers"):
        export_c(model, tmp_path / "network.h", (4, 3, 3))


def test_several_tensors_are_refused(tmp_path):
    parts = convert_to_shift(Written(lambda m, x: m.a(x).chunk(2, 1)[0]), FIXED)
    results = convert_to_shift(Written(lambda m, x: {"a": m.a(x)}), FIXED)

    with pytest.raises(ValueError, match=r"'chunk' \(chunk\).*unknown operation"):
        export_c(parts, tmp_path / "network.h", (4, 3, 3))
    with pytest.raises(ValueError, match="the network must give one tensor"):
        export_c(results, tmp_path / "network.h", (4, 3, 3))


def test_a_subclass_of_a_shift_layer_is_refused_by_its_path(tmp_path):
    class Negated(ShiftLinear):
        def forward(self, input: Tensor) -> Tensor:
            return -super().forward(input)

    model = nn.Sequential(nn.Sequential(Negated(2, 2, config=FIXED)))

    with pytest.raises(ValueError, match=r"'0\.0' \(Negated\).*unknown operation"):
        export_c(model, tmp_path / "network.h", (2,))


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
        (
            nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)),
            (1, 4, 4),
            r"BatchNorm2d.*unknown operation; call fold_batch_norm",
        ),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), (2,), r"GELU.*unknown operation"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(3)), (1, 3, 3), "an average over 9 values is no shift"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2, ceil_mode=True)), (1, 3, 3), "ceil_mode"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), (1, 3, 3), "padding must be a number of zeros"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), (1, 3, 3), "padding must be"),
        (nn.Sequential(nn.Linear(2, 2)), (3, 2), "a linear layer takes one row of values"),
        (nn.Sequential(nn.ReLU()), (2,), "they must have activation_bits of one"),
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

    with pytest.raises(ValueError, match=r"'0' \(Linear\) has no counterpart in whole numbers"):
        export_c(model, tmp_path / "network.h", (2,))


def test_numbers_beyond_64_bits_are_refused(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(2, 2)), ShiftConfig(activation_bits=(32, 32)))

    with pytest.raises(ValueError, match=r"numbers may grow to 2\^\d+, more than 64 bits hold"):
        export_c(model, tmp_path / "network.h", (2,))


@pytest.mark.parametrize("name", ["my-net", "größe", "2nd", "net\n"])
def test_a_name_that_is_no_identifier_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"name must be a C identifier, got {name!r}".replace("\\", "\\\\")):
        export_c(convert_to_shift(nn.Linear(2, 2), FIXED), tmp_path / "network.h", (2,), name=name)


def test_a_network_is_not_left_out_beside_one_whose_name_differs_in_case(tmp_path):
    for name in ("net", "Net"):
        export_c(convert_to_shift(nn.Linear(2, 2), FIXED), tmp_path / f"of_{name}.h", (2,), name=name)
    (tmp_path / "main.c").write_text(
        '#include "of_net.h"\n#include "of_Net.h"\n'
        "int main(void) { net_value x[2] = {0}, y[2]; Net_value s[99]; net_infer(x, y, s); Net_infer(x, y, s); }\n"
    )

    subprocess.run(["gcc", *STRICT, "-o", "main", "main.c"], cwd=tmp_path, check=True)


def test_the_header_says_what_the_caller_has_to_do_with_the_input(tmp_path):
    export_c(convert_to_shift(nn.Linear(2, 2), FIXED), tmp_path / "network.h", (2,), name="net")

    said = " ".join((tmp_path / "network.h").read_text().split())
    assert "The caller rounds the input, ties to even, and cuts it to NET_INPUT_MIN..NET_INPUT_MAX." in said
