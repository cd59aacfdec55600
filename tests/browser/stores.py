"""Stores with a study of any number of trials, as if it had been run: fast to make and the same every time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert

from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store, tables
from service.store.projection import CHANGING
from tests.service.fakes import N_LAYERS, completed, failed, measurement, study_spec
from worker.schema import LayerSummary, Measurement, TrialResult

RUNGS = ((3.0, 3), (5.3, 5), (10.0, 10))
WORKERS = ("local-0", "local-1", "gpu-node-17", "gpu-node-18")
_STEP = timedelta(seconds=12)
Line = tuple[str, str, datetime, dict[str, Any]]


def filled(
    store: Store, n_trials: int, *, state: StudyState = StudyState.RUNNING, failures: float = 0.04, **changes: Any
) -> Study:
    """A study with its default and `n_trials` trials on three rungs; some failed, the last ones run and wait."""
    study = store.create_study(study_spec(**({"name": "generated", "budget": {"n_trials": n_trials + 1}} | changes)))
    store.set_study_state(study.study_id, state)
    lines = _log(study, n_trials, failures)
    # The last attempts run now.
    late = datetime.now(UTC) - max(at for _, _, at, _ in lines)
    rows = [
        {"study_id": study.study_id, "trial_id": trial_id, "kind": kind, "at": at + late, "payload": payload}
        for kind, trial_id, at, payload in lines
    ]
    store.database.write(lambda connection: connection.execute(insert(tables.events), rows))
    store.rebuild(study.study_id)
    return store.study(study.study_id)


def more(store: Store, study: Study, first: int, n: int) -> None:
    """Records further trials at full fidelity, each through the store's own door."""
    draw = np.random.default_rng(first)
    for number in range(first, first + n):
        trial = _trial(study, f"{number:05d}", 2, _config(draw), None)
        store.add_trial(trial)
        store.start_attempt(trial)
        assert store.finish_attempt(_result(study, trial, draw), TrialState.COMPLETED)


def _log(study: Study, n_trials: int, failures: float) -> list[Line]:
    draw = np.random.default_rng(0)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    free = dict.fromkeys(range(len(WORKERS)), begin)
    done: tuple[list[Trial], ...] = ([], [], [])
    lines: list[Line] = []
    for number in range(n_trials + 1):
        trial = _next(study, number, done, draw)
        worker = min(free, key=lambda each: free[each])
        begin = free[worker]
        end = begin + _STEP * float(draw.uniform(0.5, 1.5)) * (trial.epochs or 1) / 3
        lines.append(("trial_added", trial.trial_id, begin, trial.model_dump(mode="json", exclude=CHANGING)))
        if n_trials - number < 2:
            continue
        lines.append(("attempt_started", trial.trial_id, begin, {"attempt": 1}))
        if n_trials - number < 5:
            continue
        free[worker] = end + _STEP * float(draw.exponential(0.15))
        result = _result(study, trial, draw)
        if draw.uniform() < failures and number > 0:
            result = failed(trial.trial_id, study_id=study.study_id)
        took = {"worker": WORKERS[worker], "duration_seconds": (end - begin).total_seconds()}
        state = TrialState.COMPLETED if result.failure is None else TrialState.FAILED
        document = result.model_copy(update=took).model_dump(mode="json")
        lines.append(("attempt_finished", trial.trial_id, end, {"result": document, "state": state}))
        if state is TrialState.COMPLETED and number > 0:
            done[next(i for i, (fidelity, _) in enumerate(RUNGS) if fidelity == trial.fidelity)].append(trial)
    return sorted(lines, key=lambda line: line[2])


def _next(study: Study, number: int, done: tuple[list[Trial], ...], draw: np.random.Generator) -> Trial:
    """The default first; then one in three is promoted, as halving does."""
    if number == 0:
        return _trial(study, "default", 2, _config(draw), None)
    rung = next((rung for rung in (1, 0) if len(done[rung]) > 2 and draw.uniform() < 0.33), None)
    if rung is None:
        return _trial(study, f"{number:05d}", 0, _config(draw), None)
    below = done[rung].pop(int(draw.integers(len(done[rung]))))
    return _trial(study, f"{number:05d}", rung + 1, below.config, below.trial_id)


def _trial(study: Study, trial_id: str, rung: int, config: dict[str, Any], below: str | None) -> Trial:
    fidelity, depth = RUNGS[rung]
    return Trial(
        study_id=study.study_id,
        trial_id=trial_id,
        state=TrialState.WAITING,
        config=config,
        fidelity=fidelity,
        shift_depth=depth,
        epochs=3 * (rung + 1),
        seed=0,
        is_default=trial_id == "default",
        is_full=rung == 2,
        promoted_from=below,
    )


def _result(study: Study, trial: Trial, draw: np.random.Generator) -> TrialResult:
    """More bits err less and cost more; the learning rate has its best in the middle."""
    config, epochs = trial.config, trial.epochs or 1
    bits, rate = config["weight_bits"], np.log10(config["learning_rate"])
    error = 0.04 + 0.5 / bits**1.5 + 0.05 * (rate + 2) ** 2 + 0.3 / epochs + abs(draw.normal(0, 0.02))
    energy = 2e-7 * bits * (0.6 + 0.05 * config["activation_fraction_bits"]) * float(draw.uniform(0.9, 1.1))
    if trial.is_default:
        error, energy = 0.21, 1.9e-6
    figures = {
        "error": measurement(round(error, 5), "evaluation", "measured", "ratio"),
        "deployment_energy": measurement(energy, "analytic", "estimated", "J / image"),
        "energy": measurement(float(draw.uniform(15, 20)) * epochs, "codecarbon", "estimated", "J"),
    }
    result = completed(trial.trial_id, study_id=study.study_id, joules=figures["energy"].value, objectives=figures)
    seeds = tuple(_of_seed(figures, error + shift) for shift in (-0.01, 0.01)) if study.spec.n_seeds > 1 else ()
    losses = tuple(round(2.2 / (1 + epoch), 4) for epoch in range(epochs))
    return result.model_copy(update={"by_seed": seeds, "training_loss": losses, "layers": _layers(trial, draw)})


def _layers(trial: Trial, draw: np.random.Generator) -> tuple[LayerSummary, ...]:
    """Ten layers, of which the last ones shift; most weights are small."""
    bits, depth = trial.config["weight_bits"], trial.shift_depth or 0
    found = []
    for number in range(N_LAYERS):
        is_shift = number >= N_LAYERS - depth
        counts = draw.multinomial(2_000 * (number + 1), draw.dirichlet(np.linspace(1, 6, 2 ** (bits - 1))))
        found.append(
            LayerSummary(
                name=f"blocks.{number // 2}.conv{number % 2 + 1}",
                n_weights=int(counts.sum()),
                n_zeros=int(counts[0]) if is_shift else 0,
                exponents={-place: int(n) for place, n in enumerate(counts[1:])},
                is_shift=is_shift,
                weight_bits=bits if is_shift else None,
            )
        )
    return tuple(found)


def _of_seed(figures: dict[str, Measurement], error: float) -> dict[str, Measurement]:
    return figures | {"error": figures["error"].model_copy(update={"value": error})}


def _config(draw: np.random.Generator) -> dict[str, Any]:
    return {
        "quantizer": str(draw.choice(["deepshift-q", "deepshift-ps"])),
        "weight_bits": int(draw.integers(2, 6)),
        "activation_integer_bits": int(draw.integers(2, 17)),
        "activation_fraction_bits": int(draw.integers(2, 17)),
        "optimizer": str(draw.choice(["sgd", "adam", "radam"])),
        "learning_rate": float(10 ** draw.uniform(-4, -0.5)),
        "batch_size": int(2 ** draw.integers(4, 9)),
        "weight_decay": float(10 ** draw.uniform(-6, -2)),
    }
