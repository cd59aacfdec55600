"""Trials without the parts of their results that take the most room."""

from __future__ import annotations

from service.schema import Trial


def without_layers(trial: Trial) -> Trial:
    """The trial as lists of trials show it."""
    return _without(trial, "layers")


def with_figures_alone(trial: Trial) -> Trial:
    """The trial as far as analyses and columns look at it."""
    return _without(trial, "layers", "training_loss")


def _without(trial: Trial, *parts: str) -> Trial:
    if trial.result is None or not any(getattr(trial.result, part) for part in parts):
        return trial
    return trial.model_copy(update={"result": trial.result.model_copy(update=dict.fromkeys(parts, ()))})
