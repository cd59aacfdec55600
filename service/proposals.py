"""Between the words of the optimizer and those of the study: suggestions and trials, results and what is told."""

from __future__ import annotations

import math
from typing import Any

from service.optimizer import Suggestion, Told
from service.schema import DEFAULT_EPOCHS, Study, StudySpec, Trial, TrialState
from worker.schema import AnyFacts, TaskDescription, TrialResult


def trial_of(suggestion: Suggestion, study: Study, facts: AnyFacts) -> Trial:
    """The trial of a suggestion: its knobs as whole numbers, its fidelity as the optimizer gave it."""
    if isinstance(facts, TaskDescription):
        return _of_a_task(suggestion, study)
    fidelity = study.spec.fidelity
    config = dict(suggestion.config)
    knobs: dict[str, Any] = {"shift_depth": facts.n_layers, "epochs": DEFAULT_EPOCHS} | config
    if fidelity is not None:
        knobs |= fidelity.values(suggestion.fidelity)
    return Trial(
        study_id=study.study_id,
        trial_id=suggestion.trial_id,
        state=TrialState.WAITING,
        config=config,
        fidelity=suggestion.fidelity if fidelity else None,
        shift_depth=knobs["shift_depth"],
        epochs=knobs["epochs"],
        data_fraction=knobs.get("data_fraction", 1.0),
        family=config.get("family", study.spec.family),
        seed=study.spec.seed,
        promoted_from=suggestion.promoted_from,
        is_full=fidelity is None or math.isclose(suggestion.fidelity, fidelity.max_fidelity),
    )


def _of_a_task(suggestion: Suggestion, study: Study) -> Trial:
    fidelity = study.spec.fidelity
    return Trial(
        study_id=study.study_id,
        trial_id=suggestion.trial_id,
        state=TrialState.WAITING,
        config=dict(suggestion.config),
        fidelity=suggestion.fidelity if fidelity else None,
        seed=study.spec.seed,
        promoted_from=suggestion.promoted_from,
        is_full=fidelity is None or math.isclose(suggestion.fidelity, fidelity.max_fidelity),
    )


def suggestion_of(trial: Trial) -> Suggestion:
    """The suggestion that a logged trial came from."""
    fidelity = 1.0 if trial.fidelity is None else trial.fidelity
    return Suggestion(trial.trial_id, trial.config, fidelity, trial.promoted_from)


def told_of(result: TrialResult, spec: StudySpec) -> Told:
    """What the optimizer learns of a result: its objectives and seconds, or why there are none."""
    if result.failure is not None:
        return Told(result.trial_id, None, result.failure.kind)
    values = {name: result.objectives[name].value for name in spec.objectives}
    known = {str(name): value for name, value in values.items() if value is not None}
    if len(known) < len(values):
        return Told(result.trial_id, None, "unmeasured")
    return Told(result.trial_id, known, cost=result.seconds or None)
