"""A finished search as SMAC's own run folder, which SMAC and what reads its folders load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace
from smac.runhistory import StatusType
from smac.runhistory.runhistory import RunHistory
from smac.scenario import Scenario

# Why an evaluation failed, as SMAC has it; all else is CRASHED.
_STATUS = {
    "time_limit": StatusType.TIMEOUT,
    "memory_limit": StatusType.MEMORYOUT,
    "out_of_memory": StatusType.MEMORYOUT,
}


@dataclass(frozen=True)
class Evaluated:
    """One evaluation that has ended.

    Attributes:
        costs: of which less is better; None of one that failed.
        failure: why, where it failed.
        budget: SMAC's word for the fidelity.
        started: seconds since 1970, like `ended`.
    """

    config: Configuration
    costs: list[float] | None
    failure: str | None
    budget: float | None
    seed: int
    seconds: float
    started: float = 0.0
    ended: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)


def write_run_folder(
    out: Path,
    space: ConfigurationSpace,
    evaluated: Iterable[Evaluated],
    *,
    name: str,
    objectives: Sequence[str],
    budgets: tuple[float, float] | None,
    n_trials: int,
    seed: int,
    home: Path | None = None,
) -> Path:
    """Writes `scenario.json`, `configspace.json` and `runhistory.json` to `out/NAME/SEED` and returns that folder.

    SMAC writes down where it is; `home` is where it will be, if not in `out`.
    """
    low, high = budgets if budgets is not None else (None, None)
    scenario = Scenario(
        space,
        name=name,
        output_directory=out,
        deterministic=True,
        objectives=list(objectives),
        n_trials=n_trials,
        min_budget=low,
        max_budget=high,
        seed=seed,
    )
    # A name that SMAC's facades would give; without one it warns at every load.
    scenario._set_meta({"facade": {"name": "greenshift"}})
    scenario.save()
    history = RunHistory()
    for each in evaluated:
        history.add(
            each.config,
            # What SMAC itself stores of a crash; it is no figure.
            cost=each.costs if each.costs is not None else [float("inf")] * len(objectives),
            time=each.seconds,
            status=StatusType.SUCCESS if each.costs is not None else _STATUS.get(str(each.failure), StatusType.CRASHED),
            seed=each.seed,
            budget=each.budget,
            starttime=each.started,
            endtime=each.ended,
            additional_info=each.more,
        )
    folder = Path(scenario.output_directory)
    history.save(folder / "runhistory.json")
    if home is not None:
        _settle(folder / "scenario.json", home / folder.relative_to(out))
    return folder


def _settle(scenario: Path, folder: Path) -> None:
    document = json.loads(scenario.read_text(encoding="utf-8"))
    scenario.write_text(json.dumps(document | {"output_directory": str(folder)}, indent=4), encoding="utf-8")
