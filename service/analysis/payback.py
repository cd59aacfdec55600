"""How many inferences it takes until the networks of a study have saved what the search for them has spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

from service.compared import DEFAULT_TRIAL_ID
from service.findings import PaybackDocument, PaybackNetwork
from service.ledger import Entry, Ledger
from service.schema import Trial
from worker.schema import Quality

_OBJECTIVE = "deployment_energy"


def payback(front: Sequence[Trial], trials: Iterable[Trial], ledger: Ledger) -> PaybackDocument:
    """What a study has spent against what each network of its front saves over the default network.

    Args:
        front: of the study.
        trials: of the study, the default among them where it has been trained.
        ledger: of the study.
    """
    default = next((trial for trial in trials if trial.trial_id == DEFAULT_TRIAL_ID), None)
    per_inference = None if default is None else _joules_per_inference(default)
    joules, method, quality = _sum(ledger.entries)
    causes = dict.fromkeys(entry.cause for entry in ledger.entries)
    return PaybackDocument(
        search_joules=joules,
        search_method=method,
        search_quality=quality,
        by_cause={cause: _sum([e for e in ledger.entries if e.cause == cause])[0] for cause in causes},
        default_joules=per_inference,
        networks=[
            _network(trial.trial_id, own, per_inference, joules)
            for trial in front
            if (own := _joules_per_inference(trial)) is not None
        ],
    )


def _joules_per_inference(trial: Trial) -> float | None:
    """By operation counts; None of a task, whatever its objectives are called."""
    return None if trial.is_of_task else trial.value(_OBJECTIVE)


def _sum(entries: list[Entry]) -> tuple[float | None, str, Quality]:
    """Joules, method and quality; unknown where a part is, or where parts are of several qualities."""
    qualities = {entry.quality for entry in entries}
    if len(qualities) != 1 or any(entry.n_unknown for entry in entries):
        return None, "none", "none"
    quality = cast(Quality, qualities.pop())
    methods = ", ".join(sorted({entry.method for entry in entries}))
    return sum(entry.joules for entry in entries), methods, quality


def _network(trial_id: str, own: float, default: float | None, search: float | None) -> PaybackNetwork:
    saved = None if default is None else default - own
    pays = saved is not None and saved > 0 and search is not None
    return PaybackNetwork(
        trial_id=trial_id,
        joules_per_inference=own,
        saved_joules_per_inference=saved,
        n_inferences_to_pay=math.ceil((search or 0.0) / (saved or 1.0)) if pays else None,
    )
