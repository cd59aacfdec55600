"""Files that trials leave: where each puts its weights and its checkpoint, and what is deleted at the study's end."""

from __future__ import annotations

from service.artifacts import model_path, prune_models
from service.checkpoints import checkpoint_url, remove_checkpoints
from service.schema import Study, StudyState, Trial
from service.specs import trial_spec
from worker.schema import AnyTrialSpec


class Outputs:
    """Places of a study's files.

    Args:
        study: whose.
        models_dir: where workers put the weights of full-fidelity trials; None keeps none.
        checkpoints: path or URL under which workers leave checkpoints, where the study goes on from them.
    """

    def __init__(self, study: Study, models_dir: str | None, checkpoints: str | None) -> None:
        self._study, self._models_dir = study, models_dir
        self._checkpoints = checkpoints if study.spec.continue_promoted else None

    def spec(self, trial: Trial) -> AnyTrialSpec:
        """What a worker needs for a trial, the places of its files included."""
        return trial_spec(
            self._study.spec,
            trial,
            resume_from=self._checkpoint(trial.promoted_from),
            checkpoint_to=None if trial.is_full else self._checkpoint(trial.trial_id),
            model_path=model_path(self._models_dir, trial, self._study.spec) if self._models_dir is not None else None,
        )

    def clean_up(self, state: StudyState, trials: list[Trial]) -> None:
        """Deletes checkpoints that nobody needs any more, and weights that the study does not keep."""
        if state is StudyState.COMPLETED and self._checkpoints is not None:
            remove_checkpoints(self._checkpoints, self._study.study_id)
        if self._models_dir is not None:
            prune_models(self._models_dir, trials, self._study.spec)

    def _checkpoint(self, trial_id: str | None) -> str | None:
        if self._checkpoints is None or trial_id is None:
            return None
        return checkpoint_url(self._checkpoints, self._study.study_id, trial_id)
