"""Two problems whose every answer is in a table of networks that were trained on digits: fidelity epochs, or depth.

The error is on the validation split, the energy per image when deployed is analytic and thus known beforehand. A
fidelity that the table does not have is the nearest one that it has. Costs are median seconds of all networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.pareto import hypervolume
from service.schema import Fidelity
from tests.benchmarks.optimizer.digits_configs import DEPTHS, N_EPOCHS, TABLE, digits_space, row_of
from tests.benchmarks.optimizer.problem import Config, Problem

OBJECTIVES = ("error", "deployment_energy")
_EPOCHS = tuple(range(1, N_EPOCHS + 1))
# Worst error that counts, and the worst energy of all networks, in joules per image.
_WORST_ERROR = 0.3


@cache
def table() -> dict[str, NDArray[np.float32]]:
    """Rows are configs, columns depths; of the error epochs as well."""
    with np.load(TABLE) as file:
        return {name: file[name] for name in file.files}


def nearest(fidelity: float, choices: Sequence[int]) -> int:
    """Position of the choice that is nearest; of two that are, of the lower one."""
    return min(range(len(choices)), key=lambda i: (abs(choices[i] - fidelity), choices[i]))


def _error(config: Config, depth: int, epochs: int) -> float:
    return float(table()["error"][row_of(config), depth, epochs])


def _joules(config: Config, depth: int) -> float:
    return float(table()["joules"][row_of(config), depth])


def _seconds(depth: int) -> float:
    """Of an epoch, median of all networks."""
    return float(np.median(table()["seconds"][:, depth]))


def _epochs_values(config: Config, fidelity: float) -> dict[str, float]:
    error = _error(config, -1, nearest(fidelity, _EPOCHS))
    return {"error": error, "deployment_energy": _joules(config, -1)}


def _depth_values(config: Config, fidelity: float) -> dict[str, float]:
    depth = nearest(fidelity, DEPTHS)
    return {"error": _error(config, depth, -1), "deployment_energy": _joules(config, depth)}


def _depth_cost(_config: Config, fidelity: float) -> float:
    return _seconds(nearest(fidelity, DEPTHS)) / _seconds(-1)


@cache
def reference_point() -> tuple[float, float]:
    """The worst error that counts, and an energy a tenth above that of any network of shift layers alone."""
    return _WORST_ERROR, 1.1 * float(table()["joules"][:, -1].max())


@cache
def best() -> float:
    """The hypervolume of all networks of the table, fully trained and converted."""
    full = np.stack([table()["error"][:, -1, -1], table()["joules"][:, -1]], axis=1).astype(np.float64)
    return hypervolume(full, np.array(reference_point()))


def _problem(name: str, choices: Sequence[int], **rest: Any) -> Problem:
    return Problem(
        name=name,
        space=digits_space,
        objectives=dict.fromkeys(OBJECTIVES, "minimize"),
        fidelity=(float(choices[0]), float(choices[-1])),
        reference_point=reference_point(),
        best_hypervolume=best(),
        integer_fidelity=True,
        **rest,
    )


DIGITS_EPOCHS = _problem(
    "digits-epochs",
    _EPOCHS,
    evaluate=_epochs_values,
    cost=lambda _config, fidelity: _EPOCHS[nearest(fidelity, _EPOCHS)] / N_EPOCHS,
    known={"deployment_energy": lambda config, _fidelity: _joules(config, -1)},
)
DIGITS_DEPTH = _problem(
    "digits-depth",
    DEPTHS,
    evaluate=_depth_values,
    cost=_depth_cost,
    known={"deployment_energy": lambda config, fidelity: _joules(config, nearest(fidelity, DEPTHS))},
    # As a study of shift depth expects it.
    expected_cost=Fidelity(name="shift_depth", min_fidelity=min(DEPTHS), max_fidelity=max(DEPTHS)).expected_cost,
)
