"""Files that trials leave: where each puts its weights and its checkpoints, and what is deleted when."""

from __future__ import annotations

from service.artifacts import model_path, prune_models
from service.checkpoints import checkpoint_url, remove_checkpoints, remove_rescued, rescue_folder
from service.schema import Study, StudyState, Trial
from service.specs import trial_spec
from worker.schema import AnyTrialSpec


class Outputs:
    """Places of a study's files.

    Args:
        study: whose.
        models_dir: where workers put the weights of full-fidelity trials; None keeps none.
        checkpoints: path or URL under which workers leave checkpoints: those of trials that are told to end, and of
            all where the study goes on from them; None leaves none.
    """

    def __init__(self, study: Study, models_dir: str | None, checkpoints: str | None) -> None:
        self._study, self._models_dir, self._checkpoints = study, models_dir, checkpoints

    def spec(self, trial: Trial) -> AnyTrialSpec:
        """What a worker needs for a trial, the places of its files included."""
        return trial_spec(
            self._study.spec,
            trial,
            resume_from=self._checkpoint(trial.promoted_from),
            checkpoint_to=None if trial.is_full else self._checkpoint(trial.trial_id),
            rescue_to=self._rescue(trial),
            rescued=trial.result.rescued if trial.result is not None else None,
            model_path=model_path(self._models_dir, trial, self._study.spec) if self._models_dir is not None else None,
        )

    def clean_up(self, state: StudyState, trials: list[Trial]) -> None:
        """Deletes checkpoints that nobody needs any more, and weights that the study does not keep."""
        left_some = self._study.spec.continue_promoted or any(map(_may_have_left, trials))
        if state is StudyState.COMPLETED and self._checkpoints is not None and left_some:
            remove_checkpoints(self._checkpoints, self._study.study_id)
        if self._models_dir is not None:
            prune_models(self._models_dir, trials, self._study.spec)

    def forget_rescued(self, trial_id: str) -> None:
        """Deletes what attempts at a trial left that is finished."""
        if self._checkpoints is not None:
            remove_rescued(self._checkpoints, self._study.study_id, trial_id)

    def _checkpoint(self, trial_id: str | None) -> str | None:
        if self._checkpoints is None or trial_id is None or not self._study.spec.continue_promoted:
            return None
        return checkpoint_url(self._checkpoints, self._study.study_id, trial_id)

    def _rescue(self, trial: Trial) -> str | None:
        if self._checkpoints is None or trial.is_of_task:
            return None
        return rescue_folder(self._checkpoints, self._study.study_id, trial.trial_id)


def _may_have_left(trial: Trial) -> bool:
    """Whether an attempt at a trial was told to end, and may have left its training."""
    return trial.attempt > 1 or (trial.attempt == 1 and not trial.state.is_finished)
