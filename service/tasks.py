"""A study of a task, completed by what a worker knows of the task."""

from __future__ import annotations

from typing import Any

from service.errors import InputError
from service.schema import Direction, StudySpec
from worker.schema import SPENT_OBJECTIVES, TaskDescription, did_you_mean

_MIN_OBJECTIVES, _MAX_OBJECTIVES = 2, 3


def completed(spec: StudySpec, task: TaskDescription) -> StudySpec:
    """`spec` with space, objectives and fidelity of its task where it gives none itself.

    Raises:
        InputError: it gives some that the task does not have, or the task's cannot be searched.
    """
    given = {key for key in ("space", "objectives", "fidelity") if key not in spec.gaps}
    if "space" in given:
        _check_space(spec, task)
    if "objectives" in given:
        _check_objectives(spec, task)
    if "fidelity" in given and spec.fidelity is not None and task.fidelity is None:
        raise InputError(f"fidelity: task {task.name} has none, so it must be left out or null")
    of_the_task: dict[str, Any] = {
        "space": task.space,
        "objectives": _objectives(task) if "objectives" not in given else None,
        "fidelity": task.fidelity.model_dump() if task.fidelity is not None else None,
    }
    return StudySpec.load(spec.model_dump(mode="json") | {k: v for k, v in of_the_task.items() if k not in given})


def _objectives(task: TaskDescription) -> dict[str, Direction]:
    """The task's own, where they are as many as a study has."""
    n = len(task.objectives)
    if not _MIN_OBJECTIVES <= n <= _MAX_OBJECTIVES:
        raise InputError(f"objectives: task {task.name} has {n}; name two or three of {', '.join(_allowed(task))}")
    return {name: objective.direction for name, objective in task.objectives.items()}


def _check_objectives(spec: StudySpec, task: TaskDescription) -> None:
    for name, direction in spec.objectives.items():
        allowed = _allowed(task)
        if name not in allowed:
            guess = did_you_mean(name, allowed)
            raise InputError(f"objectives: task {task.name} has {', '.join(allowed)}, got {name!r}{guess}")
        if direction != allowed[name]:
            raise InputError(f"objectives.{name}: must be {allowed[name]}, as task {task.name} says, got {direction!r}")


def _allowed(task: TaskDescription) -> dict[str, Direction]:
    """Directions of the task's objectives and of those that are measured for every task."""
    own: dict[str, Direction] = {name: objective.direction for name, objective in task.objectives.items()}
    return own | dict.fromkeys(SPENT_OBJECTIVES, "minimize")


def _check_space(spec: StudySpec, task: TaskDescription) -> None:
    """Refuses a space with other hyperparameters than the task reads."""
    ours, theirs = (_names(space) for space in (spec.space, task.space))
    if ours != theirs:
        raise InputError(f"space: task {task.name} has the hyperparameters {', '.join(theirs)}, got {', '.join(ours)}")


def _names(space: Any) -> list[str]:
    """Names of the hyperparameters of a ConfigSpace JSON object, sorted; of another object none."""
    found = space.get("hyperparameters", []) if isinstance(space, dict) else []
    return sorted(str(hp["name"]) for hp in found if isinstance(hp, dict) and "name" in hp)
