"""Where a study that is reported or exported comes from: a folder of `greenshift run`, or a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from service.cli.fetched import whole_of
from service.cli.remote import study_of
from service.errors import NotFoundError, UnreachableError
from service.ledger import Ledger
from service.store import Reader
from service.study_run import StudyRun
from service.wire import Event

FolderOrStudy = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="The folder of a study that has run, or of a service's its id or name."),
]
_STORE = "study.sqlite"


@dataclass(frozen=True)
class Source:
    """A study with its whole log, as it is now.

    Attributes:
        models: folder of its trained weights; None where nobody said and the study is of a service.
    """

    run: StudyRun
    log: list[Event]
    models: Path | None = None

    @property
    def said(self) -> list[str]:
        """Two lines for people: which study, and how much of it there is."""
        study, run = self.run.study, self.run
        return [
            f"{study.spec.name} ({study.study_id}): {study.standing}",
            f"{len(run.trials)} trials, {run.on_front}",
        ]


def source_of(study: str, models: Path | None = None) -> Source:
    """The study in a folder with `study.sqlite`, or else of the service that the environment names.

    Args:
        study: folder, id or name.
        models: folder of its trained weights, where it is not `models/` of that folder.

    Raises:
        NotFoundError: there is neither.
    """
    folder = Path(study)
    if (folder / _STORE).is_file():
        return _from_folder(folder, models or folder / "models")
    if "/" in study:
        raise NotFoundError(f"study: {study} holds no {_STORE}")
    try:
        with study_of(study) as handle:
            log = list(handle.iter_events())
            return Source(whole_of(handle, log), log, models)
    except (NotFoundError, UnreachableError) as error:
        said = str(error).removeprefix("study: ")
        raise type(error)(f"study: {study} is no folder with a {_STORE} here; of the service: {said}") from error


def _from_folder(folder: Path, models: Path) -> Source:
    with Reader(folder / _STORE) as store:
        studies = store.studies()
        if not studies:
            raise NotFoundError(f"study: {folder / _STORE} holds no study")
        study = store.study(studies[0].study_id)
        log = [Event.model_validate(vars(event)) for event in store.events(study.study_id)]
        trials, finals = store.trials(study.study_id), store.final_results(study.study_id)
    return Source(StudyRun(study, trials, Ledger.from_events(log), finals), log, models)
