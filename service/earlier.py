"""What an earlier study found: the configs of its front, by trial, from a store or from the files of a run."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from service import pareto
from service.errors import InputError
from service.ranking import front
from service.schema import StudySpec, TrialState
from service.store import Store

Configs = dict[str, dict[str, Any]]
_CONFIG = "config."


def front_in_store(store: Store, study_id: str) -> Configs:
    """Configs of the front of a study, by its first objective.

    Raises:
        InputError: there is no such study, or it has no front yet.
    """
    try:
        study = store.study(study_id)
    except KeyError:
        raise InputError(f"warm_start: there is no study {study_id!r}") from None
    found = {trial.trial_id: trial.config for trial in front(study.spec, store.trials(study_id))}
    if not found:
        raise InputError(f"warm_start: study {study_id} has no front yet")
    return found


def front_in_files(place: str, spec: StudySpec) -> Configs:
    """Configs of the front that a folder of `greenshift run` or a table holds.

    Args:
        place: a folder with `study.sqlite` or `front.csv`, or a `front.csv` or `trials.csv`.
        spec: of the study that begins with them; of a table's rows those count that its objectives put on the front.
            Their values are text.

    Raises:
        InputError: nothing of the kind is there.
    """
    path = Path(place)
    if (path / "study.sqlite").is_file():
        with Store(path / "study.sqlite") as store:
            for study in store.studies():
                return front_in_store(store, study.study_id)
    table = path / "front.csv" if path.is_dir() else path
    try:
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error):
        raise InputError(
            f"warm_start: must be a folder of `greenshift run`, a front.csv or a trials.csv, got {place!r}"
        ) from None
    chosen = _front_of_rows(rows, spec)
    if not chosen:
        raise InputError(
            f"warm_start: {table} holds no COMPLETED trial with a config and known {', '.join(spec.objectives)}"
        )
    return {
        row.get("trial_id") or str(number): {
            name.removeprefix(_CONFIG): value for name, value in row.items() if name.startswith(_CONFIG) and value
        }
        for number, row in enumerate(chosen)
    }


def _front_of_rows(rows: list[dict[str, Any]], spec: StudySpec) -> list[dict[str, Any]]:
    """Rows at the highest fidelity that no other dominates, figures of one method only."""
    kept = [row for row in rows if _is_comparable(row, spec)]
    highest = max((row.get("fidelity") or "" for row in kept), key=lambda text: float(text or 0), default="")
    kept = [row for row in kept if (row.get("fidelity") or "") == highest]
    methods = Counter(_methods(row, spec) for row in kept).most_common(1)
    kept = [row for row in kept if methods and _methods(row, spec) == methods[0][0]]
    signs = [1.0 if direction == "minimize" else -1.0 for direction in spec.objectives.values()]
    costs = np.array([[s * float(row[o]) for o, s in zip(spec.objectives, signs, strict=True)] for row in kept])
    on_front = pareto.front(costs.reshape(-1, len(signs)))
    chosen = [(tuple(cost), row) for cost, row, keep in zip(costs, kept, on_front, strict=True) if keep]
    return [row for _, row in sorted(chosen, key=lambda pair: pair[0])]


def _is_comparable(row: dict[str, Any], spec: StudySpec) -> bool:
    is_searched = row.get("state") == TrialState.COMPLETED and row.get("is_default") != "True"
    has_config = any(name and name.startswith(_CONFIG) and value for name, value in row.items())
    return (
        is_searched
        and has_config
        and all(_is_number(row.get(name)) for name in spec.objectives)
        and (not row.get("fidelity") or _is_number(row["fidelity"]))
    )


def _methods(row: dict[str, Any], spec: StudySpec) -> tuple[Any, ...]:
    return tuple(row.get(f"{name}_{what}") for name in spec.objectives for what in ("method", "quality"))


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and bool(np.isfinite(float(text)))
    except ValueError:
        return False
