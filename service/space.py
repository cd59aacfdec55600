"""Search spaces as ConfigSpace objects: the DSNN space, the paper's, or one of the user's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    InCondition,
    Integer,
)
from ConfigSpace.hyperparameters import Hyperparameter, UniformFloatHyperparameter, UniformIntegerHyperparameter
from ConfigSpace.util import deactivate_inactive_hyperparameters
from pydantic import ValidationError

from service.errors import InputError
from service.faults import in_one_line, shortened, unknown_key
from service.schema import DEFAULT_EPOCHS, Fidelity, StudySpec
from worker.schema import MAX_EPOCHS, Family, Recipe, did_you_mean

# The paper's 13 parameters, under our names: its shift_type is `quantizer` (Q, PS: deepshift-q, deepshift-ps) and
# its rounding is `deterministic` = nearest or `stochastic` = stochastic-log.
_PAPER_OPTIMIZERS = ["sgd", "adam", "adadelta", "adagrad", "rmsprop", "radam", "ranger"]
_WITH_MOMENTUM = ["sgd", "rmsprop"]
# What other families than shift have no use for.
_OF_SHIFT = ("quantizer", "weight_bits", "activation_integer_bits", "activation_fraction_bits", "rounding")

# More layers than any network has.
_DEEPEST = 10**6


def build_space(spec: StudySpec, n_layers: int) -> ConfigurationSpace:
    """The space that `spec` names, for a network of `n_layers` layers, seeded with the study's seed.

    Depth and epochs are hyperparameters unless they are the fidelity; what the study fixes has one value. A
    task's own space is taken as it is.

    Raises:
        InputError: a fidelity outside the network's layers, a range that cannot be, or a space of the user's own that
            is no space.
    """
    if spec.task is not None:
        return _parsed(spec.space, spec.seed)
    if spec.fidelity is not None:
        check_fidelity(spec.fidelity, str(spec.network), n_layers)
    if isinstance(spec.space, dict):
        return _custom_space(spec, spec.space, n_layers)
    knobs = spec.fidelity.knobs if spec.fidelity else ()
    unused = [*knobs, *(_OF_SHIFT if spec.family in ("int8", "float") else ())]
    if spec.space == "dsnn" and spec.fixed.get("optimizer", "sgd") not in _WITH_MOMENTUM:
        unused.append("momentum")
    named = [*(_paper() if spec.space == "paper" else _dsnn()), *_knobs(n_layers)]
    space = ConfigurationSpace(name=spec.space, seed=spec.seed)
    space.add(_adjusted([hp for hp in named if hp.name not in unused], spec, n_layers))
    if spec.family == "search":
        space.add(Categorical("family", list(get_args(Family)), default="shift"))
    if spec.space == "dsnn" and "optimizer" not in spec.fixed:
        space.add(InCondition(space["momentum"], space["optimizer"], _WITH_MOMENTUM))
    if spec.family == "search":
        space.add([EqualsCondition(space[name], space["family"], "shift") for name in _OF_SHIFT])
    return space


def default_config(spec: StudySpec) -> dict[str, Any]:
    """The default configuration of the space of a study of a task, in Python's own types."""
    config = dict(_parsed(spec.space, spec.seed).get_default_configuration())
    return _plain(config)


def initial_configs(spec: StudySpec, space: ConfigurationSpace) -> list[dict[str, Any]]:
    """The configs that the study wants evaluated first, complete.

    Raises:
        InputError: a hyperparameter or value that the space does not have.
    """
    named = {f"initial_configs.{i}": config for i, config in enumerate(spec.initial_configs)}
    if faults := [fault for key, config in named.items() for fault in _foreign(config, space, key)]:
        raise InputError(shortened(faults))
    return [_complete(config, space, f"{key}: ") for key, config in named.items()]


def check_space(spec: StudySpec) -> None:
    """Refuses what no network could have, before anybody has looked at that of the study.

    Raises:
        InputError: a space, a range or an initial config that cannot be.
    """
    if "space" not in spec.gaps:
        initial_configs(spec, build_space(spec, _DEEPEST))


def fitted(config: dict[str, Any], space: ConfigurationSpace, fidelity: Fidelity | None) -> dict[str, Any]:
    """A config of another space in this one, complete and in Python's own types.

    What is the fidelity here is left to it, and what `config` lacks is the space's default. Values may be text.

    Raises:
        InputError: a hyperparameter or value that the space does not have.
    """
    values = {}
    for name, value in config.items():
        if fidelity is not None and name in fidelity.knobs:
            continue
        if name not in space:
            known = sorted(space)
            guess = did_you_mean(name, known)
            raise InputError(f"{name} is no hyperparameter of the space{guess}, which has {', '.join(known)}")
        values[name] = _read(space[name], value)
        if not space[name].legal_value(values[name]):
            raise InputError(f"{name} must be {_range(space[name])}, got {value!r}")
    return _plain(_complete(values, space, ""))


def check_fidelity(fidelity: Fidelity, network: str, n_layers: int) -> None:
    """Refuses a depth that the network does not have.

    Raises:
        InputError: `shift_depth`, as fidelity or together with it, exceeds `n_layers`.
    """
    depths = {
        "fidelity.max_fidelity": fidelity.max_fidelity if fidelity.name == "shift_depth" else 0,
        "fidelity.together.shift_depth": max(fidelity.together.get("shift_depth", (0, 0))),
    }
    for key, depth in depths.items():
        if depth > n_layers:
            raise InputError(f"{key}: shift_depth must be 1..{n_layers}, the layers of {network}, got {depth:g}")


class _Faults:
    """What is wrong with a space, so that all of it can be told at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keeps what is said in the block for later."""
        try:
            yield
        except InputError as error:
            self._lines.append(str(error))

    def check(self) -> None:
        """Raises all that was said."""
        if self._lines:
            raise InputError(shortened(self._lines))


def _dsnn() -> list[Hyperparameter[Any, Any]]:
    """Learning rate, decay and sizes on log scales; momentum where the optimizer has one."""
    return [
        Categorical("quantizer", ["deepshift-q", "deepshift-ps"], default="deepshift-ps"),
        Integer("weight_bits", (2, 5), default=5),
        Integer("activation_integer_bits", (2, 16), default=16, log=True),
        Integer("activation_fraction_bits", (1, 16), default=16, log=True),
        Categorical("rounding", ["nearest", "stochastic-log", "stochastic-linear"], default="nearest"),
        Categorical("optimizer", ["sgd", "adam", "radam", "rmsprop"], default="sgd"),
        Float("learning_rate", (1e-3, 0.2), default=0.1, log=True),
        Float("momentum", (0.0, 0.95), default=0.9),
        Float("weight_decay", (1e-6, 1e-2), default=1e-4, log=True),
        Integer("batch_size", (16, 128), default=128, log=True),
    ]


def _paper() -> list[Hyperparameter[Any, Any]]:
    """The published space: uniform scales, no conditions (Hennig, Tornede and Lindauer, arXiv 2404.01965)."""
    return [
        Integer("batch_size", (32, 128), default=128),
        Integer("test_batch_size", (500, 2000), default=1000),
        Categorical("optimizer", _PAPER_OPTIMIZERS, default="sgd"),
        Float("learning_rate", (0.001, 0.2), default=0.1),
        Float("momentum", (0.0, 0.9), default=0.9),
        Integer("weight_bits", (2, 5), default=5),
        Integer("activation_integer_bits", (2, 32), default=16),
        Integer("activation_fraction_bits", (2, 32), default=16),
        Categorical("quantizer", ["deepshift-q", "deepshift-ps"], default="deepshift-ps"),
        Categorical("rounding", ["nearest", "stochastic-log"], default="nearest"),
        Float("weight_decay", (1e-6, 1e-2), default=1e-4),
    ]


def _knobs(n_layers: int) -> list[Hyperparameter[Any, Any]]:
    """Depth and epochs as hyperparameters, full by default."""
    return [
        Integer("shift_depth", (1, n_layers), default=n_layers),
        Integer("epochs", (2, DEFAULT_EPOCHS), default=DEFAULT_EPOCHS),
    ]


def _adjusted(
    hyperparameters: list[Hyperparameter[Any, Any]], spec: StudySpec, n_layers: int
) -> list[Hyperparameter[Any, Any]]:
    """As the study's `ranges` and `fixed` say."""
    free, faults = {hp.name: hp for hp in hyperparameters if hp.name not in spec.fixed}, _Faults()
    for name, (low, high) in spec.ranges.items():
        with faults.noted():
            free[name] = _ranged(_searched(name, free), low, high, n_layers)
    faults.check()
    return [*free.values(), *_constants(spec)]


def _searched(
    name: str, free: dict[str, Hyperparameter[Any, Any]]
) -> UniformFloatHyperparameter | UniformIntegerHyperparameter:
    hp = free.get(name)
    if isinstance(hp, UniformFloatHyperparameter | UniformIntegerHyperparameter):
        return hp
    numbers = sorted(n for n, other in free.items() if hasattr(other, "lower"))
    guess, allowed = did_you_mean(name, numbers), ", ".join(numbers)
    raise InputError(f"ranges.{name}: no number that is searched{guess}; allowed are {allowed}")


def _ranged(
    hp: UniformFloatHyperparameter | UniformIntegerHyperparameter, low: float, high: float, n_layers: int
) -> Hyperparameter[Any, Any]:
    """A number of another range, its default moved into it."""
    is_whole = isinstance(hp, UniformIntegerHyperparameter)
    if low >= high or (is_whole and not (float(low).is_integer() and float(high).is_integer())):
        kind = "whole numbers" if is_whole else "numbers"
        raise InputError(f"ranges.{hp.name}: must be two {kind}, the lower one first, got {low:g}..{high:g}")
    default = min(max(hp.default_value, low), high)
    make: Any = Integer if is_whole else Float
    if low <= 0 and hp.log:
        raise InputError(f"ranges.{hp.name}: must be above 0, got {low:g}..{high:g}")
    try:
        with np.errstate(over="ignore"):
            ranged: Hyperparameter[Any, Any] = make(hp.name, (low, high), default=default, log=hp.log)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"ranges.{hp.name}: no range that can be searched, got {low:g}..{high:g}") from error
    if hp.name in Recipe.model_fields:
        _check_values(ranged, "ranges")
    else:
        _check_bounds(ranged, n_layers if hp.name == "shift_depth" else MAX_EPOCHS, "ranges")
    return ranged


def _constants(spec: StudySpec) -> list[Hyperparameter[Any, Any]]:
    return [Constant(name, value) for name, value in spec.fixed.items()]


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in sorted(config.items())}


def _read(hp: Hyperparameter[Any, Any], value: Any) -> Any:
    """A value that may be text, as the hyperparameter has it."""
    if not isinstance(value, str) or hp.legal_value(value):
        return value
    if hasattr(hp, "lower"):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if isinstance(hp, UniformIntegerHyperparameter) and number.is_integer() else number
    return next((choice for choice in _extremes(hp) if str(choice) == value), value)


def _foreign(config: dict[str, Any], space: ConfigurationSpace, key: str) -> list[str]:
    """What of a config the space does not have, a line each."""
    unknown = [name for name in config if name not in space]
    illegal = [name for name in config if name in space and not _is_legal(space[name], config[name])]
    return [f"{key}.{name}: {unknown_key(name, sorted(space))}" for name in unknown] + [
        f"{key}.{name}: must be {_range(space[name])}, got {config[name]!r}" for name in illegal
    ]


def _is_legal(hp: Hyperparameter[Any, Any], value: Any) -> bool:
    try:
        return isinstance(value, str | int | float) and bool(hp.legal_value(value))
    except (TypeError, ValueError, OverflowError):  # a number that no array holds
        return False


def _range(hp: Hyperparameter[Any, Any]) -> str:
    values = _extremes(hp)
    return f"{values[0]}..{values[-1]}" if hasattr(hp, "lower") else " or ".join(map(str, values))


def _complete(config: dict[str, Any], space: ConfigurationSpace, key: str) -> dict[str, Any]:
    """`config` with the space's defaults, and without what is inactive then."""
    values = {hp.name: hp.default_value for hp in space.values()} | config
    try:
        return dict(deactivate_inactive_hyperparameters(values, space))
    except Exception as error:
        reason = " ".join(f"{error}".split())
        raise InputError(f"{key}{reason}; the space has {', '.join(sorted(space))}") from error


def _parsed(serialized: Any, seed: int) -> ConfigurationSpace:
    """A space that is written as ConfigSpace's own JSON, seeded."""
    try:
        # It takes the dict apart.
        space = ConfigurationSpace.from_serialized_dict(copy.deepcopy(serialized))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"space: no ConfigSpace JSON object ({reason})") from error
    if len(space) == 0:
        raise InputError("space: the ConfigSpace JSON object holds no hyperparameter")
    space.seed(seed)
    return space


def _custom_space(spec: StudySpec, serialized: dict[str, Any], n_layers: int) -> ConfigurationSpace:
    """A space of the user's own for a network; every hyperparameter must be one that a worker knows."""
    space = _parsed(serialized, spec.seed)
    taken = spec.fidelity.knobs if spec.fidelity else ()
    knobs = {name: most for name, most in (("shift_depth", n_layers), ("epochs", MAX_EPOCHS)) if name not in taken}
    faults = _Faults()
    for hp in space.values():
        with faults.noted():
            _check_own(hp, spec, knobs)
    faults.check()
    if spec.ranges or spec.fixed.keys() & set(space):
        raise InputError("space: a ConfigSpace JSON object holds its ranges itself, and nothing that is fixed besides")
    space.add(_constants(spec))
    return space


def _check_own(hp: Hyperparameter[Any, Any], spec: StudySpec, knobs: dict[str, int]) -> None:
    if hp.name in knobs:
        _check_bounds(hp, knobs[hp.name])
    elif hp.name in Recipe.model_fields:
        _check_values(hp)
    elif not (hp.name == "family" and spec.family == "search" and set(_extremes(hp)) <= set(get_args(Family))):
        searched = ["family"] if spec.family == "search" else []
        allowed = sorted({*Recipe.model_fields, *knobs, *searched})
        raise InputError(f"space.{hp.name}: {unknown_key(hp.name, allowed)}")


def _extremes(hp: Hyperparameter[Any, Any]) -> list[Any]:
    """The values of a hyperparameter that bound all others, or all of them where they have no order."""
    if hasattr(hp, "lower") and hasattr(hp, "upper"):
        return [hp.lower, hp.upper]
    return list(getattr(hp, "choices", getattr(hp, "sequence", [getattr(hp, "value", None)])))


def _check_bounds(hp: Hyperparameter[Any, Any], most: int, key: str = "space") -> None:
    """Refuses a knob that is not a whole number from 1 to `most`."""
    values = _extremes(hp)
    is_whole = not isinstance(hp, UniformFloatHyperparameter) and all(isinstance(v, int) for v in values)
    if not is_whole or min(values) < 1 or max(values) > most:
        raise InputError(f"{key}.{hp.name}: must be whole numbers, 1..{most}, got {values[0]}..{values[-1]}")


def _check_values(hp: Hyperparameter[Any, Any], key: str = "space") -> None:
    """Refuses a hyperparameter with values that no training run has."""
    if isinstance(hp, UniformFloatHyperparameter) and Recipe.model_fields[hp.name].annotation is int:
        raise InputError(f"{key}.{hp.name}: must be whole numbers, got a float range")
    for value in _extremes(hp):
        try:
            Recipe.model_validate({hp.name: value})
        except ValidationError as error:
            raise InputError(f"{key}.{hp.name}: {in_one_line(error.errors()[0])}") from error
