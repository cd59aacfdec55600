"""Tasks of the user's own: whole problems, found by name among entry points, that a study searches like a network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

from worker.errors import ConfigurationError, DivergedError, StoppedError
from worker.plugins import load_plugin, plugin_names
from worker.schema import SPENT_OBJECTIVES, TaskFidelity, TaskObjective
from worker.spelling import did_you_mean

__all__ = ["Evaluation", "Task", "TaskFidelity", "TaskObjective", "find_task"]
_NAME = re.compile("[a-z][a-z0-9_]*")


@dataclass
class Evaluation:
    """One evaluation as its task sees it: what to evaluate, and where to say how far it is.

    Attributes:
        config: value of each active hyperparameter.
        fidelity: exactly as the optimizer gave it, so round it where it counts something; 1 where the task has none.
        seed: that of the study. Python's, NumPy's and PyTorch's own generators have been seeded with it.
        device: `cuda:0` or `cpu`: where energy is read.
        data_dir: folder of the data sets, if the study or the worker has one.
        model_path: file or folder, not there yet, where the task may leave what it made; None keeps nothing.
        earlier: what the evaluation of the same config at the fidelity below kept, where the study goes on from it.
        should_stop: whether to end now, by any exception.
        on_report: is given each step and its loss.
        losses: that were reported.
        kept: what was kept last.
    """

    config: Mapping[str, Any]
    fidelity: float = 1.0
    seed: int = 0
    device: str = "cpu"
    data_dir: Path | None = None
    model_path: Path | None = None
    earlier: bytes | None = None
    should_stop: Callable[[], bool] = lambda: False
    on_report: Callable[[int, float], None] = lambda _step, _loss: None
    losses: list[float] = field(default_factory=list)
    kept: bytes | None = None

    def report(self, step: int, loss: float) -> None:
        """Says what a step such as an epoch came to, for whoever watches; steps count from 1.

        Raises:
            DivergedError: the loss is not finite.
            StoppedError: the evaluation is asked to stop; let it pass.
        """
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of step {step} is {loss}")
        self.losses.append(float(loss))
        self.on_report(int(step), float(loss))
        if self.should_stop():
            raise StoppedError(f"stopped in step {step}")

    def keep(self, content: bytes) -> None:
        """Leaves `content` for the evaluation of this config at the next fidelity, in place of what was kept before."""
        self.kept = content


@dataclass(frozen=True)
class Task:
    """A problem of the user's own.

    Attributes:
        run: evaluates a config under the energy meter and returns a finite number for each of `objectives`.
        space: a ConfigurationSpace, its JSON as a dict, or a function that gives either. Its default configuration
            is evaluated in every study, to compare with.
        objectives: what `run` returns, by name: lower-case words. Energy and what follows from it is measured besides.
        fidelity: what makes an evaluation cheaper; None evaluates every config in full.

    Raises:
        ValueError: no objective, or a name that cannot be.
    """

    run: Callable[[Evaluation], Mapping[str, SupportsFloat]]
    space: Any
    objectives: Mapping[str, TaskObjective]
    fidelity: TaskFidelity | None = None

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("objectives must name at least one")
        for name in self.objectives:
            if name in SPENT_OBJECTIVES:
                raise ValueError(f"objectives must leave {', '.join(SPENT_OBJECTIVES)} to the worker, got {name!r}")
            if not _NAME.fullmatch(name):
                raise ValueError(f"objectives must have names of a-z, 0-9 and _, got {name!r}")


def find_task(name: str) -> Task:
    """The task that the entry point `name` of `greenshift.tasks` points at.

    Raises:
        ConfigurationError: there is none, or it is something else.
    """
    found = load_plugin("greenshift.tasks", name)
    if found is None:
        names = plugin_names("greenshift.tasks")
        known, guess = ", ".join(names) or "none is installed", did_you_mean(name, names)
        raise ConfigurationError(f"task must be an entry point of greenshift.tasks ({known}), got {name!r}{guess}")
    if not isinstance(found, Task):
        raise ConfigurationError(f"greenshift.tasks {name!r} must be a Task, got {type(found).__name__}")
    return found
