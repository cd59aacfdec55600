"""What a study has spent in all, by worker and by cause: nothing that any attempt used is lost."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from service.schema import TrialState
from worker.schema import EnergyReport, TrialResult

Cause = Literal["completed", "continued", "failed", "stopped", "retried", "abandoned", "late", "inference", "final"]
CAUSES: dict[Cause, str] = {
    "completed": "trials from the beginning",
    "continued": "trials that went on from a checkpoint, without what the trial below had spent",
    "failed": "trials that failed",
    "stopped": "trials that somebody cancelled",
    "retried": "attempts that were broken off, and made again or gone on from",
    "abandoned": "attempts of which nothing came back",
    "late": "attempts whose result came when another one had been made",
    "inference": "passes repeated for the energy of an inference",
    "final": "final trainings, judged by the test split",
}
AMOUNTS = ("joules", "emissions_grams", "water_litres", "embodied_grams")
LEDGER_COLUMNS = ("cause", "worker", "device", "method", "quality", "n_attempts", "n_unknown", *AMOUNTS, "seconds")


class Line(Protocol):
    """What the ledger reads of a line of the log."""

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> dict[str, Any]: ...


@dataclass
class Entry:
    """The sum over attempts of one cause on one worker, obtained in one way.

    Attributes:
        worker: its name, or in older logs host and process; empty where nobody knows.
        device: its model.
        method: how the joules were obtained, `none` where they are unknown; likewise `quality`.
        n_attempts: all of them; `n_unknown` of these have no energy, which counts as nothing in the sums.
        joules: of GPU, or of processor and memory.
        seconds: of the windows.
    """

    cause: Cause
    worker: str
    device: str
    method: str
    quality: str
    n_attempts: int = 0
    n_unknown: int = 0
    joules: float = 0.0
    emissions_grams: float = 0.0
    water_litres: float = 0.0
    embodied_grams: float = 0.0
    seconds: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the energy of at least one attempt is known; else the sums are unknown, not zero."""
        return self.n_unknown < self.n_attempts

    def add(self, report: EnergyReport | None) -> None:
        """Counts one attempt."""
        self.n_attempts += 1
        self.n_unknown += not is_known(report)
        if report is None:
            return
        self.seconds += report.duration_seconds
        for name in AMOUNTS:
            setattr(self, name, getattr(self, name) + (getattr(report, name) or 0.0))


@dataclass
class Ledger:
    """All entries of a study, in the order of the causes."""

    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def from_events(cls, events: Iterable[Line]) -> Ledger:
        """The ledger that a study's log adds up to."""
        ledger = cls()
        ledger.add(events)
        return ledger

    def add(self, events: Iterable[Line]) -> None:
        """Counts what further lines of the log tell."""
        found = {(e.cause, e.worker, e.device, e.method, e.quality): e for e in self.entries}
        for event in events:
            for cause, worker, report in spendings(event):
                how = (report.device, report.method, report.quality) if report else ("", "none", "none")
                found.setdefault((cause, worker, *how), Entry(cause, worker, *how)).add(report)
        order = list(CAUSES)
        self.entries = sorted(found.values(), key=lambda e: (order.index(e.cause), e.worker, e.device, e.method))

    def by_cause(self) -> list[Entry]:
        """The entries with workers added up."""
        sums: dict[tuple[str, ...], Entry] = {}
        for entry in self.entries:
            key = (entry.cause, entry.device, entry.method, entry.quality)
            total = sums.setdefault(key, Entry(entry.cause, "", entry.device, entry.method, entry.quality))
            for name in ("n_attempts", "n_unknown", "seconds", *AMOUNTS):
                setattr(total, name, getattr(total, name) + getattr(entry, name))
        return list(sums.values())

    def by_quality(self) -> dict[str, float]:
        """The joules that are known, by how well they are."""
        found: dict[str, float] = {}
        for entry in self.entries:
            if entry.is_known:
                found[entry.quality] = found.get(entry.quality, 0.0) + entry.joules
        return found

    @property
    def joules(self) -> float:
        """All that is known; a lower bound where something is unknown."""
        return sum(entry.joules for entry in self.entries)


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Writes the ledger as a CSV file; unknown sums are empty."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LEDGER_COLUMNS)
        writer.writeheader()
        writer.writerows(ledger_rows(ledger))


def ledger_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """The entries by column name; None is an unknown sum."""
    return [
        {name: None if name in AMOUNTS and not entry.is_known else getattr(entry, name) for name in LEDGER_COLUMNS}
        for entry in ledger.entries
    ]


def reports_of(result: TrialResult) -> list[EnergyReport]:
    """All that an attempt has spent and that is known."""
    inference = result.inference.report if result.inference is not None else None
    return [report for report in (result.energy, inference) if report is not None]


def is_known(report: EnergyReport | None) -> bool:
    """Whether these are all joules of what is reported; of a process that died only closed windows are known."""
    return report is not None and report.joules is not None and "process_died" not in report.flags


def spendings(event: Line) -> Iterator[tuple[Cause, str, EnergyReport | None]]:
    """What one event tells of: cause, worker, and the energy or None where it is unknown."""
    if event.kind == "attempt_abandoned":
        yield "abandoned", "", None
    elif event.kind in ("attempt_finished", "late_result", "final_result"):
        result = result_of(event)
        yield _cause(event, result), result.worker, result.energy
        if result.inference is not None:
            yield "inference", result.worker, result.inference.report


def result_of(event: Line) -> TrialResult:
    """The result that a line of the log brings; one that was read already is taken as it is."""
    return TrialResult.model_validate(event.payload["result"])


def _cause(event: Line, result: TrialResult) -> Cause:
    if event.kind != "attempt_finished":
        return "late" if event.kind == "late_result" else "final"
    if event.payload["state"] == TrialState.WAITING:
        return "retried"
    if event.payload["state"] == TrialState.STOPPED:
        return "stopped"
    if result.failure is not None:
        return "failed"
    is_continued = any(leg.trial_id != result.trial_id for leg in result.earlier_legs)
    return "continued" if is_continued else "completed"
