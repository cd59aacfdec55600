"""A study of every kind of trial, as its log tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from service.ledger import Ledger
from service.schema import StudyState, TrialState
from service.store import Store
from service.study_run import StudyRun
from service.wire import Event
from tests.service.fakes import FACTS, completed, failed, study_spec
from tests.service.served import begin, finish

# A whole config of the space dsnn: momentum is inactive beside adam.
CONFIG = {"quantizer": "deepshift-q", "weight_bits": 3, "activation_integer_bits": 4, "activation_fraction_bits": 3,
          "rounding": "nearest", "optimizer": "adam", "learning_rate": 0.01, "weight_decay": 1e-4,
          "batch_size": 32, "epochs": 20}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A study and its log."""

    run: StudyRun
    log: list[Event]

    def when(self, kind: str, trial_id: str) -> datetime:
        """When the first event of a kind about a trial happened."""
        return next(event.at for event in self.log if (event.kind, event.trial_id) == (kind, trial_id))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Two on the front, one dominated, one that breaks a constraint, one below full fidelity, one failed, one given
    up, one that runs, and the default, which is better than all and no part of the space. One on the front has a late
    result."""
    with Store(tmp_path_factory.mktemp("told") / "study.sqlite") as store:
        spec = study_spec(objectives={"error": "minimize", "deployment_energy": "maximize"},
                          constraints=["error <= 0.5"])  # fmt: skip
        study = store.create_study(spec)
        store.set_study_state(study.study_id, StudyState.RUNNING)
        store.record_facts(study.study_id, FACTS)
        finish(store, study, completed("default", error=0.01, deployment_energy=99.0), is_default=True,
               config={"weight_bits": 8, "schedule": "step"})  # fmt: skip
        for number, (error, energy) in enumerate([(0.1, 2.0), (0.2, 4.0), (0.4, 1.0), (0.6, 9.0)], 1):
            config = CONFIG | {"learning_rate": 0.01 * number}
            finish(store, study, completed(f"{number:05}", error=error, deployment_energy=energy), config=config)
        finish(store, study, completed("00005", error=0.05, deployment_energy=50.0), is_full=False, fidelity=3.0,
               config=CONFIG | {"weight_bits": 4})  # fmt: skip
        finish(store, study, failed("00006", kind="memory_limit"), config=CONFIG | {"weight_bits": 5})
        stopped = begin(store, study, "00007", config=CONFIG | {"weight_bits": 2})
        store.stop_trial(stopped, "on purpose")
        begin(store, study, "00008")
        # What an attempt that was given up long ago still finds changes nothing.
        assert not store.finish_attempt(completed("00002", study_id=study.study_id), TrialState.COMPLETED)
        log = [Event.model_validate(vars(event)) for event in store.events(study.study_id)]
        study = store.study(study.study_id)
        yield Told(StudyRun(study, store.trials(study.study_id), Ledger.from_events(log)), log)
