"""Configs that another optimizer found as those that a study of ours begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from service.errors import InputError
from service.exchange.found import best
from service.exchange.smac_in import read_smac
from service.extras import loaded
from service.schema import Fidelity, StudySpec
from service.space import build_space, fitted


@dataclass(frozen=True)
class Beginning:
    """What a study can begin with.

    Attributes:
        origin: where it is from.
        n_found: configs that were evaluated there.
        configs: complete in the study's space, the best first.
        left_out: a line about each parameter or value that does not fit.
    """

    origin: str
    n_found: int
    configs: list[dict[str, Any]]
    left_out: list[str]


def beginning(source: str, spec: StudySpec, n_layers: int, *, name: str | None, most: int) -> Beginning:
    """The best configs of a run folder of SMAC3, or of a study of Optuna, in the space of `spec`.

    Args:
        source: folder, SQLite file, or URL of a database.
        spec: of the study that begins with them.
        n_layers: of its network.
        name: of the study of Optuna, where there are several.
        most: of them, where the front has fewer.

    Raises:
        InputError: there is nothing of the kind, or nothing that fits.
    """
    if Path(source).is_dir():
        origin, found = read_smac(Path(source))
    else:
        origin, found = loaded("service.exchange.optuna_in", "optuna", "source: Optuna").read_optuna(source, name)
    if not found:
        raise InputError(f"source: {source} holds no config that was evaluated in full")
    configs, left_out = _fitting(
        (each.config for each in best(found, most)), build_space(spec, n_layers), spec.fidelity
    )  # fmt: skip
    if not configs:
        raise InputError(f"source: nothing of {source} fits this study's space: {left_out[0]}")
    return Beginning(origin, len(found), configs, left_out)


def _fitting(
    configs: Iterable[dict[str, Any]], space: ConfigurationSpace, fidelity: Fidelity | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Each config once, with the space's default in the place of what does not fit; and what that is."""
    faults: Counter[str] = Counter()
    complete: list[dict[str, Any]] = []
    for config in configs:
        kept = {}
        for name, value in config.items():
            try:
                fitted({name: value}, space, fidelity)
                kept[name] = value
            except InputError as error:
                faults[str(error)] += 1
        known = fitted(kept, space, fidelity)
        if kept and known not in complete:
            complete.append(known)
    return complete, [f"left out of {n} configs: {fault}" for fault, n in faults.items()]
