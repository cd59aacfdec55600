from __future__ import annotations

import csv
from pathlib import Path

import pytest

from service.report.tables import columns, hyperparameters_of, write_csv
from service.schema import StudySpec, Trial
from tests.service.fakes import CONFIG, completed, failed, full_trial, measurement, study_spec, trial

SPEC = study_spec()
# contracts: the columns of trials.csv for the objectives error and deployment_energy.
EXPECTED = [
    *("trial_id", "state", "fidelity", "shift_depth", "epochs", "seed", "attempt", "promoted_from", "is_default"),
    *("error", "error_method", "error_quality"),
    *("deployment_energy", "deployment_energy_method", "deployment_energy_quality"),
    *("energy", "energy_method", "energy_quality"),
    *("emissions", "emissions_method", "emissions_quality"),
    *("duration_seconds", "failure", "worker", "config.learning_rate", "config.optimizer"),
]


def table(path: Path, spec: StudySpec, trials: list[Trial]) -> list[dict[str, str]]:
    write_csv(path, spec, trials, hyperparameters_of(trials))
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_stand_in_the_order_of_the_contract() -> None:
    assert columns(SPEC, ["learning_rate", "optimizer"]) == EXPECTED


def test_objectives_come_first_in_the_studys_order() -> None:
    names = columns(study_spec(objectives={"energy": "minimize", "error": "minimize"}), [])
    assert names[9::3][:4] == ["energy", "error", "deployment_energy", "emissions"]


def test_the_header_of_the_file_is_the_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", SPEC, [], ["learning_rate", "optimizer"])
    assert (tmp_path / "t.csv").read_text().splitlines() == [",".join(EXPECTED)]


def test_a_completed_trial_has_values_methods_and_qualities(tmp_path: Path) -> None:
    energy = measurement(3.5, "nvml_energy_delta", "measured")
    result = completed("00002", 2, error=0.125, deployment_energy=7.4e-7, objectives={"energy": energy})
    done = trial("00002", result, attempt=2, promoted_from="00001", fidelity=10 / 3)
    (row,) = table(tmp_path / "t.csv", SPEC, [done])
    assert float(row["fidelity"]) == 10 / 3
    assert (row["state"], row["attempt"], row["promoted_from"]) == ("COMPLETED", "2", "00001")
    assert (float(row["error"]), float(row["deployment_energy"])) == (0.125, 7.4e-7)
    assert (row["energy"], row["energy_method"], row["energy_quality"]) == ("3.5", "nvml_energy_delta", "measured")
    assert (row["duration_seconds"], row["failure"], row["worker"]) == ("2.0", "", "fake:1")
    assert {name: row[f"config.{name}"] for name in CONFIG} == {name: str(value) for name, value in CONFIG.items()}


@pytest.mark.parametrize(
    "unknown",
    [
        trial("00001"),
        trial("00001", failed("00001")),
        trial("00001", completed("00001", error=None, deployment_energy=None)),
    ],
    ids=["waiting", "failed", "unmeasured"],
)
def test_unknown_values_are_empty(tmp_path: Path, unknown: Trial) -> None:
    (row,) = table(tmp_path / "t.csv", SPEC, [unknown.model_copy(update={"fidelity": None})])
    empty = ("fidelity", "promoted_from", "error", "deployment_energy", "energy", "energy_method", "emissions")
    assert {row[name] for name in empty} == {""}


def test_a_failed_trial_says_its_kind_of_failure(tmp_path: Path) -> None:
    (row,) = table(tmp_path / "t.csv", SPEC, [trial("00001", failed("00001", kind="out_of_memory"))])
    assert (row["state"], row["failure"]) == ("FAILED", "out_of_memory")


def test_an_inactive_hyperparameter_is_empty(tmp_path: Path) -> None:
    rows = table(
        tmp_path / "t.csv",
        SPEC,
        [full_trial("a", 0.1, 1.0, config={"momentum": 0.9}), full_trial("b", 0.1, 1.0, config={"batch_size": 16})],
    )
    assert [(r["config.batch_size"], r["config.momentum"]) for r in rows] == [("", "0.9"), ("16", "")]
