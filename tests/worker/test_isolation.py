"""Trials that end badly in processes of their own: each cause is real."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.service.processes import descendants, have_ended
from tests.worker.misbehaving import BEGUN, install, jump_once_begun
from worker import isolation, supervision
from worker.entry import inspect_task, run_trial
from worker.errors import ChildError, ConfigurationError
from worker.isolation import WarmChildren
from worker.memory import resident_bytes
from worker.messages import Ready
from worker.process import ChildProcess
from worker.schema import EpochMetrics, Failure, FailureKind, Recipe, TrialResult, TrialSpec
from worker.supervision import messages

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def make_spec(network: str = "none", **changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": network, "recipe": Recipe()}
    return TrialSpec(**{**fields, "shift_depth": 0, "epochs": 1, "attempt": 2, **changes})


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmChildren]:
    """Processes that know the misbehaving networks, in place of those that this process would keep."""
    children = WarmChildren()
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("distribution")
        install(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv(BEGUN, str(folder / "begun"))
        patch.setattr(isolation, "_warm_children", lambda: children)
        yield children
        children.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may pause a process: none is interrupted or killed for that, only where a test is about it."""
    monkeypatch.setattr(supervision, "INTERRUPT_SECONDS", 60.0)
    monkeypatch.setattr(supervision, "KILL_SECONDS", 120.0)


@pytest.fixture
def impatience(children: WarmChildren, patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of time passes once a trial does what never ends, and it is interrupted soon after."""
    begun = Path(os.environ[BEGUN])
    begun.unlink(missing_ok=True)
    jump_once_begun(monkeypatch, begun)
    monkeypatch.setattr(supervision, "INTERRUPT_SECONDS", 0.1)


@pytest.fixture
def child(children: WarmChildren) -> int:
    """Process id of the idle child, after a trial that was good."""
    assert isolated().failure is None
    (pid,) = children.pids
    return pid


def isolated(network: str = "none", *, should_stop: Callable[[], bool] = lambda: False, **changes) -> TrialResult:
    return run_trial(make_spec(network, **changes), should_stop=should_stop, isolated=True)


def assert_the_next_trial_is_clean(children: WarmChildren, spoilt: int) -> None:
    assert have_ended([spoilt])
    result = isolated()
    assert (result.failure, result.trial_id, result.attempt) == (None, "t", 2)
    assert spoilt not in children.pids
    assert len(children.pids) == 1


def test_a_trial_gives_the_same_result_as_in_this_process_first_and_again(child: int, children: WarmChildren) -> None:
    spec = make_spec("resnet8", shift_depth=3)
    torch.set_num_threads(1)
    here, there, again = run_trial(spec), run_trial(spec, isolated=True), run_trial(spec, isolated=True)
    assert children.pids == [child]
    for result in (there, again):
        assert result.training_loss == here.training_loss
        assert result.objectives["error"] == here.objectives["error"]
        assert result.energy is not None
        assert result.duration_seconds >= result.energy.duration_seconds > 0
    assert there.worker == here.worker


@pytest.mark.parametrize(
    ("network", "message", "said"),
    [
        ("segfault", "the process of the trial died of SIGSEGV (Segmentation fault)", "misbehaving.py"),
        pytest.param("exit", "the process of the trial exited with code 7", "", marks=pytest.mark.slow),
        ("killed", "the process of the trial died of SIGKILL (Killed)", ""),
    ],
)
def test_a_process_that_dies_is_a_crashed_trial(
    child: int, children: WarmChildren, network: str, message: str, said: str
) -> None:
    result = isolated(network)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (FailureKind.CRASHED, message)
    assert said in result.failure.traceback
    assert result.energy is not None
    assert (result.energy.joules, result.energy.emissions_grams, result.energy.method) == (None, None, "none")
    assert "process_died" in result.energy.flags
    assert result.energy.duration_seconds > 0
    assert_the_next_trial_is_clean(children, child)


def test_the_legs_that_a_trial_went_on_from_outlive_its_process(
    child: int, children: WarmChildren, tmp_path: Path
) -> None:
    url = str(tmp_path / "first.pt")
    assert isolated(checkpoint_to=url, trial_id="first").failure is None
    result = isolated("killed", resume_from=url, epochs=2)
    assert result.failure is not None
    assert [(leg.trial_id, leg.epochs) for leg in result.earlier_legs] == [("first", 1)]
    assert_the_next_trial_is_clean(children, child)


def test_a_process_that_dies_with_its_second_seed_leaves_what_the_first_one_spent(
    child: int, children: WarmChildren
) -> None:
    result = isolated("killed-with-seed-one", n_seeds=3)
    assert result.failure is not None
    assert (result.failure.kind, result.objectives) == (FailureKind.CRASHED, {})
    assert result.energy is not None
    assert (result.energy.repeats, "process_died" in result.energy.flags) == (1, True)
    assert result.energy.duration_seconds > 0
    assert_the_next_trial_is_clean(children, child)


def test_several_seeds_give_the_same_as_in_this_process(child: int, children: WarmChildren) -> None:
    spec = make_spec("resnet8", shift_depth=3, n_seeds=2, data_fraction=0.1)
    torch.set_num_threads(1)
    here, there = run_trial(spec), run_trial(spec, isolated=True)
    assert [seed["error"] for seed in there.by_seed] == [seed["error"] for seed in here.by_seed]
    assert (there.training_loss, len(there.by_seed)) == (here.training_loss, 2)
    assert children.pids == [child]


def test_a_process_larger_than_its_limit_is_ended(child: int, children: WarmChildren) -> None:
    limit = (resident_bytes(child) or 0) + 2**28
    result = isolated("hoard", epochs=1000, memory_limit_bytes=limit)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.MEMORY_LIMIT
    assert f"MiB were resident, over the limit of {limit / 2**20:.0f} MiB" in result.failure.message
    assert_the_next_trial_is_clean(children, child)


def test_a_limit_that_is_kept_changes_nothing(child: int, children: WarmChildren) -> None:
    result = isolated(memory_limit_bytes=2**40, time_limit_seconds=600)
    assert (result.failure, children.pids) == (None, [child])


def test_a_trial_past_its_time_stops_by_itself(child: int, children: WarmChildren) -> None:
    result = isolated("slow", epochs=1000, time_limit_seconds=0.5)
    assert result.failure is not None
    assert result.failure == Failure(
        kind=FailureKind.TIME_LIMIT, message="the trial ran longer than its limit of 0.5 s"
    )
    assert result.energy is not None
    assert "process_died" not in result.energy.flags
    assert children.pids == [child]


def test_a_trial_that_sleeps_past_its_time_is_woken_and_its_energy_kept(
    child: int, children: WarmChildren, impatience: None
) -> None:
    result = isolated("sleep", time_limit_seconds=600)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert "misbehaving.py" in result.failure.traceback
    assert result.energy is not None
    assert result.energy.duration_seconds > 0.1
    assert "process_died" not in result.energy.flags
    assert_the_next_trial_is_clean(children, child)


@pytest.mark.slow
def test_a_trial_that_runs_no_python_is_killed_and_says_where_it_was(
    child: int, children: WarmChildren, impatience: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "KILL_SECONDS", 0.5)
    result = isolated("hold-the-lock", time_limit_seconds=600)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert "in hold_the_lock" in result.failure.traceback
    assert result.energy is not None
    assert "process_died" in result.energy.flags
    assert_the_next_trial_is_clean(children, child)


@pytest.mark.parametrize("network", ["slow", "resnet8"])
def test_a_stop_takes_a_batch_and_keeps_the_process(child: int, children: WarmChildren, network: str) -> None:
    seen: list[EpochMetrics] = []
    result = run_trial(
        make_spec(network, epochs=1000), on_epoch=seen.append, should_stop=lambda: bool(seen), isolated=True
    )
    assert len(seen) < 1000
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (FailureKind.CANCELLED, "the trial was asked to stop")
    assert result.energy is not None
    assert result.energy.duration_seconds > 0
    assert children.pids == [child]


@pytest.mark.slow
def test_a_stop_reaches_an_evaluation(child: int, children: WarmChildren, impatience: None) -> None:
    begun = Path(os.environ[BEGUN])
    result = isolated("slow-to-judge", should_stop=begun.exists)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.CANCELLED
    assert "misbehaving.py" in result.failure.traceback
    assert_the_next_trial_is_clean(children, child)


def test_a_trial_stopped_before_it_began_costs_nothing(children: WarmChildren) -> None:
    result = isolated(should_stop=lambda: True)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.CANCELLED
    assert result.energy is None


def test_epochs_come_one_by_one(child: int) -> None:
    seen: list[EpochMetrics] = []
    result = run_trial(make_spec("slow", epochs=3), on_epoch=seen.append, isolated=True)
    assert [(each.epoch, each.training_loss) for each in seen] == list(
        zip((1, 2, 3), result.training_loss, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_listener_that_raises_ends_the_process(child: int, error: type[BaseException]) -> None:
    def fail(_: EpochMetrics) -> None:
        raise error("no")

    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            run_trial(make_spec("slow", epochs=1000), on_epoch=fail, isolated=True)
    else:
        failure = run_trial(make_spec("slow", epochs=1000), on_epoch=fail, isolated=True).failure
        assert failure is not None
        assert failure.message == "ValueError: no"
    assert have_ended([child])


def test_a_diverged_trial_keeps_its_process(child: int, children: WarmChildren) -> None:
    result = isolated(recipe=Recipe(learning_rate=1e30), epochs=3)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.DIVERGED
    assert result.energy is not None
    clean = isolated()
    assert children.pids == [child]
    assert clean.failure is None
    assert all(math.isfinite(loss) for loss in clean.training_loss)


def test_a_configuration_that_cannot_be_keeps_its_process(child: int, children: WarmChildren) -> None:
    result = isolated("no-such")
    assert result.failure is not None
    assert result.failure.kind is FailureKind.CONFIGURATION
    assert children.pids == [child]


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        ("refuse", FailureKind.CRASHED, "RuntimeError: a bug in the network"),
        pytest.param("no-memory", FailureKind.OUT_OF_MEMORY, "MemoryError: ", marks=pytest.mark.slow),
    ],
)
def test_an_exception_is_a_failure_with_its_traceback_and_energy(
    child: int, children: WarmChildren, network: str, kind: FailureKind, message: str
) -> None:
    result = isolated(network)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == (kind, message)
    assert "misbehaving.py" in result.failure.traceback
    assert result.energy is not None
    assert "process_died" not in result.energy.flags
    assert_the_next_trial_is_clean(children, child)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("network", "kind"), [("assert-on-the-gpu", FailureKind.CRASHED), ("fill-the-gpu", FailureKind.OUT_OF_MEMORY)]
)
def test_what_goes_wrong_on_the_gpu_is_over_with_the_process(
    child: int, children: WarmChildren, network: str, kind: FailureKind
) -> None:
    result = isolated(network)
    assert result.failure is not None
    assert result.failure.kind is kind
    assert_the_next_trial_is_clean(children, child)


def test_what_a_trial_prints_disturbs_nothing(child: int, children: WarmChildren) -> None:
    assert isolated("chatter").failure is None
    assert children.pids == [child]


@pytest.mark.slow
def test_an_idle_process_that_was_killed_is_replaced(child: int, children: WarmChildren) -> None:
    os.kill(child, signal.SIGKILL)
    assert have_ended([child])
    assert_the_next_trial_is_clean(children, child)


def test_a_process_that_cannot_start_is_a_crashed_trial_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch today')")
    monkeypatch.syspath_prepend(str(tmp_path))
    children = WarmChildren()
    monkeypatch.setattr(isolation, "_warm_children", lambda: children)
    failure = isolated().failure
    assert failure is not None
    assert failure.kind is FailureKind.CRASHED
    assert failure.message == "the process of the trial exited with code 1 before the trial began"
    assert "no torch today" in failure.traceback
    with pytest.raises(ChildError, match="no torch today"):
        inspect_task("digits", "resnet8", isolated=True)
    children.close()


def test_facts_come_from_the_process(child: int, children: WarmChildren) -> None:
    assert inspect_task("digits", "resnet8", isolated=True) == inspect_task("digits", "resnet8")
    with pytest.raises(ConfigurationError, match=r"^network must be one of .* got 'no-such'"):
        inspect_task("digits", "no-such", isolated=True)
    assert children.pids == [child]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_warm", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_child_does_not_outlive_its_worker(number: signal.Signals, is_warm: bool) -> None:
    spec = make_spec("resnet8", epochs=100_000).model_dump_json()
    code = (
        "import threading, time\n"
        "from worker.entry import run_trial\n"
        "from worker.schema import TrialSpec\n"
        f"spec = TrialSpec.model_validate_json({spec!r})\n"
        "see = lambda _: print('epoch', flush=True)\n"
        "run = lambda: run_trial(spec, on_epoch=see, isolated=True)\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        if is_warm:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"epoch\n"
        while not (found := descendants(worker.pid)):
            time.sleep(0.02)
        worker.send_signal(number)
        assert have_ended([worker.pid])
    assert have_ended(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_child_that_is_still_loading_leaves_signals_to_its_worker(number: signal.Signals) -> None:
    process = ChildProcess()
    try:
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.001)
        os.kill(process.pid, number)
        assert next((message for message in messages(process) if message is not None), None) == Ready()
    finally:
        process.close()


@pytest.mark.slow
def test_a_worker_with_isolated_trials_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from worker.entry import inspect_task\n"
        "assert inspect_task('digits', 'resnet8', isolated=True).n_layers == 10\n"
        "print('torch' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"
    assert "Warning" not in out.stderr
