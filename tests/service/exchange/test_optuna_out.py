from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from service.exchange.optuna_out import FILE, opened, write_optuna
from tests.service.exchange.conftest import CONFIG, Told


@pytest.fixture(scope="module")
def file(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optuna")
    (folder / FILE).write_text("of an earlier export")
    assert write_optuna(folder, told.run, told.log) == ["1 trials that have not ended are left out"]
    return folder / FILE


@pytest.fixture(scope="module")
def study(file: Path) -> Iterator[optuna.Study]:
    with opened(f"sqlite:///{file}") as storage:
        yield optuna.load_study(study_name="toy", storage=storage)


def by_id(study: optuna.Study) -> dict[str, optuna.trial.FrozenTrial]:
    return {trial.user_attrs["trial_id"]: trial for trial in study.trials}


def test_states_say_how_far_a_trial_came(study: optuna.Study) -> None:
    states = {name: trial.state for name, trial in by_id(study).items()}
    assert states == {
        **dict.fromkeys(("00001", "00002", "00003"), TrialState.COMPLETE),
        **dict.fromkeys(("default", "00004", "00005"), TrialState.PRUNED),
        "00006": TrialState.FAIL,
        "00007": TrialState.FAIL,
    }


def test_the_best_trials_of_optuna_are_the_front(study: optuna.Study, told: Told) -> None:
    assert {t.user_attrs["trial_id"] for t in study.best_trials} == {t.trial_id for t in told.run.front}
    assert {t.trial_id for t in told.run.front} == {"00001", "00002"}
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["error", "deployment_energy"]


def test_values_params_and_ranges_are_those_of_the_study(study: optuna.Study, told: Told) -> None:
    trial = by_id(study)["00002"]
    assert trial.values == [0.2, 4.0]
    assert trial.params == CONFIG | {"learning_rate": 0.02}
    assert trial.distributions.keys() == CONFIG.keys()
    few = ("quantizer", "weight_bits", "optimizer", "learning_rate")
    assert {name: trial.distributions[name] for name in few} == {
        "quantizer": CategoricalDistribution(("deepshift-q", "deepshift-ps")),
        "weight_bits": IntDistribution(2, 5),
        "optimizer": CategoricalDistribution(("sgd", "adam", "radam", "rmsprop")),
        "learning_rate": FloatDistribution(0.001, 0.2, log=True),
    }
    assert trial.datetime_complete == told.when("attempt_finished", "00002").replace(tzinfo=None)


def test_attributes_hold_fidelity_origin_and_failure(study: optuna.Study) -> None:
    trials = by_id(study)
    cheap = trials["00005"].user_attrs
    assert (cheap["fidelity"], cheap["error"], cheap["error_method"], cheap["error_quality"]) == (
        3.0, 0.05, "analytic", "estimated")  # fmt: skip
    assert trials["00006"].user_attrs["failure"] == "memory_limit"
    assert [trials[name].user_attrs["pruned_because"] for name in ("default", "00004", "00005")] == [
        "what the search is compared with", "known in another way, or breaks a constraint", "below full fidelity",
    ]  # fmt: skip
    assert trials["00007"].user_attrs["state"] == "STOPPED"
    assert trials["default"].params == {}
    assert trials["default"].user_attrs["config"] == {"weight_bits": 8, "schedule": "step"}
    assert "network: resnet8" in study.user_attrs["study.yaml"]


def test_the_dashboard_of_optuna_opens_it(file: Path, free_port: int) -> None:
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), f"sqlite:///{file}", "--port", str(free_port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{free_port}"
        (summary,) = answer(f"{url}/api/studies", process)["study_summaries"]
        assert summary["study_name"] == "toy"
        shown = answer(f"{url}/api/studies/{summary['study_id']}", process)
        assert len(shown["trials"]) == 8
        assert [t["number"] for t in shown["best_trials"]] == [1, 2]
        with urllib.request.urlopen(f"{url}/dashboard/studies/{summary['study_id']}", timeout=120) as page:
            assert b"<html" in page.read().lower()
    finally:
        process.terminate()
        process.wait(timeout=120)


def answer(url: str, process: subprocess.Popen[bytes]) -> Any:
    """What a server that is starting says, once it does."""
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=120) as response:
                return json.load(response)
        except OSError:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
