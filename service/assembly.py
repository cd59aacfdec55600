"""From a study and a cluster to its coordinator with an optimizer over the right space."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from ConfigSpace import ConfigurationSpace

from service.baselines import baselines
from service.coordinator import Coordinator
from service.dispatch import AnyTask, Dispatcher, OwnTask, Task
from service.earlier import Configs
from service.known import known_objectives
from service.optimizer import Optimizer
from service.schema import Study, StudySpec
from service.space import build_space, initial_configs
from service.store import Store
from service.tasks import completed
from service.warmstart import warm_configs
from worker.schema import AnyFacts, TaskDescription, TaskFacts

logger = logging.getLogger(__name__)
# Asks of a study that has no limit of trials; its other limits end it.
_UNLIMITED = 100_000


def task_of(spec: StudySpec, *, download: bool = False) -> AnyTask:
    """What workers are asked about before they get trials of a study."""
    if spec.task is not None:
        return OwnTask(spec.task, spec.site)
    return Task(str(spec.dataset), str(spec.network), spec.data_dir, download, spec.weights, spec.site)


def facts_of(study: Study, store: Store, dispatcher: Dispatcher, task: AnyTask, *, wait: bool = True) -> AnyFacts:
    """What workers know of a study's data set and network.

    Args:
        study: in `store`, where the facts are kept.
        store: of the study.
        dispatcher: asks the workers.
        task: of the study.
        wait: for a worker's answer also where the facts are known: workers that are busy answer late.

    Raises:
        InputError: no worker knows the names.
    """
    known = store.facts(study.study_id)
    if known is not None and not wait:
        dispatcher.expect(task)
        return known
    facts = dispatcher.inspect(task)
    if facts != known:
        store.record_facts(study.study_id, facts)
    return facts


def settle(study: Study, store: Store, facts: AnyFacts) -> Study:
    """The study, completed by what workers know of its task if it is of one; kept so, that it can go on later.

    Raises:
        InputError: it asks for what its task does not have.
    """
    if not isinstance(facts, TaskDescription):
        return study
    spec = completed(study.spec, facts)
    return store.change_spec(study, spec) if study.spec.gaps else study


def pin(study: Study, store: Store, dispatcher: Dispatcher, facts: AnyFacts) -> None:
    """Keeps a study that measures energy on one model of device: that of its trials, or the first that answered."""
    if not study.spec.measures_energy:
        return
    reports = (t.result.energy for t in store.trials(study.study_id) if t.result)
    device = next((report.device for report in reports if report is not None), facts.device)
    if device != facts.device:
        logger.warning("this study runs on %s only; the first worker that answered has %s", device, facts.device)
    dispatcher.pin(device)


def make_coordinator(
    study: Study,
    store: Store,
    dispatcher: Dispatcher,
    facts: AnyFacts,
    *,
    earlier: Configs | None = None,
    **options: Any,
) -> Coordinator:
    """The coordinator of `study`, with optimizers over its space.

    Args:
        study: in `store`.
        store: of the study.
        dispatcher: where trials run.
        facts: what workers know.
        earlier: configs of the front that the study begins with, where `needs_front`.
        options: of the coordinator.

    Raises:
        InputError: a space, a fidelity or a config that the network does not have.
    """
    warm = warm_configs(study, store, _space(study.spec, facts), earlier)
    make = partial(make_optimizer, study, facts, dispatcher.n_slots(), warm)
    # What cannot be is said before anything begins.
    make()
    return Coordinator(study, store, make, dispatcher, facts, **options)


def _space(spec: StudySpec, facts: AnyFacts) -> ConfigurationSpace:
    return build_space(spec, facts.n_layers if isinstance(facts, TaskFacts) else 0)


def make_optimizer(study: Study, facts: AnyFacts, n_workers: int, warm: Sequence[dict[str, Any]] = ()) -> Optimizer:
    """A fresh optimizer over the study's space, that asks for `warm` after the study's initial configs.

    Raises:
        InputError: a space, a fidelity or a config that the network does not have.
    """
    spec = study.spec
    n_trials = spec.budget.n_trials or _UNLIMITED
    space = _space(spec, facts)
    return Optimizer(
        space,
        objectives={str(name): direction for name, direction in spec.objectives.items()},
        fidelity=(spec.fidelity.min_fidelity, spec.fidelity.max_fidelity) if spec.fidelity else None,
        eta=spec.fidelity.eta if spec.fidelity else 3,
        expected_cost=spec.fidelity.expected_cost if spec.fidelity else None,
        # What the search is compared with counts as well.
        n_trials=max(1, n_trials - len(baselines(study, facts))),
        n_workers=n_workers,
        seed=spec.seed,
        initial=[*initial_configs(spec, space), *warm],
        known=known_objectives(study, facts),
        optimizer=spec.optimizer,
    )
