from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.budget import Spent
from service.ledger import CAUSES, Ledger, write_ledger
from service.store import Event
from tests.service.fakes import completed, energy_report, failed
from worker.schema import InferenceEnergy, Leg, TrialResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEG = Leg(trial_id="0", epochs=1, joules=1.0, emissions_grams=0.1, method="codecarbon", device="fake")


def event(kind: str, result: TrialResult | None = None, **payload: Any) -> Event:
    document = {} if result is None else {"result": result.model_dump(mode="json")}
    return Event(1, kind, "1", NOW, document | payload)


def spent(result: TrialResult, joules: float, worker: str = "fake:1") -> TrialResult:
    return result.model_copy(update={"energy": energy_report(joules, joules / 10), "worker": worker})


HAPPENED = [
    (event("attempt_finished", completed("1"), state="COMPLETED"), "completed"),
    (
        event("attempt_finished", completed("1").model_copy(update={"earlier_legs": (LEG,)}), state="COMPLETED"),
        "continued",
    ),
    (event("attempt_finished", failed("1"), state="FAILED"), "failed"),
    (event("attempt_finished", failed("1", kind="cancelled"), state="STOPPED"), "stopped"),
    (event("attempt_finished", failed("1", kind="worker_lost"), state="WAITING"), "retried"),
    (event("attempt_abandoned", attempt=1, reason="a restart"), "abandoned"),
    (event("late_result", completed("1")), "late"),
    (event("final_result", completed("1"), seed=0), "final"),
]


@pytest.mark.parametrize(("happened", "cause"), HAPPENED)
def test_every_attempt_has_a_cause(happened: Event, cause: str) -> None:
    (entry,) = Ledger.from_events([event("trial_added"), happened, event("trial_told")]).entries
    assert (entry.cause, entry.n_attempts) == (cause, 1)
    assert entry.cause in CAUSES


def test_attempts_are_added_up_by_worker_and_by_cause() -> None:
    ledger = Ledger.from_events(
        [
            event("attempt_finished", spent(completed("1"), 10.0, "a:1"), state="COMPLETED"),
            event("attempt_finished", spent(completed("2"), 20.0, "a:1"), state="COMPLETED"),
            event("attempt_finished", spent(completed("3"), 5.0, "b:1"), state="COMPLETED"),
            event("attempt_finished", spent(failed("4"), 3.0, "b:1"), state="FAILED"),
        ]
    )
    assert [(e.cause, e.worker, e.joules, e.emissions_grams) for e in ledger.entries] == [
        ("completed", "a:1", 30.0, pytest.approx(3.0)),
        ("completed", "b:1", 5.0, 0.5),
        ("failed", "b:1", 3.0, pytest.approx(0.3)),
    ]
    assert [(e.cause, e.joules, e.n_attempts, e.seconds) for e in ledger.by_cause()] == [
        ("completed", 35.0, 3, 3.0),
        ("failed", 3.0, 1, 1.0),
    ]
    assert ledger.joules == 38.0


def test_passes_repeated_for_an_inference_count_beside_the_trial_they_belong_to() -> None:
    inference = InferenceEnergy(
        joules_per_image=0.1, uncertainty_joules_per_image=None, n_images=70, n_passes=1, report=energy_report(7.0, 0.7)
    )
    result = completed("1", joules=5.0).model_copy(update={"inference": inference})
    happened = [event("attempt_finished", result, state="COMPLETED")]

    ledger = Ledger.from_events(happened)

    assert [(e.cause, e.joules) for e in ledger.entries] == [("completed", 5.0), ("inference", 7.0)]
    assert ledger.joules == Spent.from_events(happened).energy_joules == 12.0


def test_energies_obtained_in_two_ways_are_two_entries() -> None:
    measured = completed("2").energy
    assert measured is not None
    report = measured.model_copy(update={"method": "rapl", "quality": "measured"})
    ledger = Ledger.from_events(
        [
            event("attempt_finished", completed("1"), state="COMPLETED"),
            event("attempt_finished", completed("2").model_copy(update={"energy": report}), state="COMPLETED"),
        ]
    )
    assert [(e.method, e.quality, e.joules) for e in ledger.by_cause()] == [
        ("codecarbon", "estimated", 5.0),
        ("rapl", "measured", 5.0),
    ]
    assert ledger.by_quality() == {"estimated": 5.0, "measured": 5.0}


def test_what_is_known_of_a_process_that_died_is_no_full_figure() -> None:
    known = energy_report(4.0).model_copy(update={"flags": ("process_died",)})
    result = failed("1", kind="crashed").model_copy(update={"energy": known})
    (entry,) = Ledger.from_events([event("attempt_finished", result, state="FAILED")]).entries
    assert (entry.joules, entry.n_attempts, entry.n_unknown) == (4.0, 1, 1)


def test_unknown_energy_is_counted_and_never_zero(tmp_path: Path) -> None:
    ledger = Ledger.from_events(
        [
            event("attempt_finished", failed("1"), state="FAILED"),
            event("attempt_finished", spent(failed("2"), 2.0), state="FAILED"),
            event("attempt_abandoned", attempt=1, reason="a restart"),
        ]
    )
    assert [(e.cause, e.n_attempts, e.n_unknown, e.joules) for e in ledger.entries] == [
        ("failed", 1, 1, 0.0),
        ("failed", 1, 0, 2.0),
        ("abandoned", 1, 1, 0.0),
    ]
    write_ledger(tmp_path / "ledger.csv", ledger)
    rows = list(csv.DictReader((tmp_path / "ledger.csv").read_text().splitlines()))
    assert [row["joules"] for row in rows] == ["", "2.0", ""]


def test_a_ledger_that_is_added_to_is_the_one_of_the_whole_log() -> None:
    log = [happened for happened, _ in HAPPENED]
    for n in range(len(log)):
        ledger = Ledger.from_events(log[:n])
        ledger.add(log[n:])
        assert ledger == Ledger.from_events(log)
