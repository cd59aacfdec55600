"""Trials without the parts of their results that take the most room."""

from __future__ import annotations

from service.schema import Trial


def without_layers(trial: Trial) -> Trial:
    """The trial as lists of trials show it."""
    if trial.result is None or not trial.result.layers:
        return trial
    return trial.model_copy(update={"result": trial.result.model_copy(update={"layers": ()})})


def with_figures_alone(trial: Trial) -> Trial:
    """The trial as far as analyses look at it."""
    if trial.result is None:
        return trial
    result = trial.result.model_copy(update={"layers": (), "training_loss": (), "by_seed": ()})
    return trial.model_copy(update={"result": result})
