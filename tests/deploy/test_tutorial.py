"""The tutorial against the program: each of its commands runs as it stands, with smaller budgets."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.service.processes import GREENSHIFT, greenshift, started, wait_until

TUTORIAL = (Path(__file__).parents[2] / "deploy/docs/tutorial.md").read_text()
(STUDY,) = re.findall(r"```yaml\n(.*?)```", TUTORIAL, re.DOTALL)
STUDY = STUDY.replace("n_trials: 12", "n_trials: 2").replace("epochs: [1, 3]", "epochs: [1, 2]")
COMMANDS = [
    line.replace("--n-trials 16", "--n-trials 3").split()[1:] for line in re.findall("^greenshift.*", TUTORIAL, re.M)
]
SERVING = COMMANDS.index(["serve", "--local-workers", "2"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_all(commands: list[list[str]]) -> None:
    for command in commands:
        ran = greenshift(*command)
        assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_the_study_of_the_tutorial_runs_goes_on_and_is_finalized(folder: Path) -> None:
    run_all(COMMANDS[:SERVING])
    assert {path.name for path in Path("runs/mine").iterdir()} >= {"report.html", "final.csv", "trials.csv", "models"}


@pytest.mark.slow
def test_the_service_of_the_tutorial_answers_its_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = folder / "serve.log"
    with started(*GREENSHIFT, *COMMANDS[SERVING], "--port", "0", log=log) as service:
        wait_until(lambda: "Serving at " in log.read_text())
        monkeypatch.setenv("GREENSHIFT_URL", re.findall(r"Serving at (\S+);", log.read_text())[0])
        run_all(COMMANDS[SERVING + 1 :])
        service.send_signal(signal.SIGINT)
        assert service.wait(120) == 130
