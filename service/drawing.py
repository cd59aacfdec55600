"""How a study shows itself in a notebook; what draws it is loaded when somebody looks.

Matplotlib takes a second to load, and who only asks a service or runs a study needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from service.schema import Study, Trial
from service.wire import StudyDocument


class Shown(Protocol):
    """A study as far as it has come."""

    @property
    def study(self) -> Study: ...

    @property
    def trials(self) -> list[Trial]: ...


@dataclass(frozen=True)
class Snapshot:
    """A study of a service, as it was when it was asked for."""

    study: Study
    trials: list[Trial]

    @classmethod
    def of(cls, document: StudyDocument, trials: list[Trial]) -> Snapshot:
        """What the service says of a study, and of its trials."""
        known = {name: getattr(document, name) for name in Study.model_fields}
        return cls(Study.model_validate(known), trials)


def table(shown: Shown) -> str:
    """A small table in HTML: state, counts, the front with methods and qualities."""
    from service.report import notebook

    return notebook.table(shown.study, shown.trials)


def front(shown: Shown) -> Any:
    """The front as a figure of matplotlib."""
    from service.report.picture import front_figure

    return front_figure(shown.study.spec, shown.trials)


def hypervolume(shown: Shown) -> Any:
    """How the hypervolume grew, as a figure of matplotlib."""
    from service.report.growth import growth_figure

    return growth_figure(shown.study.spec, shown.trials)


def parallel_coordinates(shown: Shown) -> Any:
    """Hyperparameters and objectives side by side, a line a trial, as a figure of matplotlib."""
    from service.report.parallel import parallel_figure

    return parallel_figure(shown.study.spec, shown.trials)
