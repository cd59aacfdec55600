from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.ledger import Ledger
from service.report.parquet import write_parquet
from service.report.tidy import Table, tables
from service.schema import Study, StudyState, Trial
from service.study_run import StudyRun
from service.wire import Event
from tests.service.fakes import completed, energy_report, failed, measurement, study_spec, trial
from worker.schema import GpuEnergy, Leg, TrialResult

AT = datetime(2026, 1, 2, tzinfo=UTC)
METERED = energy_report(5.0).model_copy(
    update={
        "method": "nvml_energy_timeline",
        "gpu": GpuEnergy(uuid="GPU-1", method="nvml_energy_timeline", gross_joules=5.0, uncertainty_joules=0.25),
    }
)


def run_of(*trials: Trial) -> StudyRun:
    study = Study(study_id="s", spec=study_spec(), state=StudyState.COMPLETED, created_at=AT)
    return StudyRun(study, list(trials), Ledger())


def measured(**changes: Any) -> TrialResult:
    objectives = {"error": measurement(0.25, "evaluation", "measured", "ratio"), "energy": measurement(5.0)}
    return completed("00001", objectives=objectives).model_copy(update={"energy": METERED} | changes)


def event(seq: int, kind: str, trial_id: str, **payload: Any) -> Event:
    if "result" in payload:
        payload["result"] = payload["result"].model_dump(mode="json")
    return Event(seq=seq, kind=kind, trial_id=trial_id, at=AT.replace(second=seq), payload=payload)


def by_objective(result: TrialResult) -> dict[str, dict[str, Any]]:
    found = tables(run_of(trial("00001", result)), [])["measurements"]
    return {row["objective"]: row for row in found.rows}


def test_a_figure_is_a_row_with_its_unit_and_its_uncertainty() -> None:
    assert by_objective(measured()) == {
        "error": {"trial_id": "00001", "objective": "error", "value": 0.25, "unit": "ratio", "method": "evaluation",
                  "quality": "measured", "uncertainty": None, "deviation": None},
        "energy": {"trial_id": "00001", "objective": "energy", "value": 5.0, "unit": "J", "method": "analytic",
                   "quality": "estimated", "uncertainty": 0.25, "deviation": None},
    }  # fmt: skip


def test_the_uncertainty_of_a_sum_with_earlier_trials_is_unknown() -> None:
    leg = Leg.of("00000", 3, METERED)
    assert by_objective(measured(earlier_legs=(leg,)))["energy"]["uncertainty"] is None


def test_the_deviation_is_that_over_seeds() -> None:
    seeds = tuple({"error": measurement(value, unit="ratio")} for value in (0.2, 0.3))
    found = by_objective(measured(by_seed=seeds))
    assert found["error"]["deviation"] == pytest.approx(0.05 * 2**0.5)
    assert found["energy"]["deviation"] is None


def test_every_attempt_is_a_row_that_says_how_it_ended() -> None:
    log = [
        event(1, "attempt_started", "00001", attempt=1),
        event(2, "attempt_started", "00002", attempt=1),
        event(3, "attempt_abandoned", "00001", attempt=1, reason="a restart"),
        event(4, "attempt_started", "00001", attempt=2),
        event(5, "attempt_finished", "00002", result=failed("00002"), state="FAILED"),
        event(6, "late_result", "00001", result=completed("00001", joules=3.0)),
        event(7, "attempt_finished", "00001", result=measured(attempt=2), state="COMPLETED"),
        event(8, "attempt_started", "00003", attempt=1),
        event(9, "trial_stopped", "00003", reason="cancelled"),
        event(10, "attempt_started", "00004", attempt=1),
        event(11, "attempt_finished", "00004", result=failed("00004"), state="WAITING"),
        event(12, "attempt_started", "00004", attempt=2),
    ]
    found = tables(run_of(), log)["attempts"].rows
    assert [(row["trial_id"], row["attempt"], row["outcome"], row.get("joules")) for row in found] == [
        ("00001", 1, "abandoned", None),
        ("00002", 1, "failed", None),
        ("00001", 2, "completed", 5.0),
        ("00003", 1, "stopped", None),
        ("00004", 1, "retried", None),
        ("00004", 2, "running", None),
        ("00001", 1, "late", 3.0),
    ]
    second = found[2]
    assert (second["started_at"], second["ended_at"]) == (AT.replace(second=4), AT.replace(second=7))
    assert (second["worker"], second["method"], second["uncertainty_joules"]) == (
        "fake:1",
        "nvml_energy_timeline",
        0.25,
    )
    assert found[1]["failure"] == "diverged"


def test_csv_reads_back_as_it_was_written(tmp_path: Path) -> None:
    table = Table(
        {"name": str, "value": float, "at": datetime},
        [{"name": 'a "b", c\nd', "value": 0.1 + 0.2, "at": AT}, {"name": "", "value": None}],
    )
    table.write_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {"name": 'a "b", c\nd', "value": "0.30000000000000004", "at": "2026-01-02T00:00:00+00:00"}
    assert second == {"name": "", "value": "", "at": ""}


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2], int), ([1, 0.5], float), ([True, False], bool), ([1, "a"], str), ([True, 1], str), ([None], str)],
)
def test_a_hyperparameter_has_the_type_of_its_values(values: list[Any], kind: type) -> None:
    trials = [trial(f"{n}", config={"x": value}) for n, value in enumerate(values)]
    assert tables(run_of(*trials), [])["trials"].columns["config.x"] is kind


def test_parquet_holds_the_tables_with_types_and_nulls(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    done, broken = trial("00001", measured()), trial("00002", failed("00002"), config={"weight_bits": 4})
    for name, table in tables(run_of(done, broken), [event(1, "attempt_started", "00001", attempt=1)]).items():
        write_parquet(tmp_path / f"{name}.parquet", table)
        assert parquet.read_table(tmp_path / f"{name}.parquet").column_names == list(table.columns)

    def read(name: str) -> Any:
        return parquet.read_table(tmp_path / f"{name}.parquet")

    trials = read("trials").to_pylist()
    shown = ("trial_id", "state", "is_default", "error", "failure", "config.weight_bits", "config.optimizer")
    assert [tuple(row[name] for name in shown) for row in trials] == [
        ("00001", "COMPLETED", False, 0.25, None, 3, "adam"),
        ("00002", "FAILED", False, None, "diverged", 4, None),
    ]
    assert read("front").schema == read("trials").schema
    (attempt,) = read("attempts").to_pylist()
    assert (attempt["started_at"], attempt["ended_at"], attempt["outcome"]) == (AT.replace(second=1), None, "running")
