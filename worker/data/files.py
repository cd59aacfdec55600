"""Finding the files of a data set, and naming in one line what is missing where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worker.errors import ConfigurationError

NO_FOLDER = "data_dir is needed for dataset {name}: pass --data-dir or set GREENSHIFT_DATA_DIR"


def data_folder(name: str, data_dir: Path | None) -> Path:
    """The data folder, which must be named and exist."""
    if data_dir is None:
        raise ConfigurationError(NO_FOLDER.format(name=name))
    if not data_dir.is_dir():
        raise ConfigurationError(f"data_dir must be an existing folder, got {data_dir}")
    return data_dir


def subfolder(name: str, data_dir: Path | None, candidates: Sequence[str]) -> Path:
    """The first of `candidates` that exists in the data folder.

    Raises:
        ConfigurationError: none does; the message names the first.
    """
    root = data_folder(name, data_dir)
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise ConfigurationError(f"dataset {name}: data_dir must hold the folder {candidates[0]}, missing in {root}")


def required(name: str, root: Path, files: Sequence[str], remedy: str = "") -> list[Path]:
    """The paths of `files` in the folder `root`.

    Raises:
        ConfigurationError: the first that is missing, with what to do about it.
    """
    for file in files:
        if not (root / file).is_file():
            raise ConfigurationError(f"dataset {name}: data_dir must hold {file}, which is missing in {root}{remedy}")
    return [root / file for file in files]
