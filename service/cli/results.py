"""The files that a study leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from service.errors import ServiceError
from service.report.files import write_files
from service.study_run import StudyRun


def write_results(folder: Path, run: StudyRun) -> None:
    """Writes all files of a study's folder that follow from its store.

    Raises:
        ServiceError: the folder cannot be written, or its disk is full.
    """
    try:
        write_files(folder, run)
    except OSError as error:
        raise ServiceError(
            f"out: not all files of {folder} could be written ({error.strerror}); every finished trial is kept, and "
            "the same command writes them again"
        ) from error
