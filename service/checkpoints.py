"""Where the checkpoints of a study lie, and how long: until the study is done."""

from __future__ import annotations

import logging

import fsspec

logger = logging.getLogger(__name__)


def checkpoint_url(folder: str, study_id: str, trial_id: str) -> str:
    """The file or object of one trial's checkpoint, under a path or any URL that fsspec knows.

    Those of a trial's further seeds lie beside it, under the same name and a number.
    """
    return f"{folder.rstrip('/')}/{study_id}/{trial_id}.pt"


def rescue_folder(folder: str, study_id: str, trial_id: str) -> str:
    """Where attempts at one trial that are told to end leave its training."""
    return f"{folder.rstrip('/')}/{study_id}/{trial_id}.rescued"


def remove_checkpoints(folder: str, study_id: str) -> None:
    """Deletes all checkpoints of a study; what cannot be deleted is named in the log and stays."""
    _remove(f"{folder.rstrip('/')}/{study_id}")


def remove_rescued(folder: str, study_id: str, trial_id: str) -> None:
    """Deletes what attempts at one trial left; what cannot be deleted is named in the log and stays."""
    _remove(rescue_folder(folder, study_id, trial_id))


def _remove(url: str) -> None:
    try:
        store, path = fsspec.core.url_to_fs(url)
        if store.exists(path):
            store.rm(path, recursive=True)
    except Exception as error:  # noqa: BLE001 - a store of any kind may raise anything, and nobody needs them any more
        logger.warning("the checkpoints at %s were not deleted: %r", url, error)
