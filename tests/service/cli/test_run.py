from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.cli import run as command
from service.cli.live import LiveView
from service.schema import StudySpec
from service.server import open_study
from tests.service.cli.commands import Call
from tests.service.fakes import trial


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run that is interrupted once its study is open; what happens to the view and the last words, in order."""
    happened: list[str] = []
    leave, echo = LiveView.__exit__, command.typer.echo

    def run(spec: StudySpec, folder: Path, *, on_open: Any, **_: Any) -> None:
        with open_study(spec, folder) as (study, _store):
            on_open(study)
            raise KeyboardInterrupt

    def left(view: LiveView, *error: Any) -> None:
        happened.append("the view is gone")
        leave(view, *error)

    def said(text: str, **options: Any) -> None:
        happened.append(text.partition(":")[0])
        echo(text, **options)

    monkeypatch.setattr(command, "run_study", run)
    monkeypatch.setattr(LiveView, "__exit__", left)
    monkeypatch.setattr(command.typer, "echo", said)
    return happened


def test_how_to_go_on_is_said_where_no_view_is_drawn_over_it(
    call: Call, interrupted: list[str], tmp_path: Path
) -> None:
    with open_study(StudySpec.load("digits"), tmp_path / "out") as (study, store):
        store.add_trial(trial(study_id=study.study_id))
    done = call("run", "digits", "--out", "out", "--n-trials", "99", "--workers", "3")
    assert done.returncode == 130
    assert interrupted == ["the view is gone", "Stopped. Every finished trial is kept; go on with"]
    assert done.stderr.endswith("go on with: greenshift run out/study.yaml --out out --workers 3\n")
    assert StudySpec.load(tmp_path / "out" / "study.yaml").budget.n_trials == 99


def test_a_study_that_never_began_is_not_gone_on_with(call: Call, interrupted: list[str], tmp_path: Path) -> None:
    done = call("run", "digits", "--out", "out")
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert not (tmp_path / "out").exists()


def test_the_study_of_others_is_not_gone_on_with(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open_study(StudySpec.load("digits"), tmp_path / "out") as (study, store):
        store.add_trial(trial(study_id=study.study_id))

    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_study", interrupt)
    done = call("run", "paper-2024", "--out", "out")
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
