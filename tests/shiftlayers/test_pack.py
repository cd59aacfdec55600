from __future__ import annotations

import json
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import mnasnet0_5

from shiftlayers import (
    FixedPoint,
    ShiftConfig,
    ShiftLayer,
    convert_batch_norm,
    convert_to_shift,
    fold,
    load_packed,
    save_packed,
)
from shiftlayers.config import QUANTIZER_NAMES
from shiftlayers.pack import _from_bits, _to_bits


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, bias=False),
        nn.Flatten(), nn.Linear(4 * 49, 10),
    )  # fmt: skip


def outputs(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return model.eval()(torch.randn(3, 2, 6, 6))


configs = pytest.mark.parametrize(
    "config",
    [
        ShiftConfig(quantizer, bits, per_channel_scale=scaled, activation_bits=activation_bits)
        for quantizer in QUANTIZER_NAMES
        for bits in (2, 3, 4, 5, 8)
        for scaled, activation_bits in ((False, None), (True, (6, 6)))
    ],
    ids=str,
)


@configs
def test_a_packed_network_comes_back_bit_for_bit(config, tmp_path):
    model = convert_to_shift(network(), config)
    save_packed(model, tmp_path / "model.safetensors")

    loaded = load_packed(tmp_path / "model.safetensors", network())

    assert torch.equal(outputs(loaded), outputs(model))
    assert [m.config for m in loaded.modules() if isinstance(m, ShiftLayer)] == [config] * 3


@configs
def test_a_folded_network_is_plain_and_equal_bit_for_bit(config):
    model = convert_to_shift(network(), config)

    folded = fold(model)

    assert torch.equal(outputs(folded), outputs(model))
    assert not any(isinstance(m, ShiftLayer) for m in folded.modules())
    assert {type(m) for m in folded.modules()} <= {
        nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d, nn.Flatten, nn.Linear, FixedPoint,
    }  # fmt: skip


@pytest.mark.parametrize(("bits", "share"), [(3, 3 / 32), (4, 0.125), (5, 0.15625)])
def test_codes_take_their_bits_and_no_more(bits, share, tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(64, 64, bias=False)), ShiftConfig(weight_bits=bits))
    save_packed(model, tmp_path / "model.safetensors")

    assert load_file(tmp_path / "model.safetensors")["0.codes"].numel() == share * 4 * 64 * 64


def test_a_partly_converted_network_keeps_its_float_layers(tmp_path):
    model = convert_to_shift(network(), ShiftConfig("deepshift-ps"), 1)
    save_packed(model, tmp_path / "model.safetensors")

    loaded = load_packed(tmp_path / "model.safetensors", network())

    assert torch.equal(outputs(loaded), outputs(model))
    assert type(loaded[0]) is nn.Conv2d


def test_a_shift_network_of_another_config_takes_the_packed_one(tmp_path):
    model = convert_to_shift(network(), ShiftConfig("deepshift-q", 3))
    save_packed(model, tmp_path / "model.safetensors")

    loaded = load_packed(tmp_path / "model.safetensors", convert_to_shift(network(), ShiftConfig("deepshift-ps", 5)))

    assert torch.equal(outputs(loaded), outputs(model))


def test_exact_zeros_of_deepshift_q_survive(tmp_path):
    model = convert_to_shift(nn.Sequential(nn.Linear(3, 1, bias=False)), ShiftConfig("deepshift-q", 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0, -0.5, 1.0]]))
    save_packed(model, tmp_path / "model.safetensors")

    loaded = load_packed(tmp_path / "model.safetensors", nn.Sequential(nn.Linear(3, 1, bias=False)))

    assert loaded[0].effective_weight().tolist() == [[0.0, -0.5, 1.0]]


def test_a_loaded_network_can_be_trained_on(tmp_path):
    save_packed(convert_to_shift(network(), ShiftConfig()), tmp_path / "model.safetensors")
    loaded = load_packed(tmp_path / "model.safetensors", network()).train()

    loaded(torch.randn(3, 2, 6, 6)).square().mean().backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loaded[0].parameters())


def test_the_header_names_every_layer_with_its_config(tmp_path):
    save_packed(convert_to_shift(network(), ShiftConfig("s3", 3)), tmp_path / "model.safetensors")

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["shiftlayers"])

    assert list(header["layers"]) == ["0", "3", "5"]
    assert header["layers"]["0"]["config"]["quantizer"] == "s3"
    assert header["layers"]["0"]["shape"] == [6, 2, 3, 3]


def test_another_architecture_is_refused(tmp_path):
    save_packed(convert_to_shift(network(), ShiftConfig()), tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match="no layer '3'"):
        load_packed(tmp_path / "model.safetensors", nn.Sequential(nn.Conv2d(2, 6, 3)))


def test_a_layer_of_another_shape_is_refused(tmp_path):
    save_packed(convert_to_shift(nn.Sequential(nn.Linear(3, 1)), ShiftConfig()), tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"'0' must be .* with weight \(1, 3\)"):
        load_packed(tmp_path / "model.safetensors", nn.Sequential(nn.Linear(4, 1)))


def test_an_ordinary_safetensors_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match="no packed shift network"):
        load_packed(tmp_path / "model.safetensors", network())


@given(st.integers(2, 8).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1), min_size=1))))
def test_bit_packing_is_undone_exactly(case):
    n_bits, codes = case
    packed = _to_bits(torch.tensor(codes).numpy(), n_bits)

    assert len(packed) == -(-len(codes) * n_bits // 8)
    assert _from_bits(packed, n_bits, len(codes)).tolist() == codes


def test_a_layer_that_computes_as_deepshift_does_is_not_folded():
    model = convert_to_shift(nn.Sequential(nn.Linear(3, 2)), ShiftConfig(activation_bits=(4, 4), compat="deepshift"))

    with pytest.raises(ValueError, match="layer '0' has compat='deepshift'"):
        fold(model)


def test_unsigned_activations_survive_folding_and_packing(tmp_path):
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).eval()

    model = convert_to_shift(network(), ShiftConfig(activation_bits=(2, 4), unsigned_activations=True))
    x = torch.randn(9, 6) * 4
    save_packed(model, tmp_path / "packed.safetensors")

    assert torch.equal(fold(model)(x), model(x))
    assert torch.equal(load_packed(tmp_path / "packed.safetensors", network())(x), model(x))


def test_a_layer_with_two_names_is_folded_under_both():
    shared = nn.Linear(4, 4)
    model = convert_to_shift(nn.Sequential(shared, nn.ReLU(), shared), ShiftConfig())

    folded = fold(model)

    assert type(folded[0]) is nn.Linear
    assert folded[0] is folded[2]


DTYPES = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("per_channel_scale", [False, True])
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_of_another_dtype_is_packed_and_comes_back(dtype, quantizer, per_channel_scale, tmp_path):
    config = ShiftConfig(quantizer, per_channel_scale=per_channel_scale)
    model = convert_to_shift(nn.Sequential(nn.Linear(6, 5)), config).to(dtype).eval()
    x = torch.randn(3, 6, dtype=dtype)
    save_packed(model, tmp_path / "packed.safetensors")

    loaded = load_packed(tmp_path / "packed.safetensors", nn.Sequential(nn.Linear(6, 5)).to(dtype).eval())

    assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_that_has_another_dtype_already_is_converted(dtype, quantizer):
    model = convert_to_shift(nn.Sequential(nn.Linear(6, 5)).to(dtype), ShiftConfig(quantizer, per_channel_scale=True))

    assert model(torch.randn(3, 6, dtype=dtype)).dtype == dtype


def test_power_of_two_batch_normalisations_come_back_as_such(tmp_path):
    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))

    model = convert_batch_norm(convert_to_shift(network(), ShiftConfig()))
    x = torch.randn(8, 2, 5, 5) * 3
    model(x)
    save_packed(model.eval(), tmp_path / "packed.safetensors")

    assert torch.equal(load_packed(tmp_path / "packed.safetensors", network().eval())(x), model(x))


def test_a_network_without_them_is_no_place_for_such_batch_normalisations(tmp_path):
    save_packed(nn.Sequential(nn.BatchNorm1d(3)), tmp_path / "packed.safetensors")

    with pytest.raises(ValueError, match="power-of-two batch normalisations"):
        load_packed(tmp_path / "packed.safetensors", convert_batch_norm(nn.Sequential(nn.BatchNorm1d(3))))


def shared_network() -> nn.Module:
    layer, norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
    return nn.Sequential(layer, norm, layer, norm)


def test_layers_of_two_names_are_packed_and_come_back(tmp_path):
    model = convert_to_shift(shared_network(), ShiftConfig("deepshift-ps"))
    x = torch.randn(8, 4)
    model(x)
    save_packed(model.eval(), tmp_path / "packed.safetensors")

    assert torch.equal(load_packed(tmp_path / "packed.safetensors", shared_network().eval())(x), model(x))


def test_the_versions_of_modules_come_back_too(tmp_path):
    model = convert_to_shift(mnasnet0_5(), ShiftConfig(), 1)
    save_packed(model, tmp_path / "packed.safetensors")

    load_packed(tmp_path / "packed.safetensors", mnasnet0_5())


def test_a_folded_network_keeps_no_hooks_of_ours():
    folded = fold(convert_to_shift(nn.Sequential(nn.Linear(4, 3)), ShiftConfig()))

    assert not folded._forward_pre_hooks and not folded._forward_hooks
    assert b"shiftlayers" not in pickle.dumps(folded)


def test_power_of_two_batch_normalisations_are_folded_to_a_factor_and_an_offset():
    model = convert_batch_norm(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)))
    x = torch.randn(8, 2, 5, 5) * 3
    model(x)
    folded = fold(model.eval())

    assert torch.equal(folded(x), model(x))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
