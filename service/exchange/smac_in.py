"""Evaluations of a run folder of SMAC3, of any of its versions from 2.0 on."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from service.errors import InputError
from service.exchange.found import Found

_FILE = "runhistory.json"
_SUCCESS = 1
# Before 2.4 an evaluation was a list; CPU time came to it later.
_KEYS = ("config_id", "instance", "seed", "budget", "cost", "time", "status")
_KEYS_WITH_CPU = (*_KEYS[:-1], "cpu_time", "status")
_N_WITH_CPU = 11


def read_smac(folder: Path) -> tuple[str, list[Found]]:
    """The folder's name and its configs at the highest budget, each with its mean costs over seeds and instances.

    Raises:
        InputError: it is no run folder.
    """
    file = _history(folder)
    try:
        document = json.loads(file.read_text())
        evaluations = [_entry(each) for each in document["data"]]
        good = [each for each in evaluations if each["status"] == _SUCCESS]
        highest = max((each["budget"] or 0.0 for each in good), default=0.0)
        costs: dict[str, list[list[float]]] = defaultdict(list)
        for each in good:
            if (each["budget"] or 0.0) == highest:
                costs[str(each["config_id"])].append(_costs(each["cost"]))
        found = [Found(document["configs"][key], tuple(map(fmean, zip(*c, strict=True)))) for key, c in costs.items()]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"source: {file} is no run history of SMAC3 ({reason})") from error
    return str(folder), [each for each in found if all(map(math.isfinite, each.costs))]


def _history(folder: Path) -> Path:
    """SMAC puts a run into NAME/SEED of the folder that it is given."""
    there = sorted([*folder.glob(_FILE), *folder.glob(f"*/{_FILE}"), *folder.glob(f"*/*/{_FILE}")])
    if (folder / "study.sqlite").is_file():
        raise InputError(f"source: {folder} is a folder of `greenshift run`; name it as warm_start of a study")
    if len(there) != 1:
        held = f"{len(there)} of them: {', '.join(str(path.parent) for path in there[:3])}" if there else "none"
        raise InputError(f"source: {folder} must hold one {_FILE} of SMAC3, and holds {held}")
    return there[0]


def _entry(each: Any) -> dict[str, Any]:
    if isinstance(each, dict):
        return each
    return dict(zip(_KEYS_WITH_CPU if len(each) >= _N_WITH_CPU else _KEYS, each, strict=False))


def _costs(cost: Any) -> list[float]:
    return [float(c) for c in cost] if isinstance(cost, list) else [float(cost)]
