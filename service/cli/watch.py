"""`greenshift watch`: a study of a service on the terminal, until it ends."""

from __future__ import annotations

from rich.console import Console

from service.cli.fetched import run_of
from service.cli.live import LiveView
from service.cli.remote import StudyName, study_of
from service.cli.tables import text_console
from service.client import StudyHandle
from service.errors import ServiceError
from service.schema import StudyState
from service.study_run import StudyRun

_ENDED = (StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED)


def watch(study: StudyName) -> None:
    """Shows a study while it runs: a table on a terminal, a line a trial elsewhere; ends with it."""
    with study_of(study) as handle:
        outcome(handle, follow(handle, text_console()), quiet=False)


def follow(handle: StudyHandle, console: Console) -> StudyRun:
    """Shows the study until it ends, and returns it as it is then."""
    # What changes after the first look has a higher number; what changes during it, the second look shows.
    seen = max((trial.seq for trial in handle.trials()), default=0)
    run = run_of(handle)
    with LiveView(run.study.spec, console) as view:
        view.waits(f"{handle.name} ({handle.study_id}) is {run.study.standing}")
        view.show(run)
        if run.study.state in _ENDED:
            return run
        trials = {trial.trial_id: trial for trial in run.trials}
        for event in handle.iter_events(after=seen, follow=True):
            if event.trial_id is not None:
                trials[event.trial_id] = handle.trial(event.trial_id)
            view.show(StudyRun(run.study, list(trials.values())))
    return run_of(handle)


def outcome(handle: StudyHandle, run: StudyRun, *, quiet: bool) -> None:
    """Prints what came of a study, unless `quiet`.

    Raises:
        ServiceError: it has failed, or was stopped.
    """
    if run.study.state is not StudyState.COMPLETED:
        raise ServiceError(f"study {handle.name} ({handle.study_id}) is {run.study.standing}")
    if not quiet:
        LiveView(run.study.spec).conclude(run)
