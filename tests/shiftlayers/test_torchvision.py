from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision.models.regnet import BlockParams

from shiftlayers import ShiftConfig, ShiftLayer, convert_to_shift
from shiftlayers.config import QUANTIZER_NAMES

# Tensors of the device meta have shapes but no values: a network of any size is built and run at once.
META = torch.device("meta")
Q, PS = ShiftConfig("deepshift-q"), ShiftConfig("deepshift-ps")
NETWORKS = torchvision.models.list_models(module=torchvision.models)
# One network of each architecture, the smallest.
FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32",
]  # fmt: skip
# Layers of the classifiers that only training runs.
AUXILIARY = {
    "googlenet": {f"aux{i}.{layer}" for i in (1, 2) for layer in ("conv.conv", "fc1", "fc2")},
    "inception_v3": {"AuxLogits.conv0.conv", "AuxLogits.conv1.conv", "AuxLogits.fc"},
}
pytestmark = pytest.mark.slow
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module", autouse=True)
def regnets_with_widths() -> Iterator[None]:
    """RegNets compute their widths by tensors, which need values."""
    original = BlockParams.from_init_params

    def with_values(*args, **options) -> BlockParams:
        with torch.device("cpu"):
            return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockParams, "from_init_params", with_values)
        yield


def network(name: str) -> nn.Module:
    # The published initialisation of these two warns.
    options = {"init_weights": False} if name in AUXILIARY else {}
    with META:
        return torchvision.models.get_model(name, weights=None, **options)


def images(name: str, n: int = 1) -> Tensor:
    size = 299 if name == "inception_v3" else 224
    return torch.empty(n, 3, size, size, device=META)


def shift_names(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, ShiftLayer)}


def float_names(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if is_float(module)}


def is_float(module: nn.Module) -> bool:
    return type(module) in (nn.Conv2d, nn.Linear)


@contextmanager
def recorded_run(model: nn.Module) -> Iterator[list[str]]:
    """Names of the float layers of `model` that run meanwhile, first run first."""
    names = {module: name for name, module in model.named_modules() if is_float(module)}
    ran: list[str] = []

    def record(module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        if module in names:
            ran.append(names.pop(module))

    handle = register_module_forward_pre_hook(record)
    try:
        yield ran
    finally:
        handle.remove()


# Every network


@dataclass(frozen=True)
class Conversion:
    """What became of the convolutions and linear layers of one network.

    Attributes:
        ran: those that ran on the example.
        converted: those that are shift layers now.
        left: those that are not.
    """

    name: str
    ran: set[str]
    converted: set[str]
    left: set[str]


@pytest.fixture(scope="module", params=NETWORKS)
def conversion(request) -> Conversion:
    model = network(request.param)
    with recorded_run(model) as ran:
        convert_to_shift(model, Q, example_input=images(request.param))
    return Conversion(request.param, set(ran), shift_names(model), float_names(model))


def test_every_layer_that_runs_is_converted(conversion):
    assert conversion.converted == conversion.ran


def test_only_auxiliary_classifiers_and_the_projections_that_swin_reads_past_its_layers_are_left(conversion):
    read_past = {name for name in conversion.left if name.endswith((".attn.qkv", ".attn.proj"))}

    assert bool(read_past) is conversion.name.startswith("swin")
    assert conversion.left - read_past == AUXILIARY.get(conversion.name, set())


# One network of each architecture


@every_family
def test_the_last_layers_to_run_are_converted_at_a_depth(name):
    model = network(name)

    with recorded_run(model) as ran:
        convert_to_shift(model, Q, 3, example_input=images(name))

    assert shift_names(model) == set(ran[-3:])


@every_family
def test_a_depth_beyond_the_layers_that_run_is_refused(name):
    model = network(name)

    with recorded_run(model) as ran, pytest.raises(ValueError, match="depth") as refused:
        convert_to_shift(model, Q, 1000, example_input=images(name))

    assert str(refused.value).startswith(f"depth must be 0..{len(ran)}, ")


@pytest.fixture(scope="module", params=FAMILIES)
def converted(request) -> tuple[nn.Module, Tensor]:
    # DeepShift-PS has no tensor `weight`: what reads one past the layer would fail.
    model = convert_to_shift(network(request.param), PS, example_input=images(request.param))
    return model, images(request.param, 2)


@pytest.mark.parametrize("training", [True, False])
def test_a_converted_network_scores_every_class(converted, training):
    model, x = converted

    with torch.no_grad():
        output = model.train(training)(x)

    scores = output if isinstance(output, Tensor) else output.logits
    assert scores.shape == (2, 1000)


# Networks with parts that no layer is called for


@pytest.mark.parametrize("name", AUXILIARY)
def test_auxiliary_classifiers_stay_float_where_an_example_tells_the_order(name):
    model = convert_to_shift(network(name), PS, example_input=images(name))

    assert float_names(model) == AUXILIARY[name]


@pytest.mark.parametrize("name", AUXILIARY)
def test_auxiliary_classifiers_are_converted_where_registration_tells_the_order(name):
    model = convert_to_shift(network(name), PS)

    assert float_names(model) == set()
    assert shift_names(model) > AUXILIARY[name]


@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize("name", AUXILIARY)
def test_auxiliary_classifiers_score_in_training_shift_layers_or_not(name, example):
    model = convert_to_shift(network(name), PS, example_input=images(name) if example else None)

    scores = model.train()(images(name, 2))

    assert {score.shape for score in scores} == {(2, 1000)}


def test_a_vision_transformer_keeps_its_attention():
    model = network("vit_b_32")
    layers = model.encoder.layers
    projections = [layer.self_attention.out_proj for layer in layers]

    convert_to_shift(model, Q, example_input=images("vit_b_32"))

    mlps = {f"encoder.layers.encoder_layer_{i}.mlp.{j}" for i in range(12) for j in (0, 3)}
    assert shift_names(model) == {"conv_proj", *mlps, "heads.head"}
    assert [layer.self_attention.out_proj for layer in layers] == projections
    assert {type(projection) for projection in projections} == {NonDynamicallyQuantizableLinear}


# Training, with values


@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_a_step_of_training_gives_every_converted_layer_finite_gradients(name, quantizer):
    model = torchvision.models.get_model(name, weights=None, num_classes=4)
    x = torch.randn(4, 3, 32, 32)
    convert_to_shift(model, ShiftConfig(quantizer, per_channel_scale=True), example_input=x)

    F.cross_entropy(model.train()(x), torch.arange(4)).backward()

    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
