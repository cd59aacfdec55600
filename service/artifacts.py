"""Which trained networks a study keeps: their weights lie in one folder, a file for each trial."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from service.ranking import front
from service.schema import StudySpec, Trial


def model_path(folder: str, trial: Trial, spec: StudySpec) -> str | None:
    """Where the weights of `trial` go; None where they are not written."""
    return f"{folder}/{file_name(trial)}" if trial.is_full and spec.keep_models != "none" else None


def prune_models(folder: str, trials: list[Trial], spec: StudySpec) -> None:
    """Deletes the weights of trials that `keep_models` does not keep; files of others stay."""
    if spec.keep_models == "all":
        return
    kept = {t.trial_id for t in _kept(spec, trials)}
    for trial in trials:
        if trial.trial_id not in kept:
            _remove(Path(folder) / file_name(trial))


def _kept(spec: StudySpec, trials: list[Trial]) -> Iterable[Trial]:
    """The front, and beside it what it is compared with."""
    return [] if spec.keep_models == "none" else [*front(spec, trials), *(t for t in trials if t.is_default)]


def file_name(trial: Trial) -> str:
    """What the weights of a trial are called; what a task leaves is of its own kind, also a folder."""
    return trial.trial_id if trial.is_of_task else f"{trial.trial_id}.safetensors"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
