"""Objectives that follow from a config without training it: the search computes them, where it would model others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.optimizer import Suggestion
from service.proposals import trial_of
from service.schema import Study
from service.specs import trial_spec
from worker.schema import AnyFacts, TaskFacts, TrialSpec

Known = Callable[[dict[str, Any], float], float]


def known_objectives(study: Study, facts: AnyFacts) -> dict[str, Known]:
    """By the name of the objective its value for a config and a fidelity, in the objective's unit."""
    if not isinstance(facts, TaskFacts) or facts.deployment is None or "deployment_energy" not in study.spec.objectives:
        return {}
    table = facts.deployment

    def deployment_energy(config: dict[str, Any], fidelity: float) -> float:
        trial = trial_of(Suggestion("", config, fidelity, None), study, facts)
        spec = trial_spec(study.spec, trial, attempt=1)
        assert isinstance(spec, TrialSpec)
        recipe = spec.recipe
        return table.joules(
            spec.family,
            spec.shift_depth,
            quantizer=recipe.quantizer,
            weight_bits=recipe.weight_bits,
            activation_bits=recipe.activation_integer_bits + recipe.activation_fraction_bits,
        )

    return {"deployment_energy": deployment_energy}
