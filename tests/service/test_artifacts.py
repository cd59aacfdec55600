from __future__ import annotations

from pathlib import Path

import pytest

from service.artifacts import model_path, prune_models
from tests.service.fakes import full_trial, study_spec, trial

TRIALS = [
    full_trial("default", 0.3, 9.0, is_default=True),
    full_trial("best", 0.1, 3.0),
    full_trial("frugal", 0.2, 2.0),
    full_trial("dominated", 0.2, 4.0),
    trial("unfinished", state="WAITING"),
]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("all", {"default", "best", "frugal", "dominated", "unfinished", "mine"}),
        ("front", {"default", "best", "frugal", "mine"}),
        ("none", {"mine"}),
    ],
)
def test_what_a_study_does_not_keep_is_deleted_and_files_of_others_stay(
    tmp_path: Path, keep: str, left: set[str]
) -> None:
    for name in (*(t.trial_id for t in TRIALS), "mine"):
        (tmp_path / f"{name}.safetensors").touch()

    prune_models(str(tmp_path), TRIALS, study_spec(keep_models=keep))

    assert {path.stem for path in tmp_path.iterdir()} == left


def test_a_folder_that_nobody_made_has_nothing_to_delete(tmp_path: Path) -> None:
    prune_models(str(tmp_path / "models"), TRIALS, study_spec(keep_models="none"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keep", "is_full", "expected"),
    [
        ("all", True, "/m/a.safetensors"),
        ("front", True, "/m/a.safetensors"),
        ("none", True, None),
        ("all", False, None),
    ],
)
def test_weights_are_written_at_full_fidelity_unless_none_are_kept(
    keep: str, is_full: bool, expected: str | None
) -> None:
    assert model_path("/m", full_trial("a", 0.1, 1.0, is_full=is_full), study_spec(keep_models=keep)) == expected


def test_what_a_task_leaves_has_no_suffix_and_may_be_a_folder(tmp_path: Path) -> None:
    evaluated = [t.model_copy(update={"shift_depth": None}) for t in TRIALS]
    (tmp_path / "dominated").mkdir()
    (tmp_path / "dominated" / "weights").touch()
    (tmp_path / "best").touch()

    assert model_path("/m", evaluated[0], study_spec()) == "/m/default"
    prune_models(str(tmp_path), evaluated, study_spec(keep_models="front"))
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
