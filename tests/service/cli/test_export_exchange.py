"""`greenshift export` for the tools of other optimizers, of a study of a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from smac.scenario import Scenario

from service.exchange.optuna_out import opened
from service.store import Store
from tests.service.cli.commands import Call, assert_refused
from tests.service.served import recorded, serving


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Store(tmp_path_factory.mktemp("service") / "studies.sqlite") as store:
        recorded(store, name="told")
        with serving(store) as url:
            yield url


@pytest.fixture(autouse=True)
def _environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSHIFT_URL", url)
    monkeypatch.delenv("GREENSHIFT_TOKEN", raising=False)


def test_a_study_of_a_service_becomes_one_of_optuna_again_and_again(call: Call, tmp_path: Path) -> None:
    for _ in range(2):
        done = call("export", "told", "--to", "optuna", "--out", "there")
        assert (done.returncode, done.stderr) == (0, "2 trials that have not ended are left out\n")
        with opened(f"sqlite:///{tmp_path / 'there' / 'optuna.sqlite3'}") as storage:
            study = optuna.load_study(study_name="told", storage=storage)
            assert [trial.user_attrs["trial_id"] for trial in study.best_trials] == ["00001", "00002"]


def test_a_study_of_a_service_becomes_a_run_of_smac(call: Call, tmp_path: Path) -> None:
    done = call("export", "told", "--to", "smac", "--out", "there")
    assert done.returncode == 0
    assert "trial 00005 is left out: it has not ended" in done.stderr
    scenario = Scenario.load(tmp_path / "there" / "told" / "0")
    assert scenario.objectives == ["error", "deployment_energy"]
    assert scenario.output_directory == Path("there/told/0")


@pytest.mark.parametrize("extra", ["optuna", "mlflow"])
def test_what_is_not_installed_is_said_with_its_extra(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    refused = call("export", "told", "--to", extra, "--out", "there")
    assert_refused(refused, f"to: {extra} needs {extra}", f"pip install 'greenshift[{extra}]'")
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_a_service_becomes_runs_of_mlflow(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="NO MLFLOW: that a study is exported to it is NOT TESTED")
    assert call("export", "told", "--to", "mlflow", "--out", "there").returncode == 0
    uri = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    assert call("export", "told", "--to", "mlflow", "--out", uri).returncode == 0
    assert (tmp_path / "there" / "mlflow.sqlite3").is_file() and (tmp_path / "other.sqlite3").is_file()


def test_a_tracking_server_that_is_not_there_is_code_4(call: Call, free_port: int) -> None:
    pytest.importorskip("mlflow", reason="NO MLFLOW: that a study is exported to it is NOT TESTED")
    done = call("export", "told", "--to", "mlflow", "--out", f"http://127.0.0.1:{free_port}")
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "error: no tracking server answers at http://127.0.0.1" in done.stderr


@pytest.mark.parametrize("to", ["optuna", "smac", "mlflow"])
def test_files_of_the_user_are_left_as_they_are(call: Call, tmp_path: Path, to: str) -> None:
    if to == "mlflow":
        pytest.importorskip("mlflow", reason="NO MLFLOW: that a study is exported to it is NOT TESTED")
    (tmp_path / "there").mkdir()
    for name in ("optuna.sqlite3", "mlflow.sqlite3", "told"):
        (tmp_path / "there" / name).write_text("mine")
    assert_refused(call("export", "told", "--to", to, "--out", "there"), "out: there holds files", "--force")
    assert {path.read_text() for path in (tmp_path / "there").iterdir()} == {"mine"}
