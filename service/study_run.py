"""A study as far as it has come, and the file from which it can be run again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from service.ledger import Ledger
from service.ranking import front
from service.schema import Study, StudySpec, Trial


@dataclass(frozen=True)
class StudyRun:
    """A study with its trials, as far as it has come.

    Attributes:
        ledger: what it has spent; empty while it runs.
    """

    study: Study
    trials: list[Trial]
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def front(self) -> list[Trial]:
        """The non-dominated trials at full fidelity, sorted by the first objective."""
        return front(self.study.spec, self.trials)


def write_spec(spec: StudySpec, out: Path) -> None:
    """The study as a file that can be run again."""
    document = spec.model_dump(mode="json", exclude_none=True) | {
        "fidelity": spec.fidelity.model_dump(mode="json") if spec.fidelity else None
    }
    (out / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
