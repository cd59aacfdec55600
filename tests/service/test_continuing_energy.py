"""What continuing saves in joules against restarting: two real studies side by side, each trial under its meter.

No GPU is here, so energy is the arithmetic that a trial really did, at so many joules an operation: counts, unlike
processor time, do not depend on what else the machine does. (By processor time the same ratio lay 1 to 4 % above that
of epochs on a quiet machine, with a noise floor of 2 to 4 %, and up to 12 % above with one of 11 % on a busy one.)
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float
from torch.utils.flop_counter import FlopCounterMode

from service.assembly import make_coordinator
from service.dispatch import InlineDispatcher, Task
from service.schema import StudySpec, Trial, TrialState
from service.store import Store
from worker import trial as worker_trial
from worker.energy.reading import Reading
from worker.schema import Method, Quality

pytestmark = pytest.mark.slow

JOULES_PER_OPERATION = 1e-10
STUDY = {
    "name": "continuing",
    "dataset": "digits",
    "network": "resnet8",
    # Nothing in it makes an epoch dearer or cheaper.
    "space": ConfigurationSpace(space=[Float("learning_rate", (1e-3, 1e-1), log=True)]).to_serialized_dict(),
    "objectives": {"error": "minimize", "energy": "minimize"},
    "fidelity": {"name": "epochs", "min_fidelity": 1, "max_fidelity": 8, "eta": 2},
    # Few steps an epoch, so that the test is short.
    "fixed": {"batch_size": 512},
    # Hyperband promotes much, whatever comes of it.
    "optimizer": "smac-default",
    "budget": {"n_trials": 26},
}
_one_at_a_time = threading.Lock()


class Operations:
    """Multiplications and additions of convolutions and linear layers of the thread that asks, at a constant price."""

    method: Method = "rapl"
    quality: Quality = "measured"

    def begin(self) -> None:
        self._counter = FlopCounterMode(display=False)
        self._counter.__enter__()

    def end(self) -> Reading:
        self._counter.__exit__(None, None, None)
        return Reading(JOULES_PER_OPERATION * self._counter.get_total_flops())


class Alternating(InlineDispatcher):
    """Runs trials in this process, never two at a time: those of two studies take turns."""

    def submit(self, *arguments):
        with _one_at_a_time:
            super().submit(*arguments)


def run(spec: StudySpec, folder: Path, trials: dict[str, list[Trial]], name: str) -> None:
    dispatcher = Alternating()
    with Store(folder / f"{name}.sqlite") as store:
        study = store.create_study(spec)
        facts = dispatcher.inspect(Task(spec.dataset, spec.network))
        make_coordinator(study, store, dispatcher, facts, checkpoints=str(folder / name)).run()
        trials[name] = store.trials(study.study_id, TrialState.COMPLETED)


def joules(trials: list[Trial]) -> float:
    return sum(t.result.energy.joules for t in trials)


def afresh(trials: list[Trial]) -> list[Trial]:
    return [t for t in trials if t.promoted_from is None]


def test_a_continued_study_saves_the_joules_of_the_epochs_that_it_does_not_train(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(worker_trial, "open_source", lambda _uuid: Operations())
    trials: dict[str, list[Trial]] = {}
    threads = []
    for name, goes_on in (("continued", True), ("restarted", False)):
        spec = StudySpec.load({**STUDY, "continue_promoted": goes_on})
        threads.append(threading.Thread(target=run, args=(spec, tmp_path, trials, name)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    continued, restarted = trials["continued"], trials["restarted"]
    n_continued, n_restarted = (sum(len(t.result.training_loss) for t in part) for part in (continued, restarted))
    assert len(continued) == len(restarted) == STUDY["budget"]["n_trials"]
    assert [t.epochs for t in afresh(continued)] == [t.epochs for t in afresh(restarted)]
    assert joules(afresh(continued)) == pytest.approx(joules(afresh(restarted)), rel=1e-6)
    ratio = n_continued / n_restarted
    assert ratio < 0.9
    # Continued trials are judged all the same, which is the little that they cost beyond their epochs.
    assert ratio < joules(continued) / joules(restarted) < 1.05 * ratio
