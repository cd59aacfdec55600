"""A study as far as it has come, and the file from which it can be run again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from service import drawing
from service.ledger import Ledger
from service.ranking import front, ties
from service.schema import Study, StudySpec, Trial
from service.scores import Finals


@dataclass(frozen=True)
class StudyRun:
    """A study with its trials, as far as it has come.

    Attributes:
        ledger: what it has spent; empty while it runs.
        finals: what `greenshift finalize` has found; empty while it runs.
        epochs: by trial that runs, how many its attempt is through with.
    """

    study: Study
    trials: list[Trial]
    ledger: Ledger = field(default_factory=Ledger)
    finals: Finals = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        """A line, as thousands of trials would flood a terminal."""
        counts = f"{len(self.trials)} trials, {self.on_front}"
        return f"StudyRun({self.study.spec.name!r}, {self.study.state}: {counts})"

    def _repr_html_(self) -> str:
        return drawing.table(self)

    def plot_front(self) -> Any:
        """The front as a figure of matplotlib: a hollow mark is an estimate."""
        return drawing.front(self)

    def plot_hypervolume(self) -> Any:
        """How the hypervolume grew from trial to trial, as a figure of matplotlib."""
        return drawing.hypervolume(self)

    def plot_parallel_coordinates(self) -> Any:
        """Hyperparameters and objectives side by side, as a figure of matplotlib."""
        return drawing.parallel_coordinates(self)

    @property
    def front(self) -> list[Trial]:
        """The non-dominated trials at full fidelity, sorted by the first objective."""
        return front(self.study.spec, self.trials)

    @property
    def on_front(self) -> str:
        """How many trials are on the front, such as `3 on the front (2 distinct points)`."""
        best = self.front
        return f"{len(best)} on the front{ties(self.study.spec, best)}"


def write_spec(spec: StudySpec, out: Path) -> None:
    """The study as a file that can be run again."""
    (out / "study.yaml").write_text(as_yaml(document_of(spec)))


def document_of(spec: StudySpec, *, brief: bool = False) -> dict[str, Any]:
    """The study as its author would write it, what is unset left out, and where `brief` also what is by default."""
    document = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=brief)
    # None is a fidelity as well: the full one, unless the task is still to say.
    return document if spec.fidelity or "fidelity" in spec.gaps else document | {"fidelity": None}


def as_yaml(document: dict[str, Any]) -> str:
    """A study as YAML, its keys in their order."""
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text
