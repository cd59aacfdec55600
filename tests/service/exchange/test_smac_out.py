from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from smac.runhistory import StatusType
from smac.runhistory.runhistory import RunHistory
from smac.scenario import Scenario

from service.exchange.smac_out import write_smac
from tests.service.exchange.conftest import Told


@pytest.fixture(scope="module")
def folder(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smac")
    assert write_smac(out, told.run, told.log) == [
        "trial default is left out: its config is no part of the space",
        "trial 00008 is left out: it has not ended",
    ]
    return out / "toy" / "0"


def loaded(folder: Path) -> tuple[Scenario, RunHistory]:
    scenario = Scenario.load(folder)
    history = RunHistory()
    history.load(folder / "runhistory.json", scenario.configspace)
    return scenario, history


def test_smac_reads_the_scenario_back(folder: Path) -> None:
    scenario, _ = loaded(folder)
    assert (scenario.objectives, scenario.min_budget, scenario.max_budget) == (["error", "deployment_energy"], 1, 10)
    assert (scenario.n_trials, scenario.output_directory) == (10, folder)
    assert "learning_rate" in scenario.configspace


def test_smac_reads_the_same_costs_of_each_config_with_less_as_better(folder: Path, told: Told) -> None:
    _, history = loaded(folder)
    full = [t for t in told.run.trials if t.is_full and not t.is_default and t.value("error") is not None]
    told_costs = {t.config["learning_rate"]: [t.value("error"), -(t.value("deployment_energy") or 0)] for t in full}
    found = {history.get_config(key.config_id)["learning_rate"]: value.cost for key, value in history.items()
             if value.status is StatusType.SUCCESS and key.budget == 10}  # fmt: skip
    assert len(found) == 4
    assert {rate: pytest.approx(cost) for rate, cost in told_costs.items()} == found


def test_failures_and_fidelities_are_smacs_statuses_and_budgets(folder: Path) -> None:
    _, history = loaded(folder)
    found = {value.additional_info["trial_id"]: (value.status, key.budget) for key, value in history.items()}
    assert found["00005"] == (StatusType.SUCCESS, 3)
    assert found["00006"] == (StatusType.MEMORYOUT, 10)
    assert found["00007"] == (StatusType.CRASHED, 10)
    assert history.finished == 7


def test_times_are_those_of_the_attempt_that_counts(folder: Path, told: Told) -> None:
    _, history = loaded(folder)
    (late,) = (value for value in history.values() if value.additional_info["trial_id"] == "00002")
    assert late.starttime == told.when("attempt_started", "00002").timestamp()
    assert late.endtime == told.when("attempt_finished", "00002").timestamp()


def test_deepcave_opens_the_folder(folder: Path) -> None:
    if importlib.util.find_spec("deepcave") is None:
        pytest.skip("NO DEEPCAVE: it has no release for this Python, so that it opens the folder is NOT TESTED")
    converter = importlib.import_module("deepcave.runs.converters.smac3v2")
    assert len(converter.SMAC3v2Run.from_path(folder).history) == 7
