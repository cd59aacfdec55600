"""`greenshift import`, of studies that Optuna and SMAC3 themselves have made."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from smac import RandomFacade, Scenario

from service.exchange.optuna_out import opened
from service.schema import StudySpec
from service.space import build_space, initial_configs
from service.store import Store
from tests.service.cli.commands import Call, assert_refused
from tests.worker.data.originals import write_idx


@pytest.fixture(scope="module")
def of_optuna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two objectives, one maximised, and another one beside it; three trials fail."""
    path = tmp_path_factory.mktemp("optuna") / "theirs.sqlite3"

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        rate = trial.suggest_float("learning_rate", 0.001, 0.5, log=True)
        bits = trial.suggest_int("weight_bits", 2, 5)
        trial.suggest_float("dropout", 0.0, 0.5)
        trial.suggest_categorical("optimizer", ["lion"])
        if trial.number % 4 == 3:
            raise ValueError
        return rate, float(bits)

    with opened(f"sqlite:///{path}") as storage:
        study = optuna.create_study(
            storage=storage, study_name="theirs", directions=["minimize", "maximize"],
            sampler=optuna.samplers.RandomSampler(seed=1),
        )  # fmt: skip
        study.optimize(objective, n_trials=12, catch=(ValueError,))
        optuna.create_study(storage=storage, study_name="empty")
    return path


@pytest.fixture(scope="module")
def of_smac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one objective, left by SMAC's own facade."""
    space = ConfigurationSpace(seed=0)
    space.add([Float("learning_rate", (0.001, 0.2), log=True), Integer("weight_bits", (2, 5)),
               Categorical("optimizer", ["sgd", "adam"])])  # fmt: skip
    out = tmp_path_factory.mktemp("smac")
    scenario = Scenario(space, name="theirs", output_directory=out, n_trials=8, seed=0, deterministic=True)
    facade = RandomFacade(scenario, lambda config, seed=0: float(config["learning_rate"]), logging_level=False)
    facade.optimize()
    return out


def configs(file: Path) -> list[dict[str, object]]:
    """Those that the study begins with, which its space takes."""
    spec = StudySpec.load(file)
    return initial_configs(spec, build_space(spec, 10))


def test_the_front_of_a_study_of_optuna_becomes_the_first_configs(call: Call, of_optuna: Path, tmp_path: Path) -> None:
    done = call("import", str(of_optuna), "--name", "theirs", "--study", "digits", "--out", "warm.yaml", "--most", "1")
    assert done.returncode == 0, done.stderr
    found = configs(tmp_path / "warm.yaml")
    with opened(f"sqlite:///{of_optuna}") as storage:
        front = optuna.load_study(study_name="theirs", storage=storage).best_trials
    assert done.stdout == f"{len(found)} of 9 configs of theirs: warm.yaml\n"
    assert sorted(c["weight_bits"] for c in found) == sorted(t.params["weight_bits"] for t in front)
    fitting = [t for t in front if t.params["learning_rate"] <= 0.2]
    assert {c["learning_rate"] for c in found} >= {round(t.params["learning_rate"], 13) for t in fitting}
    assert f"left out of {len(front)} configs: dropout is no hyperparameter of the space" in done.stderr
    assert f"left out of {len(front)} configs: optimizer must be sgd or" in done.stderr


def test_the_best_of_a_run_of_smac_become_the_first_configs(call: Call, of_smac: Path, tmp_path: Path) -> None:
    done = call("import", str(of_smac), "--study", "digits", "--out", "warm.yaml", "--most", "3")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((of_smac / "theirs" / "0" / "runhistory.json").read_text())
    rates = sorted(config["learning_rate"] for config in document["configs"].values())
    assert [c["learning_rate"] for c in configs(tmp_path / "warm.yaml")] == pytest.approx(rates[:3])


def test_what_is_nothing_of_the_kind_is_bad_input(call: Call, of_optuna: Path, of_smac: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no study")
    more = ("--study", "digits", "--out", "warm.yaml")
    assert_refused(call("import", str(of_optuna), *more), "name: must be that of a study in", "empty, theirs")
    assert_refused(call("import", str(of_optuna), "--name", "empty", *more), "holds no config")
    assert_refused(call("import", "nowhere.sqlite3", *more), "nowhere.sqlite3 cannot be read")
    assert_refused(call("import", "text.txt", *more), "an SQLite file of Optuna or a run folder of SMAC3")
    assert_refused(call("import", ".", *more), "must hold one runhistory.json")
    assert_refused(call("import", str(of_smac), "--study", "nonsense", "--out", "warm.yaml"), "nonsense")
    assert not (tmp_path / "warm.yaml").exists()


def test_a_file_of_something_else_is_said_to_be_that_and_left_as_it_is(call: Call, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mine.sqlite") as there:
        there.execute("CREATE TABLE mine (a)")
    there.close()
    before = (tmp_path / "mine.sqlite").read_bytes()
    refused = call("import", "mine.sqlite", "--study", "digits", "--out", "w.yaml")
    assert_refused(refused, "must be an SQLite file of Optuna, and mine.sqlite is another one")
    assert (tmp_path / "mine.sqlite").read_bytes() == before
    Store(tmp_path / "study.sqlite").close()
    refused = call("import", "study.sqlite", "--study", "digits", "--out", "w.yaml")
    assert_refused(refused, "study.sqlite is one of greenshift, whose folder a study names as warm_start")


def test_a_folder_of_data_sets_can_be_named_and_is_no_part_of_the_study(
    call: Call, of_smac: Path, tmp_path: Path
) -> None:
    command = ("import", str(of_smac), "--study", "fashion-mnist", "--out", "warm.yaml")
    assert_refused(call(*command), "pass --data-dir or set GREENSHIFT_DATA_DIR")
    assert_refused(call(*command, "--data-dir", "nowhere"), "data_dir must be an existing folder, got nowhere")
    write_idx(tmp_path / "data" / "fashion-mnist")
    assert call(*command, "--data-dir", "data").returncode == 0
    assert "data_dir" not in (tmp_path / "warm.yaml").read_text()


def test_without_torch_one_line_says_what_is_missing(
    call: Call, of_smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    refused = call("import", str(of_smac), "--study", "digits", "--out", "warm.yaml")
    assert_refused(refused, "needs torch, which is not installed here")
    assert len(refused.stderr.splitlines()) == 1


def test_a_study_that_is_there_is_replaced_only_when_told_so(call: Call, of_smac: Path, tmp_path: Path) -> None:
    (tmp_path / "warm.yaml").write_text("mine")
    command = ("import", str(of_smac), "--study", "digits", "--out", "warm.yaml")
    assert (call(*command).returncode, (tmp_path / "warm.yaml").read_text()) == (3, "mine")
    assert call(*command, "--force").returncode == 0


def test_optuna_that_is_not_installed_is_said_with_its_extra(
    call: Call, of_optuna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda name: None if name == "optuna" else name)
    refused = call("import", str(of_optuna), "--study", "digits", "--out", "warm.yaml")
    assert_refused(refused, "pip install 'greenshift[optuna]'")
