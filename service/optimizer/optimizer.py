"""Ask and tell for any number of outstanding trials: directions, trial ids, failures and replay from a log."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import moocore
import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace

from service.optimizer.engine import Engine, ExhaustedError, Proposal, RandomEngine, config_key, plain
from service.optimizer.front_search import FrontEngine
from service.optimizer.hyperband import HyperbandEngine
from service.optimizer.runhistory import SettledConfiguration

Config = dict[str, Any]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Suggestion:
    """One evaluation to make.

    Attributes:
        trial_id: new with every ask.
        config: values of the active hyperparameters, plain Python.
        fidelity: where to evaluate it.
        promoted_from: the trial of this config at the fidelity below, or None.
    """

    trial_id: str
    config: Config
    fidelity: float
    promoted_from: str | None = None


@dataclass(frozen=True)
class Told:
    """One tell, as a log keeps it: the objectives, or why there are none, and what the trial took."""

    trial_id: str
    objectives: Mapping[str, float] | None
    failure: str | None = None
    cost: float | None = None


class Optimizer:
    """Proposes configs that trade several objectives against each other.

    Args:
        space: what is searched.
        objectives: name to `minimize` or `maximize`.
        fidelity: (lowest, highest), or None to evaluate at full fidelity (1.0) only.
        integer_fidelity: suggest whole fidelities; exact ones are kept inside.
        eta: one config in `eta` is promoted.
        n_trials: most asks.
        n_workers: how many trials may be outstanding at once; a hint.
        seed: of everything random; with the same order of asks and tells, the same suggestions.
        initial: configs, complete, that are asked for first.
        known: objectives that are functions of (config, fidelity); they need not be told.
        expected_cost: of a trial by its fidelity, in any unit, until tells bring costs; None is in proportion.
        optimizer: `greenshift` (SMAC3 with Gaussian processes over config and fidelity and asynchronous halving),
            `smac-default` (its Hyperband and ParEGO, as they come), or `random` (full fidelity only).

    Raises:
        ValueError: an unknown optimizer or direction, or an impossible fidelity.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        *,
        objectives: Mapping[str, Direction],
        fidelity: tuple[float, float] | None,
        integer_fidelity: bool = False,
        eta: int = 3,
        n_trials: int,
        n_workers: int,
        seed: int,
        initial: Iterable[Config] = (),
        known: Mapping[str, Callable[[Config, float], float]] | None = None,
        expected_cost: Callable[[float], float] | None = None,
        optimizer: str = "greenshift",
    ) -> None:
        self._signs = {name: _sign(direction) for name, direction in objectives.items()}
        self._lowest, self._highest = _check_fidelity(fidelity)
        if eta < 2:
            raise ValueError(f"eta must be at least 2, got {eta}")
        if integer_fidelity and self._lowest < 1:
            raise ValueError(f"fidelity must be at least 1 where whole ones are suggested, got {fidelity}")
        self._space = space
        self._integer = integer_fidelity
        self._n_trials = n_trials
        self._known = dict(known or {})
        self._engine: Engine = self._make_engine(optimizer, eta, n_workers, seed, expected_cost)
        self._engine.begin_with(list({config_key(c): c for c in map(self._canonical, initial)}.values()))
        self._worst, self._best = np.full(len(self._signs), -np.inf), np.full(len(self._signs), np.inf)
        self._open: dict[str, Proposal] = {}
        self._suggestions: dict[str, Suggestion] = {}
        self._results: list[tuple[Suggestion, dict[str, float]]] = []
        self._latest: dict[str, Suggestion] = {}

    def ask(self) -> Suggestion | None:
        """The next evaluation, or None: nothing to do until a tell, or never again.

        None comes once `n_trials` were asked, and where the space is exhausted.
        """
        if len(self._suggestions) >= self._n_trials:
            return None
        try:
            proposal = self._engine.ask()
        except ExhaustedError:
            return None
        suggestion = self._suggest(proposal)
        self._suggestions[suggestion.trial_id] = suggestion
        self._open[suggestion.trial_id] = proposal
        return suggestion

    def tell(
        self,
        trial: Suggestion | str,
        objectives: Mapping[str, float] | None = None,
        *,
        cost: float | None = None,
        failure: str | None = None,
    ) -> None:
        """What came of a suggestion, once.

        Args:
            trial: the suggestion or its id.
            objectives: finite value of every objective that is not known; None for a failed trial.
            cost: what it took, in seconds or any other unit, of a trial that was continued the increment: it decides
                which fidelities pay. None is unknown.
            failure: why it failed.

        Raises:
            KeyError: a trial that was never asked or was told before.
            ValueError: neither or both of objectives and failure, or a missing or non-finite value.
        """
        trial_id = trial if isinstance(trial, str) else trial.trial_id
        if trial_id not in self._open:
            raise KeyError(f"trial {trial_id!r} is not outstanding")
        if (objectives is None) == (failure is None):
            raise ValueError(f"trial {trial_id}: tell either objectives or a failure")
        suggestion = self._suggestions[trial_id]
        values = self._check(suggestion, objectives) if objectives is not None else None
        proposal = self._open.pop(trial_id)
        if values is None:
            self._engine.tell(proposal, self._stand_in(), failed=True, price=cost)
            return
        self._results.append((suggestion, values))
        costs = self._costs(values)
        self._worst, self._best = np.maximum(self._worst, costs), np.minimum(self._best, costs)
        self._engine.tell(proposal, costs, failed=False, price=cost)

    def front(self) -> list[dict[str, Any]]:
        """The non-dominated results at full fidelity: config, fidelity and objectives of each."""
        full = [(s, v) for s, v in self._results if math.isclose(s.fidelity, self._highest)]
        if not full:
            return []
        kept = moocore.is_nondominated(np.array([self._costs(values) for _, values in full]), keep_weakly=True)
        return [
            {"config": s.config, "fidelity": s.fidelity, "objectives": values}
            for (s, values), keep in zip(full, kept, strict=True)
            if keep
        ]

    def snapshot(self) -> bytes | None:
        """What the log alone cannot restore: configs that are chosen and not asked for yet; None where there are none.

        Hyperband samples a whole rung before the first config of it is asked for.
        """
        pending = [plain(config) for config in self._engine.pending()]
        return json.dumps(pending).encode() if pending else None

    def replay(self, log: Iterable[Suggestion | Told], snapshot: bytes | None = None) -> None:
        """Brings a fresh optimizer to where another one stood, from its suggestions and tells in order.

        Configs come from the log and the snapshot, so no model is trained on the way.

        Args:
            log: of the other one.
            snapshot: that the other one gave, or None; it may be older than the end of the log.

        Raises:
            ValueError: the log is not one of an optimizer with these arguments.
        """
        events = list(log)
        suggestions = [e for e in events if isinstance(e, Suggestion)]
        asked = [(self._canonical(s.config), self._exact(s.fidelity)) for s in suggestions]
        if foreign := [
            fidelity for _, fidelity in asked if self._engine.fidelities and fidelity not in self._engine.fidelities
        ]:
            raise ValueError(f"the log does not replay: no fidelity of this study is {foreign[0]:g}")
        self._engine.repeat(asked, [self._canonical(config) for config in json.loads(snapshot or b"[]")])
        configs = iter(asked)
        for event in events:
            if isinstance(event, Told):
                self.tell(event.trial_id, event.objectives, cost=event.cost, failure=event.failure)
                continue
            suggestion = self.ask()
            if suggestion is None or not self._is_same(suggestion, event, next(configs)[0]):
                raise ValueError(f"the log does not replay: expected {event}, got {suggestion}")
            # The log's own values: an array turned back into values may differ in the last bit.
            self._suggestions[event.trial_id] = event
            self._latest[self._open[event.trial_id].key] = event

    def _is_same(self, asked: Suggestion, logged: Suggestion, config: Configuration) -> bool:
        proposal = self._open[asked.trial_id]
        same_config = proposal.config == config or proposal.key == config_key(config)
        return same_config and (asked.trial_id, asked.fidelity) == (logged.trial_id, logged.fidelity)

    def _make_engine(
        self, optimizer: str, eta: int, n_workers: int, seed: int, expected_cost: Callable[[float], float] | None
    ) -> Engine:
        if optimizer == "random":
            return RandomEngine(self._space, self._highest, seed)
        shared: dict[str, Any] = {"eta": eta, "n_trials": self._n_trials, "seed": seed}
        fidelity = (self._lowest, self._highest)
        if optimizer == "smac-default":
            return HyperbandEngine(self._space, list(self._signs), fidelity, **shared)
        if optimizer == "greenshift":
            known = {i: self._cost_of(name) for i, name in enumerate(self._signs) if name in self._known}
            ours: dict[str, Any] = {"known": known, "expected_cost": expected_cost, "n_workers": n_workers}
            return FrontEngine(self._space, list(self._signs), fidelity, **ours, **shared)
        raise ValueError(f"optimizer must be greenshift, smac-default or random, got {optimizer!r}")

    def _cost_of(self, name: str) -> Callable[[Config], float]:
        """A known objective at full fidelity, less is better."""
        sign, value, full = self._signs[name], self._known[name], self._suggested(self._highest)
        return lambda config: sign * value(config, full)

    def _suggest(self, proposal: Proposal) -> Suggestion:
        before = self._latest.get(proposal.key)
        fidelity = self._suggested(proposal.fidelity)
        is_promoted = before is not None and before.fidelity < fidelity
        suggestion = Suggestion(
            trial_id=f"{len(self._suggestions) + 1:05d}",
            config=before.config if before else proposal.values,
            fidelity=fidelity,
            promoted_from=before.trial_id if before and is_promoted else None,
        )
        self._latest[proposal.key] = suggestion
        return suggestion

    def _exact(self, fidelity: float) -> float:
        """The engine's own fidelity behind one that was suggested."""
        close = (f for f in self._engine.fidelities if math.isclose(self._suggested(f), fidelity))
        return next(close, fidelity)

    def _suggested(self, fidelity: float) -> float:
        return float(round(fidelity)) if self._integer else fidelity

    def _check(self, suggestion: Suggestion, told: Mapping[str, float]) -> dict[str, float]:
        values = {name: f(suggestion.config, suggestion.fidelity) for name, f in self._known.items()} | dict(told)
        for name in self._signs:
            if name not in values or not math.isfinite(values[name]):
                raise ValueError(
                    f"trial {suggestion.trial_id}: objective {name} must be a finite number, got {values.get(name)!r}"
                )
        return {name: float(values[name]) for name in self._signs}

    def _costs(self, values: Mapping[str, float]) -> list[float]:
        return [sign * values[name] for name, sign in self._signs.items()]

    def _stand_in(self) -> list[float]:
        """Finite costs a tenth worse than the worst seen, for SMAC alone: infinite ones break its forest."""
        if not self._results:
            return [1.0] * len(self._signs)
        margin = np.maximum(self._worst - self._best, np.abs(self._worst))
        return [float(c) for c in self._worst + 0.1 * margin]

    def _canonical(self, config: Config) -> SettledConfiguration:
        """The config rebuilt from its array: one from plain values is equal but hashes differently in SMAC."""
        return SettledConfiguration.of(Configuration(self._space, values=config))


def _sign(direction: str) -> int:
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction must be minimize or maximize, got {direction!r}")
    return 1 if direction == "minimize" else -1


def _check_fidelity(fidelity: tuple[float, float] | None) -> tuple[float, float]:
    lowest, highest = fidelity or (1.0, 1.0)
    if not 0 < lowest <= highest:
        raise ValueError(f"fidelity must be (lowest, highest) with 0 < lowest, got {fidelity}")
    return float(lowest), float(highest)
