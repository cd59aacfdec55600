from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftConv2d, ShiftLayer, ShiftLinear, convert_to_shift, shiftable_layers
from shiftlayers.config import QUANTIZER_NAMES

Q, PS = ShiftConfig("deepshift-q"), ShiftConfig("deepshift-ps")
IMAGE = torch.randn(1, 3, 6, 6)


class Backwards(nn.Module):
    """Registers its layers in the reverse of the order in which they run: first, second, third, head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)
        self.third = nn.Conv2d(5, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(4, 5, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.second(self.first(x).relu())).relu()
        return self.head(self.third(x).relu().mean(dim=(2, 3)))


def shift_names(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, ShiftLayer)}


def test_layers_are_named_in_the_order_in_which_they_run():
    assert shiftable_layers(Backwards(), IMAGE) == ["first", "second", "third", "head"]


def test_layers_are_named_in_the_order_of_registration_without_an_example():
    assert shiftable_layers(Backwards()) == ["head", "third", "second", "first"]


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, set()),
        (1, {"head"}),
        (2, {"head", "third"}),
        (3, {"head", "third", "second"}),
        (4, {"head", "third", "second", "first"}),
    ],
)
@pytest.mark.parametrize("config", [Q, PS])
def test_the_last_layers_to_run_are_converted_linear_ones_counted(config, depth, names):
    model = convert_to_shift(Backwards(), config, depth, example_input=IMAGE)

    assert shift_names(model) == names


def test_the_last_registered_layers_are_converted_without_an_example():
    assert shift_names(convert_to_shift(Backwards(), Q, 2)) == {"second", "first"}


@pytest.mark.parametrize("depth", [-1, 5])
def test_a_depth_that_the_network_lacks_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth must be 0\.\.4.* got {depth}"):
        convert_to_shift(Backwards(), Q, depth, example_input=IMAGE)


@pytest.mark.parametrize("config", [Q, PS])
def test_converting_again_keeps_what_was_learned(config):
    model = convert_to_shift(Backwards(), config, 2, example_input=IMAGE)
    with torch.no_grad():
        for layer in (model.third, model.head):
            for parameter in layer.parameters():
                parameter.add_(0.01)
    learned = copy.deepcopy({"third": model.third.state_dict(), "head": model.head.state_dict()})

    convert_to_shift(model, config, 4, example_input=IMAGE)

    assert shift_names(model) == {"first", "second", "third", "head"}
    for name, before in learned.items():
        after = model.get_submodule(name).state_dict()
        assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("config", [Q, PS])
def test_converting_in_two_steps_equals_converting_at_once(config):
    at_once, in_steps = Backwards(), Backwards()
    in_steps.load_state_dict(at_once.state_dict())

    convert_to_shift(at_once, config, 4, example_input=IMAGE)
    convert_to_shift(in_steps, config, 2, example_input=IMAGE)
    convert_to_shift(in_steps, config, 4, example_input=IMAGE)

    ours, theirs = in_steps.state_dict(), at_once.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_layers_before_the_depth_and_other_layers_are_left_alone():
    model = Backwards()
    first, norm = model.first, model.norm

    convert_to_shift(model, Q, 2, example_input=IMAGE)

    assert model.first is first
    assert model.norm is norm


@pytest.mark.parametrize("training", [True, False])
def test_conversion_keeps_the_mode_of_the_model(training):
    model = convert_to_shift(Backwards().train(training), Q, 3, example_input=IMAGE)

    assert {module.training for module in model.modules()} == {training}


def test_conversion_keeps_the_mode_of_every_layer():
    model = Backwards().train()
    model.norm.eval()

    convert_to_shift(model, Q, 3, example_input=IMAGE)

    assert model.training
    assert not model.norm.training


def test_conversion_leaves_batch_statistics_alone():
    model = Backwards().train()
    before = copy.deepcopy(model.norm.state_dict())

    convert_to_shift(model, Q, 3, example_input=IMAGE)

    after = model.norm.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_conversion_leaves_no_hooks_behind():
    model = Backwards()

    shiftable_layers(model, IMAGE)

    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_layer_that_runs_twice_is_one_layer():
    shared = nn.Conv2d(3, 3, 3, padding=1)

    assert shiftable_layers(nn.Sequential(shared, nn.ReLU(), shared, nn.Conv2d(3, 4, 1)), IMAGE) == ["0", "3"]


def test_a_layer_with_two_names_is_converted_under_both():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)

    convert_to_shift(model, Q, 1, example_input=IMAGE)

    assert isinstance(model[0], ShiftConv2d)
    assert model[2] is model[0]


def test_subclasses_of_layers_are_left_alone():
    class Special(nn.Linear):
        pass

    assert shiftable_layers(nn.Sequential(Special(3, 3), nn.Linear(3, 3))) == ["1"]


def test_a_network_of_one_layer_becomes_that_layer():
    linear = nn.Linear(4, 3)

    layer = convert_to_shift(linear, PS, 1, example_input=torch.zeros(1, 4))

    assert isinstance(layer, ShiftLinear)
    assert layer.bias is linear.bias


def test_a_model_is_converted_in_place():
    model = Backwards()

    assert convert_to_shift(model, Q, 4, example_input=IMAGE) is model


# Which layers


@pytest.mark.parametrize(
    ("depth", "names"), [(1, {"first"}), (2, {"first", "second"}), (3, {"first", "second", "third"})]
)
def test_the_first_layers_to_run_come_first_if_asked_for(depth, names):
    model = convert_to_shift(Backwards(), Q, depth, order="first-first", example_input=IMAGE)

    assert shift_names(model) == names


# Of 36 pixels: 4 * 3 * 9 * 36, 5 * 4 * 9 * 36 and 6 * 5 * 9 * 36 multiply-accumulates, and 12 of the head.
@pytest.mark.parametrize(
    ("depth", "names"), [(1, {"third"}), (2, {"third", "second"}), (3, {"third", "second", "first"})]
)
def test_the_layers_that_compute_most_come_first_if_asked_for(depth, names):
    model = convert_to_shift(Backwards(), Q, depth, order="macs", example_input=IMAGE)

    assert shift_names(model) == names


def test_the_order_by_computation_needs_an_example():
    with pytest.raises(ValueError, match="order 'macs' needs an example_input"):
        convert_to_shift(Backwards(), Q, 1, order="macs")


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order must be last-first, first-first or macs, got 'random'"):
        convert_to_shift(Backwards(), Q, 1, order="random")


def test_a_refused_conversion_changes_nothing():
    model = Backwards()

    with pytest.raises(ValueError, match="depth"):
        convert_to_shift(model, Q, 5)

    assert shift_names(model) == set()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"first", "second", "third", "head"}),
        ({"linear": False}, {"first", "second", "third"}),
        ({"first": False}, {"second", "third", "head"}),
        ({"last": False}, {"first", "second", "third"}),
        ({"first": False, "last": False}, {"second", "third"}),
        ({"select": lambda name, _layer: name != "second"}, {"first", "third", "head"}),
        ({"select": lambda _name, layer: layer.weight.dim() == 4, "first": False}, {"second", "third"}),
    ],
    ids=["all", "no linear", "not the first", "not the last", "neither", "by name", "by weight"],
)
def test_all_layers_that_may_be_are_converted_without_a_depth(options, names):
    assert shift_names(convert_to_shift(Backwards(), PS, example_input=IMAGE, **options)) == names


def test_depth_counts_only_layers_that_may_be_converted():
    model = convert_to_shift(Backwards(), Q, 1, linear=False, example_input=IMAGE)

    assert shift_names(model) == {"third"}
    with pytest.raises(ValueError, match=r"depth must be 0\.\.3"):
        convert_to_shift(model, Q, 4, linear=False, example_input=IMAGE)


def test_layers_of_all_types_are_converted():
    layers = [nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv3d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1), nn.Linear(2, 2)]

    model = convert_to_shift(nn.ModuleList(layers), Q)

    assert [type(layer).__name__ for layer in model] == [f"Shift{type(layer).__name__}" for layer in layers]


def test_a_network_that_does_not_run_on_the_example_warns_and_goes_by_registration():
    with pytest.warns(UserWarning, match="the network does not run on example_input"):
        model = convert_to_shift(Backwards(), Q, 1, example_input=torch.zeros(1, 7, 6, 6))

    assert shift_names(model) == {"first"}


def test_a_network_that_does_not_run_keeps_its_mode_and_has_no_hooks_left():
    model = Backwards().train()

    with pytest.warns(UserWarning, match="does not run"):
        shiftable_layers(model, torch.zeros(1, 7, 6, 6))

    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


# Attention


def test_the_projection_inside_attention_is_left_alone():
    attention = nn.MultiheadAttention(8, 2)
    model = nn.ModuleDict({"attention": attention, "head": nn.Linear(8, 2)})
    projection = attention.out_proj

    convert_to_shift(model, Q)

    assert shift_names(model) == {"head"}
    assert attention.out_proj is projection


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_transformer_layer_evaluates_without_gradients_as_with_them(config):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 8)
    model = convert_to_shift(nn.Sequential(layer), config, example_input=x).eval()

    with_gradients = model(x)
    with torch.no_grad():
        without = model(x)

    torch.testing.assert_close(without, with_gradients, rtol=0, atol=1e-5)


# Networks of torchvision


def torchvision_network(name: str) -> nn.Module:
    # Random weights only: filling them by the published laws takes longer than the test.
    options = {
        "googlenet": {"init_weights": False, "aux_logits": False},
        "vit_b_16": {"image_size": 32},
    }.get(name, {})
    return torchvision.models.get_model(name, weights=None, **options)


@pytest.mark.parametrize(
    ("name", "n_layers"), [("resnet18", 21), ("mobilenet_v2", 53), ("googlenet", 58), ("vit_b_16", 26)]
)
def test_networks_of_torchvision_are_converted_whole_and_run(name, n_layers):
    model = torchvision_network(name)
    size = 32 if name == "vit_b_16" else 64
    image = torch.randn(1, 3, size, size)

    convert_to_shift(model, Q, example_input=image)

    assert len(shift_names(model)) == n_layers
    assert not any(type(module) in (nn.Conv2d, nn.Linear) for module in model.modules())
    with torch.no_grad():
        assert model.eval()(image).isfinite().all()


@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_frozen_layer_stays_frozen(quantizer):
    layer = nn.Linear(4, 3)
    layer.weight.requires_grad_(False)

    converted = convert_to_shift(nn.Sequential(layer), ShiftConfig(quantizer))[0]

    assert {name: p.requires_grad for name, p in converted.named_parameters() if name != "bias"} == {
        name: False for name, _ in converted.named_parameters() if name != "bias"
    }
    assert converted.bias.requires_grad
