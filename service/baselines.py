"""What a search is compared with: the paper's default network, and the same network trained as its authors advise."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from service.compared import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.schema import DEFAULT_EPOCHS, BaselineName, Study, Trial, TrialState
from service.space import default_config
from worker.schema import AnyFacts, Recipe, TaskDescription

_TRIAL_IDS: MappingProxyType[BaselineName, str] = MappingProxyType({"deepshift-recommended": RECOMMENDED_TRIAL_ID})
# DeepShift's README: PS needs RAdam, and 0.01 from scratch; its cifar10.py: batches of 128, falling steps, and flips
# and translations, which is what our data sets do where a recipe names no augmentation.
_RECIPES: MappingProxyType[BaselineName, dict[str, Any]] = MappingProxyType(
    {
        "deepshift-recommended": {
            "optimizer": "radam",
            "learning_rate": 0.01,
            "schedule": "step",
            "batch_size": 128,
            "weight_decay": 1e-4,
            "augmentation": None,
        }
    }
)


def baselines(study: Study, facts: AnyFacts) -> list[Trial]:
    """The trials that a study compares its search with, the default first, then what it names under `baselines`."""
    if isinstance(facts, TaskDescription):
        return [_default_of_a_task(study)]
    named = [(_TRIAL_IDS[name], _RECIPES[name]) for name in dict.fromkeys(study.spec.baselines)]
    return [_trial(study, facts.n_layers, trial_id, recipe) for trial_id, recipe in [(DEFAULT_TRIAL_ID, {}), *named]]


def _default_of_a_task(study: Study) -> Trial:
    """The default configuration of a task's space, at full fidelity."""
    fidelity = study.spec.fidelity
    return Trial(
        study_id=study.study_id,
        trial_id=DEFAULT_TRIAL_ID,
        state=TrialState.WAITING,
        config=default_config(study.spec),
        fidelity=fidelity.max_fidelity if fidelity else None,
        seed=study.spec.seed,
        is_default=True,
        is_full=True,
    )


def _trial(study: Study, n_layers: int, trial_id: str, recipe: dict[str, Any]) -> Trial:
    """The paper's default network at full depth and full fidelity, by the study's `fixed` and then by `recipe`."""
    fidelity = study.spec.fidelity
    knobs = fidelity.values(fidelity.max_fidelity) if fidelity else {}
    return Trial(
        study_id=study.study_id,
        trial_id=trial_id,
        state=TrialState.WAITING,
        config=Recipe(**study.spec.fixed | recipe).model_dump(),
        fidelity=fidelity.max_fidelity if fidelity else None,
        shift_depth=n_layers,
        epochs=int(knobs.get("epochs", DEFAULT_EPOCHS)),
        data_fraction=knobs.get("data_fraction", 1.0),
        seed=study.spec.seed,
        is_default=True,
        is_full=True,
    )
