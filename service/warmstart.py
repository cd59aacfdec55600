"""Beginning with what an earlier study found: decided once, when a study starts, and kept in its log."""

from __future__ import annotations

import logging
from typing import Any

from ConfigSpace import ConfigurationSpace

from service.earlier import Configs
from service.errors import InputError
from service.schema import Study
from service.space import fitted
from service.store import Store

logger = logging.getLogger(__name__)


def needs_front(study: Study, store: Store) -> bool:
    """Whether the front of an earlier study is still to be looked up."""
    return study.spec.warm_start is not None and store.warm_start(study.study_id) is None


def warm_configs(
    study: Study, store: Store, space: ConfigurationSpace, earlier: Configs | None
) -> list[dict[str, Any]]:
    """Configs that the study begins with because an earlier one found them, complete in `space`.

    Args:
        study: in `store`, where they are kept from its first start on.
        store: of the study.
        space: that it searches.
        earlier: configs of the earlier front, where `needs_front`.

    Raises:
        InputError: not one of them is part of the space.
    """
    if study.spec.warm_start is None:
        return []
    known = store.warm_start(study.study_id)
    if known is not None:
        return known
    configs, left_out = _fitting(earlier or {}, study, space)
    if not configs:
        raise InputError(
            f"warm_start: none of {len(left_out)} configs of {study.spec.warm_start} is part of this study's space: "
            + next(iter(left_out), "it has none")
        )
    for line in left_out:
        logger.warning("warm_start: left out %s", line)
    store.record_warm_start(study.study_id, configs, left_out)
    return configs


def _fitting(earlier: Configs, study: Study, space: ConfigurationSpace) -> tuple[list[dict[str, Any]], list[str]]:
    """Configs that are part of the space, and a line about each that is not."""
    configs, left_out = [], []
    for trial_id, config in earlier.items():
        try:
            configs.append(fitted(config, space, study.spec.fidelity))
        except InputError as error:
            left_out.append(f"trial {trial_id}: {error}")
    return configs, left_out
