"""The configs and fidelities of the table of trained digits networks, and what each column of it is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace, OrdinalHyperparameter

TABLE = Path(__file__).parent / "digits_table.npz"
CHOICES: dict[str, tuple[Any, ...]] = {
    "quantizer": ("deepshift-q", "deepshift-ps", "apot"),
    "weight_bits": (2, 3, 4, 5),
    "activation_fraction_bits": (1, 3, 8),
    "optimizer": ("sgd", "adam"),
    "learning_rate": (0.003, 0.01, 0.03, 0.1),
    "batch_size": (128, 512),
}
_WITHOUT_ORDER = ("quantizer", "optimizer")
# Layers of the network, counted from the output, that are shift layers; the last entry is all of them.
DEPTHS = (1, 3, 9)
N_EPOCHS = 9


def configs() -> list[dict[str, Any]]:
    """All configs, in the order of the table's rows."""
    return [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


def row_of(config: dict[str, Any]) -> int:
    """Which row of the table is `config`.

    Raises:
        ValueError: the table has no such config.
    """
    row = 0
    for name, choices in CHOICES.items():
        row = row * len(choices) + choices.index(config[name])
    return row


def digits_space(seed: int) -> ConfigurationSpace:
    """The configs of the table as a space: what has an order is ordinal."""
    space = ConfigurationSpace(seed=seed)
    for name, choices in CHOICES.items():
        kind = Categorical if name in _WITHOUT_ORDER else OrdinalHyperparameter
        space.add(kind(name, list(choices)))
    return space
