from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftlayers import ShiftConfig, ShiftLayer, convert_to_shift
from shiftlayers.graph import non_negative_inputs, trace_graph

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
