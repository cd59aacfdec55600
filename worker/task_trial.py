"""One evaluation of a task of the user's own: seed, run under the meter, check what it returns, report."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch

from worker.checkpoint import Kept, load_kept, or_without, save_kept
from worker.energy.carbon import check_site
from worker.energy.devices import describe as describe_device
from worker.energy.devices import pick_device
from worker.errors import ConfigurationError, DivergedError
from worker.objectives import spent
from worker.schema import (
    EpochMetrics,
    Interim,
    Leg,
    Measurement,
    SiteSpec,
    TaskDescription,
    TaskTrialSpec,
    TrialResult,
)
from worker.tasks import Evaluation, Task, find_task
from worker.trial import EpochStream, make_meter


def run(
    spec: TaskTrialSpec,
    on_interim: Callable[[Interim], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialResult:
    """Evaluates a config of a task.

    Args:
        spec: which config of which task.
        on_interim: is given what is known by now, also what the evaluation spent where it fails.
        on_epoch: is given each step that the task reports.
        should_stop: is asked after each of them, and whenever the task wants to know.

    Raises:
        ConfigurationError: there is no such task, or it returns something else than its objectives.
        DivergedError: an objective or a reported loss is not finite.
        StoppedError: `should_stop` said so.
    """
    task = find_task(spec.task)
    earlier = load_kept(spec.resume_from) if spec.resume_from is not None else None
    legs = earlier.legs if earlier is not None else ()
    on_interim(Interim(earlier_legs=legs))
    evaluation = _evaluation(task, spec, earlier, on_epoch, should_stop)
    _seed(spec.seed)
    meter = make_meter(pick_device(), spec.site)
    try:
        with meter:
            returned = task.run(evaluation)
    finally:
        energy = meter.report()
        on_interim(Interim(energy=energy, earlier_legs=legs))
    objectives = _measurements(spec.task, task, returned)
    if spec.checkpoint_to is not None and evaluation.kept is not None:
        leg = Leg.of(spec.trial_id, len(evaluation.losses), energy)
        with or_without("what the task kept", spec.checkpoint_to):
            save_kept(Kept(evaluation.kept, (*legs, leg)), spec.checkpoint_to)
    return TrialResult(
        study_id=spec.study_id,
        trial_id=spec.trial_id,
        attempt=spec.attempt,
        objectives=objectives | spent(energy, legs),
        energy=energy,
        training_loss=tuple(evaluation.losses),
        earlier_legs=legs,
    )


def describe(name: str, site: SiteSpec | None = None) -> TaskDescription:
    """What this worker knows of a task, without evaluating anything.

    Raises:
        ConfigurationError: there is no such task here, its space is none, or nobody knows the site.
    """
    if site is not None:
        check_site(site)
    task = find_task(name)
    return TaskDescription(
        name=name,
        space=_space(name, task),
        objectives=dict(task.objectives),
        fidelity=task.fidelity,
        device=describe_device(pick_device()),
    )


def _evaluation(
    task: Task,
    spec: TaskTrialSpec,
    earlier: Kept | None,
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
) -> Evaluation:
    if spec.model_path is not None:
        Path(spec.model_path).parent.mkdir(parents=True, exist_ok=True)
    full = task.fidelity.max_fidelity if task.fidelity is not None else 1.0
    data_dir = spec.data_dir or os.environ.get("GREENSHIFT_DATA_DIR")
    return Evaluation(
        config=spec.config,
        fidelity=full if spec.fidelity is None else spec.fidelity,
        seed=spec.seed,
        device=str(pick_device()),
        data_dir=Path(data_dir) if data_dir else None,
        model_path=Path(spec.model_path) if spec.model_path is not None else None,
        earlier=earlier.content if earlier is not None else None,
        should_stop=should_stop,
        on_report=EpochStream(spec, on_epoch),
    )


def _seed(seed: int) -> None:
    """Sets the generators that a task may use without asking."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _measurements(name: str, task: Task, returned: Mapping[str, SupportsFloat]) -> dict[str, Measurement]:
    """What a task returned, as measurements in the order of its objectives."""
    if not isinstance(returned, Mapping) or set(returned) != set(task.objectives):
        got = ", ".join(map(str, returned)) if isinstance(returned, Mapping) else type(returned).__name__
        raise ConfigurationError(f"task {name} must return {', '.join(task.objectives)}, got {got or 'nothing'}")
    return {
        key: Measurement(
            value=_number(f"objective {key} of task {name}", returned[key]),
            unit=objective.unit,
            method="evaluation",
            quality=objective.quality,
        )
        for key, objective in task.objectives.items()
    }


def _number(what: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, SupportsFloat) else None
    except (TypeError, ValueError):  # arrays of several numbers
        number = None
    if number is None:
        raise ConfigurationError(f"{what} must be a number, got {' '.join(repr(value).split())}")
    if not math.isfinite(number):
        raise DivergedError(f"{what} is {number}")
    return number


def _space(name: str, task: Task) -> dict[str, Any]:
    """The task's space as plain JSON."""
    try:
        space = task.space() if callable(task.space) else task.space
        document = space if isinstance(space, dict) else space.to_serialized_dict()
        plain: dict[str, Any] = json.loads(json.dumps(document))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"task {name}: its space is no ConfigSpace ({reason})") from error
    return plain
