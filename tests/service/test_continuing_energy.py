"""What continuing saves in joules against restarting: two real studies side by side, each trial under its meter.

No GPU is here, so energy is the processor time that the thread of a trial took, at a constant power: unlike seconds of
a clock that hardly depends on what else the machine does. Trials that began afresh did the same work in both studies,
so by how much these differ is the noise floor: 1.7 to 4.1 % in five runs on two cores with loads of four to seven. The
ratio of joules was 1.1 to 3.7 % above that of epochs in seven runs, because continued trials are judged all the same.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float

from service.assembly import make_coordinator
from service.dispatch import InlineDispatcher, Task
from service.schema import StudySpec, Trial, TrialState
from service.store import Store
from worker import trial as worker_trial
from worker.energy.reading import Reading
from worker.schema import Method, Quality

pytestmark = pytest.mark.slow

WATTS = 60.0
STUDY = {
    "name": "continuing",
    "dataset": "digits",
    "network": "resnet8",
    # Nothing in it makes an epoch dearer or cheaper.
    "space": ConfigurationSpace(space=[Float("learning_rate", (1e-3, 1e-1), log=True)]).to_serialized_dict(),
    "objectives": {"error": "minimize", "energy": "minimize"},
    "fidelity": {"name": "epochs", "min_fidelity": 1, "max_fidelity": 8, "eta": 2},
    # Hyperband promotes much, whatever comes of it.
    "optimizer": "smac-default",
    "budget": {"n_trials": 26},
}
_one_at_a_time = threading.Lock()


class ThreadTime:
    """Processor time of the thread that asks, at a constant power."""

    method: Method = "rapl"
    quality: Quality = "measured"

    def begin(self) -> None:
        self._started = time.thread_time()

    def end(self) -> Reading:
        return Reading(WATTS * (time.thread_time() - self._started))


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
    monkeypatch.setattr(worker_trial, "open_source", lambda _uuid: ThreadTime())
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
    assert len(continued) == len(restarted) == 26
    assert [t.epochs for t in afresh(continued)] == [t.epochs for t in afresh(restarted)]
    noise = joules(afresh(continued)) / joules(afresh(restarted)) - 1
    ratio = n_continued / n_restarted
    assert ratio < 0.9
    assert joules(continued) / joules(restarted) == pytest.approx(ratio, rel=0.1), f"the noise floor is {noise:+.1%}"
