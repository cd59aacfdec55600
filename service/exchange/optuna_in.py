"""Trials of a study of Optuna, from the file or the database where it lies."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from service.errors import InputError
from service.exchange.found import Found
from service.exchange.optuna_out import opened

# That no other program has.
_TABLE = "version_info"


def read_optuna(source: str, name: str | None) -> tuple[str, list[Found]]:
    """The study's name and its trials that are complete.

    Args:
        source: an SQLite file of Optuna, or the URL of a database of its.
        name: of the study; None where there is one alone.

    Raises:
        InputError: it holds no such study, or is nothing of Optuna's.
    """
    url = source if "://" in source else f"sqlite:///{_file(source)}"
    try:
        # Nothing is made or upgraded in what is somebody else's.
        with opened(url, skip_table_creation=True) as storage:
            study = optuna.load_study(study_name=_chosen(storage, source, name), storage=storage)
            signs = [-1.0 if d is StudyDirection.MAXIMIZE else 1.0 for d in study.directions]
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            found = [Found(t.params, tuple(s * v for s, v in zip(signs, t.values or (), strict=True))) for t in trials]
            return study.study_name, [each for each in found if all(map(math.isfinite, each.costs))]
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(_origin(error)).split())[:200]
        raise InputError(f"source: {source} is no storage that this Optuna reads: {reason}") from error


def _origin(error: BaseException) -> BaseException:
    """What the database said, which Optuna wraps in words about commits."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _file(source: str) -> Path:
    path = Path(source)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"source: {source} cannot be read: {error.strerror}") from error
    if not start.startswith(b"SQLite format 3"):
        raise InputError(f"source: must be an SQLite file of Optuna or a run folder of SMAC3, and {source} is neither")
    tables = _tables(path)
    if _TABLE not in tables:
        there = "one of greenshift, whose folder a study names as warm_start" if "trials" in tables else "another one"
        raise InputError(f"source: must be an SQLite file of Optuna, and {source} is {there}")
    return path.resolve()


def _tables(path: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as there:
            return {str(name) for (name,) in there.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise InputError(f"source: {path} cannot be read: {error}") from error


def _chosen(storage: optuna.storages.RDBStorage, source: str, name: str | None) -> str:
    names = sorted(optuna.get_all_study_names(storage))
    if name is None and len(names) == 1:
        return str(names[0])
    if name not in names:
        there = ", ".join(names[:10]) or "no study"
        raise InputError(f"name: must be that of a study in {source}, which holds {there}; got {name!r}")
    return str(name)
