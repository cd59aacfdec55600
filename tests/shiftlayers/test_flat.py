from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shiftlayers import ShiftConfig, ShiftConv2d, ShiftLayer, ShiftLinear, convert_to_shift
from shiftlayers.config import QUANTIZER_NAMES
from shiftlayers.graph import trace_graph
from tests.shiftlayers.kernels import KernelCounter
from worker.models import build_network

Q, PS = ShiftConfig("deepshift-q"), ShiftConfig("deepshift-ps")
MIXED = {
    "q": Q,
    "ps": PS,
    "q-2": replace(Q, weight_bits=2),
    "scaled": replace(Q, per_channel_scale=True),
    "s3": ShiftConfig("s3", 3),
}
SHAPE = (3, 16, 16)


def layer_by_layer(model: nn.Module) -> nn.Module:
    """A copy of a converted model that does without the pass over all layers."""
    alone = copy.deepcopy(model)
    alone._forward_pre_hooks.clear()
    alone._forward_hooks.clear()
    return alone


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(5 * 16, 4)
    )


def shift_layers(model: nn.Module) -> list[ShiftLayer]:
    return [module for module in model.modules() if isinstance(module, ShiftLayer)]


def losses_and_gradients(model: nn.Module, n_steps: int, shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    seen = []
    for _ in range(n_steps):
        x = torch.randn(4, *shape, generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), torch.arange(4))
        loss.backward()
        seen += [loss.detach(), *(p.grad.clone() for p in model.parameters())]
        optimizer.step()
    return seen


def assert_all_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("activation_bits", [None, (8, 8)])
@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_one_pass_gives_the_losses_and_gradients_of_the_layers_one_by_one(config, activation_bits):
    config = replace(config, activation_bits=activation_bits)
    together = convert_to_shift(build_network("resnet8", SHAPE, 10), config)
    alone = layer_by_layer(together)

    assert_all_equal(losses_and_gradients(together, 4, SHAPE), losses_and_gradients(alone, 4, SHAPE))


def mixed_network() -> nn.Module:
    model = small_network()
    model.append(nn.Linear(4, 4)).append(nn.Linear(4, 4))
    for (name, config), index in zip(MIXED.items(), (0, 3, 5, 6, 7), strict=True):
        chosen = str(index)
        convert_to_shift(model, config, select=lambda n, _m, chosen=chosen: n == chosen)
        assert model[index].config == MIXED[name]
    return model


def test_a_network_of_many_configs_equals_its_layers_one_by_one():
    together = mixed_network()
    alone = layer_by_layer(together)

    assert_all_equal(losses_and_gradients(together, 3, (3, 8, 8)), losses_and_gradients(alone, 3, (3, 8, 8)))


def test_a_layer_in_evaluation_rounds_to_the_nearest_beside_stochastic_ones():
    model = convert_to_shift(small_network(), replace(Q, rounding="stochastic-linear")).train()
    model[3].eval()
    x = torch.randn(2, 3, 8, 8)
    seen = []
    model[3].register_forward_hook(lambda _layer, args, output: seen.extend([args[0], output]))

    model(x)

    given, output = seen
    assert torch.equal(output, model[3](given))


@pytest.mark.parametrize("rounding", ["stochastic-log", "stochastic-linear"])
@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_stochastic_rounding_differs_between_steps_of_training_only(config, rounding):
    model = convert_to_shift(nn.Sequential(nn.Linear(9, 8), nn.Linear(8, 7)), replace(config, rounding=rounding))
    x = torch.randn(2, 9)

    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_layers_compute_with_the_weights_of_the_one_pass(config):
    model = convert_to_shift(small_network(), config).train()
    seen = []
    for _ in range(2):
        model[3].register_forward_pre_hook(lambda layer, _args: seen.append(layer.effective_weight()))

    model(torch.randn(2, 3, 8, 8))

    assert seen[0] is seen[1]
    assert torch.equal(seen[0], model[3].effective_weight())


def test_hooks_are_installed_once_however_often_one_converts():
    model = small_network()

    for depth in (0, 1, 1, 2, 3):
        convert_to_shift(model, Q, depth)

    assert len(model._forward_pre_hooks) == len(model._forward_hooks) == 1


def test_hooks_are_installed_once_on_a_network_of_one_layer():
    layer = convert_to_shift(convert_to_shift(nn.Linear(3, 2), Q, 0), Q, 1)

    assert isinstance(layer, ShiftLinear)
    assert len(layer._forward_pre_hooks) == len(layer._forward_hooks) == 1


def test_weights_are_released_after_the_forward():
    model = convert_to_shift(small_network(), Q).train()

    model(torch.randn(2, 3, 8, 8))

    assert all(layer._prepared is None for layer in shift_layers(model))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_forward_that_was_broken_off_leaves_no_weights_for_evaluation(error):
    model = convert_to_shift(small_network(), Q).train()

    def fail(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        raise error

    model[5].register_forward_pre_hook(fail)
    with pytest.raises(error):
        model(torch.randn(2, 3, 8, 8))
    layer = next(iter(shift_layers(model)))
    with torch.no_grad():
        layer.weight.fill_(1.0)

    assert torch.equal(layer.eval().effective_weight(), torch.ones_like(layer.weight))


def test_a_converted_part_of_a_converted_network_computes_the_same():
    model = nn.Sequential(small_network(), nn.ReLU(), nn.Linear(4, 4))
    convert_to_shift(model[0], Q)
    convert_to_shift(model, Q)
    alone = copy.deepcopy(model)
    for module in (alone, alone[0]):
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()

    assert_all_equal(losses_and_gradients(model, 2, (3, 8, 8)), losses_and_gradients(alone, 2, (3, 8, 8)))


class Forked(nn.Module):
    """Runs one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_layer_that_does_not_run_gets_no_gradient(config):
    model = convert_to_shift(Forked(), config)

    model(torch.randn(2, 4)).sum().backward()

    assert all(p.grad is None for p in model.unused.parameters())


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_frozen_layer_gets_no_gradient(config):
    model = convert_to_shift(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), config)
    model[0].requires_grad_(False)

    model(torch.randn(2, 4)).sum().backward()

    assert all(p.grad is None for p in model[0].parameters())
    assert all(p.grad is not None for p in model[1].parameters())


def test_layers_of_two_dtypes_keep_theirs():
    class Cast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.double()

    model = nn.Sequential(nn.Linear(4, 4), Cast(), nn.Linear(4, 4).double())
    convert_to_shift(model, Q)

    assert model(torch.randn(2, 4)).dtype == torch.float64


class Checkpointed(nn.Module):
    """Computes its inner layers again in backward."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic-linear"])
@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_gradients_are_the_same_when_a_part_is_computed_again_in_backward(config, rounding):
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
    plain = convert_to_shift(inner, replace(config, rounding=rounding)).train()
    again = nn.Sequential(Checkpointed(copy.deepcopy(plain)))
    for module in (plain, again[0].inner):
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    convert_to_shift(plain, config)
    convert_to_shift(again, config)
    x, gradients = torch.randn(3, 6), []

    for model in (plain, again):
        torch.manual_seed(3)
        model(x).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])

    assert_all_equal(*gradients)


# Cost of a step


@cache
def cost_of_step(config: ShiftConfig | None) -> KernelCounter:
    """Of one training step of ResNet-20 at batch 128."""
    model = build_network("resnet20", (3, 32, 32), 10)
    if config is not None:
        convert_to_shift(model, config)
    with KernelCounter() as counter:
        F.cross_entropy(model(torch.randn(128, 3, 32, 32)), torch.randint(0, 10, (128,))).backward()
    return counter


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_step_launches_at_most_fifteen_percent_more_kernels(config):
    assert cost_of_step(config).n_kernels <= 1.15 * cost_of_step(None).n_kernels


@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_step_moves_at_most_three_percent_more_bytes(config):
    assert cost_of_step(config).n_bytes <= 1.03 * cost_of_step(None).n_bytes


# Export and compilation


ALL = [ShiftConfig(name, 3) for name in QUANTIZER_NAMES]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("config", [*ALL, replace(PS, activation_bits=(4, 4))], ids=[*QUANTIZER_NAMES, "fixed-point"])
def test_an_exported_model_equals_the_eager_one(config, training):
    model = convert_to_shift(small_network(), config).train(training)
    x = torch.randn(2, 3, 8, 8)

    exported = torch.export.export(copy.deepcopy(model), (x,)).module()

    torch.testing.assert_close(exported(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", ALL, ids=QUANTIZER_NAMES)
def test_compilation_does_not_break_the_graph(config):
    model = convert_to_shift(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(6 * 36, 4)), config)

    assert torch._dynamo.explain(model)(torch.randn(2, 3, 8, 8)).graph_break_count == 0


class Outer(nn.Module):
    """A network that gives a converted part of itself its input as a list."""

    def __init__(self, config: ShiftConfig) -> None:
        super().__init__()
        self.inner = convert_to_shift(Joined(), config)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(features=[x, x]).relu())


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 3)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.body(torch.cat(features, 1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("config", [Q, PS], ids=["q", "ps"])
def test_a_network_with_a_converted_part_is_traced(config, training):
    model = Outer(config).train(training)
    x = torch.randn(2, 4)

    graph = trace_graph(model)

    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["inner.body", "head"]
    assert torch.equal(torch.fx.GraphModule(model, graph)(x), model(x))


def test_layers_behind_a_converted_part_become_unsigned():
    model = convert_to_shift(Outer(Q), replace(Q, activation_bits=(4, 4), unsigned_activations=True))

    assert model.head.config.unsigned_activations


def test_compilation_does_not_break_the_graph_of_evaluation():
    model = convert_to_shift(nn.Linear(6, 4), PS).eval()

    assert torch._dynamo.explain(model)(torch.randn(2, 6)).graph_break_count == 0


def test_shift_layers_are_found_after_conversion():
    model = convert_to_shift(small_network(), Q)

    assert [type(layer) for layer in shift_layers(model)] == [ShiftConv2d, ShiftConv2d, ShiftLinear]
