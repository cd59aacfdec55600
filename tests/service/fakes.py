"""Studies, trials, results and a dispatcher that tests steer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from service.dispatch import Done, OnEpoch, Task
from service.schema import StudySpec, Trial, TrialState
from worker.schema import (
    Carbon,
    EnergyReport,
    Failure,
    FailureKind,
    Measurement,
    TaskFacts,
    TrialResult,
    TrialSpec,
)

N_LAYERS = 10
FACTS = TaskFacts(
    n_layers=N_LAYERS,
    image_shape=(1, 8, 8),
    n_classes=10,
    n_train=1150,
    n_validation=288,
    n_test=359,
    device="fake",
)
# Default hyperparameters of a trial that no optimizer proposed.
CONFIG = {"quantizer": "deepshift-q", "weight_bits": 3, "optimizer": "adam", "learning_rate": 0.01}


def study_document(**changes: Any) -> dict[str, Any]:
    """A valid study as its author would write it."""
    return {
        "name": "toy",
        "dataset": "digits",
        "network": "resnet8",
        "objectives": {"error": "minimize", "deployment_energy": "minimize"},
        "fidelity": {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 10},
        "budget": {"n_trials": 10},
    } | changes


def study_spec(**changes: Any) -> StudySpec:
    """A valid study."""
    return StudySpec.load(study_document(**changes))


def measurement(value: float | None, method: str = "analytic", quality: str = "estimated", unit: str = "J"):
    """One objective's value."""
    return Measurement.model_validate({"value": value, "unit": unit, "method": method, "quality": quality})


def energy_report(joules: float | None, grams: float | None = None) -> EnergyReport:
    """An estimated energy."""
    return EnergyReport(
        joules=joules,
        method="codecarbon",
        quality="estimated",
        device="fake",
        duration_seconds=1.0,
        pue=1.0,
        carbon=Carbon(grams_per_kwh=400.0, source="a test"),
        emissions_grams=grams,
    )


def completed(
    trial_id: str,
    attempt: int = 1,
    *,
    study_id: str = "s",
    joules: float | None = 5.0,
    objectives: dict[str, Measurement] | None = None,
    **values: float | None,
) -> TrialResult:
    """A result with `values` as estimated objectives, or with `objectives` as they are."""
    measured = {name: measurement(value) for name, value in values.items()} | (objectives or {})
    return TrialResult(
        study_id=study_id,
        trial_id=trial_id,
        attempt=attempt,
        objectives=measured,
        energy=energy_report(joules, grams=None if joules is None else joules / 10),
        duration_seconds=2.0,
        worker="fake:1",
    )


def failed(trial_id: str, attempt: int = 1, kind: str = "diverged", *, study_id: str = "s") -> TrialResult:
    """A result without objectives."""
    return TrialResult(
        study_id=study_id,
        trial_id=trial_id,
        attempt=attempt,
        failure=Failure(kind=FailureKind(kind), message="on purpose"),
        worker="fake:1",
    )


def trial(trial_id: str = "00001", result: TrialResult | None = None, **changes: Any) -> Trial:
    """A trial at full fidelity; in the state that `result` says, WAITING without one."""
    state = TrialState.WAITING
    if result is not None:
        state = TrialState.COMPLETED if result.failure is None else TrialState.FAILED
    values: dict[str, Any] = {
        "study_id": "s",
        "trial_id": trial_id,
        "state": state,
        "config": CONFIG,
        "fidelity": 10.0,
        "shift_depth": 10,
        "epochs": 20,
        "seed": 0,
        "is_full": True,
        "result": result,
    }
    return Trial.model_validate(values | changes)


def full_trial(trial_id: str, error: float, energy: float, **changes: Any) -> Trial:
    """A COMPLETED trial at full fidelity with an error and a deployment energy."""
    return trial(trial_id, completed(trial_id, error=error, deployment_energy=energy), **changes)


def evaluate(spec: TrialSpec) -> TrialResult:
    """A pure function of the trial: more bits and a rate near 0.05 err less, and bits and depth cost energy."""
    bits = spec.recipe.weight_bits
    return completed(
        spec.trial_id,
        spec.attempt,
        study_id=spec.study_id,
        error=abs(spec.recipe.learning_rate - 0.05) + 1 / bits,
        deployment_energy=bits * 1e-7 / spec.shift_depth,
        joules=10.0,
    )


class FakeDispatcher:
    """Evaluates a pure function; results come at once, or where `holds` only when a test releases them."""

    def __init__(
        self,
        n_slots: int = 2,
        evaluate: Callable[[TrialSpec], TrialResult] = evaluate,
        *,
        holds: bool = False,
    ) -> None:
        self._n_slots, self._evaluate, self._holds = n_slots, evaluate, holds
        self._changed = threading.Condition()
        self._held: list[tuple[TrialSpec, Done]] = []
        self.submitted: list[TrialSpec] = []
        self.adopted: list[str] = []
        self.pinned: str | None = None

    def n_slots(self) -> int:
        return self._n_slots

    def n_free(self, n_wanted: int) -> int:
        return min(n_wanted, self._n_slots - len(self._held))

    def adopt(self, spec: TrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> bool:
        """Finds what an earlier coordinator submitted and nobody released."""
        for index, (held, _) in enumerate(self._held):
            if (held.trial_id, held.attempt) == (spec.trial_id, spec.attempt):
                self._held[index] = (held, done)
                self.adopted.append(held.trial_id)
                return True
        return False

    def inspect(self, task: Task) -> TaskFacts:
        return FACTS

    def expect(self, task: Task) -> None:
        pass

    def pin(self, device: str) -> None:
        self.pinned = device

    def submit(self, spec: TrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
        with self._changed:
            self.submitted.append(spec)
            self._held.append((spec, done))
            self._changed.notify_all()
        if not self._holds:
            self.release()

    def cancel(self, trial_id: str) -> None:
        """Gives out the results of held attempts at a trial at once: cancelled."""
        for spec, done in [held for held in self._held if held[0].trial_id == trial_id]:
            self._held.remove((spec, done))
            done(failed(spec.trial_id, spec.attempt, FailureKind.CANCELLED, study_id=spec.study_id))

    def wait_for_submitted(self, n: int) -> None:
        """Returns once `n` attempts have been submitted in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.submitted) >= n, timeout=120)

    def held(self) -> list[str]:
        """Trials whose results are held back, the longest held first."""
        return [spec.trial_id for spec, _ in self._held]

    def release(self, index: int = 0) -> None:
        """Evaluates a held trial and gives out its result."""
        spec, done = self._held.pop(index)
        done(self._evaluate(spec))
