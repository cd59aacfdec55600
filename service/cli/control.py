"""Commands that ask something of a study that a service runs."""

from __future__ import annotations

import typer

from service.cli.remote import StudyName, TrialName, study_of
from service.schema import StudyState

_GOES_ON = (StudyState.WAITING, StudyState.RUNNING)


def pause(study: StudyName) -> None:
    """Lets a study rest: it holds no slot, and what runs goes on later."""
    with study_of(study) as handle:
        handle.pause()
        _said(f"{handle.name} will pause")


def resume(study: StudyName) -> None:
    """Lets a study go on that was paused, was stopped or has failed."""
    with study_of(study) as handle:
        before = handle.state
        handle.resume()
        already = f" (it is {before}, and does so by itself)" if before in _GOES_ON else ""
        _said(f"{handle.name} will go on{already}")


def stop(study: StudyName) -> None:
    """Ends a study; finished trials are kept, and it can be resumed."""
    with study_of(study) as handle:
        handle.stop()
        _said(f"{handle.name} will stop")


def retry(study: StudyName, trial: TrialName) -> None:
    """Tries a trial again that has failed or was stopped."""
    with study_of(study) as handle:
        handle.retry(trial)
        later = " once the study is resumed" if handle.state is StudyState.PAUSED else ""
        _said(f"trial {trial} of {handle.name} will be tried again{later}")


def cancel_trial(study: StudyName, trial: TrialName) -> None:
    """Gives up a trial that waits or runs."""
    with study_of(study) as handle:
        handle.cancel_trial(trial)
        _said(f"trial {trial} of {handle.name} will be given up")


def _said(what: str) -> None:
    """The coordinator reads requests once a second."""
    typer.echo(f"Asked for: {what}.")
