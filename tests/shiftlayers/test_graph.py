from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftLayer, ShiftLinear, convert_to_shift
from shiftlayers.graph import non_negative_inputs, require_unchanged, trace_graph

UNSIGNED = ShiftConfig(activation_bits=(4, 4), unsigned_activations=True)


class Branches(nn.Module):
    """Layers behind all that keeps, makes or breaks a sign."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("stem", "pooled", "added", "scaled", "shifted", "joined", "mixed", "weighted", "signed"):
            setattr(self, name, nn.Linear(4, 4))
        self.relu = nn.ReLU(inplace=True)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.stem(x))
        b = F.relu(self.pooled(F.max_pool1d(a.view(-1, 1, 4), 1).flatten(1)))
        c = self.added(a + b).relu()
        d = torch.sigmoid(self.scaled(c * 2))
        e = self.shifted(d - 1)
        f = self.joined(torch.cat([a, b], 1)[:, :4])
        g = self.mixed(a + x)
        h = self.weighted(a * self.gain)
        return self.signed(F.dropout(e + f + g + h)) + a * -1


def test_layers_behind_a_relu_are_found_through_what_keeps_the_sign():
    model = Branches()

    assert non_negative_inputs(trace_graph(model), model) == {"pooled", "added", "scaled"}


def test_only_layers_behind_a_relu_become_unsigned():
    model = convert_to_shift(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
        UNSIGNED,
    )

    layers = [m.config for m in model.modules() if isinstance(m, ShiftLayer)]

    assert [config.unsigned_activations for config in layers] == [False, True]


def test_a_layer_that_also_runs_on_signed_values_stays_signed():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)

    assert not convert_to_shift(model, UNSIGNED)[0].config.unsigned_activations


def test_a_negative_sum_is_not_taken_for_a_relu():
    class Subtracted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.add(x.relu(), x.relu(), alpha=-2))

    assert not convert_to_shift(Subtracted(), UNSIGNED).head.config.unsigned_activations


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.relu()) if x.sum() > 0 else self.head(x)


def test_a_network_that_cannot_be_traced_stays_signed_with_a_warning():
    with pytest.warns(UserWarning, match="all activations stay signed"):
        model = convert_to_shift(Untraceable(), UNSIGNED)

    assert model.head.config == ShiftConfig(activation_bits=(4, 4))


def test_tracing_says_why_it_failed():
    with pytest.raises(ValueError, match=r"torch\.fx cannot trace the network: TraceError: .*control flow"):
        trace_graph(Untraceable())


def test_a_shift_layer_is_one_operation():
    model = convert_to_shift(nn.Sequential(nn.Linear(4, 4)), UNSIGNED)

    assert [node.op for node in trace_graph(model).nodes] == ["placeholder", "call_module", "output"]
    assert [node.op for node in trace_graph(model[0]).nodes] == ["placeholder", "call_module", "output"]


def test_a_subclass_of_a_shift_layer_is_one_operation():
    class Named(ShiftLinear):
        pass

    graph = trace_graph(nn.Sequential(Named(4, 4), nn.ReLU()))

    assert [str(node.target) for node in graph.nodes if node.op == "call_module"] == ["0", "1"]


class Written(nn.Module):
    """Three layers, and a forward that a test chooses."""

    def __init__(self, forward: Callable[[Written, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(inplace=True)
        self.register_buffer("exp", -torch.ones(4))
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def changed_by_method(m: Written, x: Tensor) -> Tensor:
    y = F.relu(m.a(x))
    y.sub_(0.5)
    return m.b(y)


def changed_by_operator(m: Written, x: Tensor) -> Tensor:
    y = z = F.relu(m.a(x))
    y -= 0.5
    return m.b(z)


def changed_through_a_view(m: Written, x: Tensor) -> Tensor:
    y = F.relu(m.a(x))
    y[:, 1:].sub_(0.5)
    return m.b(y)


def changed_under_a_view(m: Written, x: Tensor) -> Tensor:
    y = F.relu(m.a(x))
    z = y.view(-1, 4)
    y.sub_(0.5)
    return m.b(z)


def changed_by_a_module(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    m.relu(y)
    return m.b(y)


def changed_by_a_function(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    F.relu(y, inplace=True)
    return m.b(y)


def changed_as_an_output(m: Written, x: Tensor) -> Tensor:
    y = F.relu(m.a(x))
    torch.sub(y, 1, out=y)
    return m.b(y)


CHANGED = [
    *(changed_by_method, changed_by_operator, changed_through_a_view, changed_under_a_view),
    *(changed_by_a_module, changed_by_a_function, changed_as_an_output),
]


@pytest.mark.parametrize("forward", CHANGED)
def test_what_an_operation_in_place_changes_is_not_taken_for_non_negative(forward):
    model = Written(forward)

    assert non_negative_inputs(trace_graph(model), model) == set()


@pytest.mark.parametrize("forward", CHANGED)
def test_a_tensor_that_is_used_after_it_was_changed_in_place_is_refused(forward):
    model = Written(forward)

    with pytest.raises(ValueError, match=r"changes in place a tensor that 'b' \(Linear\) uses again"):
        require_unchanged(trace_graph(model), model)


def rectified_in_place(m: Written, x: Tensor) -> Tensor:
    y = m.relu(m.a(x))
    return m.b(m.dropout(y)) + y


def rectified_through_a_view(m: Written, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(F.relu_(y.flatten(1)).view(y.size(0), y.shape[1]))


def added_in_place(m: Written, x: Tensor) -> Tensor:
    y = m.relu(m.a(x))
    z = m.a(x).relu_()
    z += y
    return m.b(z.add_(y))


@pytest.mark.parametrize("forward", [rectified_in_place, rectified_through_a_view, added_in_place])
def test_an_operation_in_place_whose_input_is_not_used_again_is_as_good_as_any(forward):
    model = Written(forward)
    graph = trace_graph(model)

    require_unchanged(graph, model)
    assert "b" in non_negative_inputs(graph, model)


def test_sizes_of_signed_tensors_do_not_make_a_result_signed():
    def forward(m: Written, x: Tensor) -> Tensor:
        y = F.max_pool1d(m.a(x).relu().unsqueeze(1), x.size(-1) // 4)
        return m.b(torch.reshape(shape=(x.size(0), -1), input=y.view(x.size(0), -1)))

    model = Written(forward)

    assert non_negative_inputs(trace_graph(model), model) == {"b"}


def test_a_buffer_named_like_a_function_is_not_taken_for_its_result():
    model = Written(lambda m, x: m.b(m.exp.view(1, 4)) + m.a(x))

    assert non_negative_inputs(trace_graph(model), model) == set()
