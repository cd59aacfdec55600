"""The space of a study that has run, and the configs of its trials in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace

from service.schema import StudySpec, Trial
from service.space import build_space
from service.study_run import StudyRun
from service.wire import Event
from worker.schema import Recipe


def space_of(run: StudyRun, log: Iterable[Event]) -> ConfigurationSpace:
    """The space that the study searched; its network has as many layers as workers found, or as trials converted."""
    spec = run.study.spec
    known = [event.payload["n_layers"] for event in log if event.kind == "facts_found" and "n_layers" in event.payload]
    return build_space(spec, known[-1] if known else _deepest(spec, run.trials))


def part_of(space: ConfigurationSpace, trial: Trial) -> dict[str, Any]:
    """What the space knows of a trial's config: its hyperparameters with values that they can have."""
    return {name: v for name, v in trial.config.items() if name in space and space[name].legal_value(v)}


def inside(space: ConfigurationSpace, trial: Trial) -> Configuration | None:
    """The trial's config as one of the space; None where it is another, as that of a baseline may be."""
    known = part_of(space, trial)
    usual = {} if trial.is_of_task else Recipe().model_dump()
    if any(name not in known and (name not in usual or usual[name] != v) for name, v in trial.config.items()):
        return None
    try:
        return Configuration(space, values=known)
    except ValueError:
        return None


def _deepest(spec: StudySpec, trials: Iterable[Trial]) -> int:
    knobs = spec.fidelity.values(spec.fidelity.max_fidelity) if spec.fidelity else {}
    return max([1, int(knobs.get("shift_depth", 1)), *(trial.shift_depth or 1 for trial in trials)])
