"""Attempts that are told to end in the middle, and what the next one makes of what they left."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.test_checkpoint import TenJoules, make_spec
from worker import supervision, trial
from worker.energy.reading import NoSource, Reading
from worker.entry import run_trial
from worker.rescue import Rescued, save_rescued
from worker.schema import EpochMetrics, FailureKind, Interim, Recipe, TrialResult, TrialSpec

# Fifteen batches an epoch, of a fifth of the digits.
RECIPE = Recipe(learning_rate=0.02, schedule="cosine", batch_size=16)
SMALL: dict[str, Any] = {"data_fraction": 0.2, "epochs": 3, "recipe": RECIPE}
N_BATCHES = 15


@pytest.fixture(autouse=True)
def ten_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())


def after(n_asked: int) -> Callable[[], bool]:
    """Tells to end when it is asked so often."""
    left = iter(range(n_asked - 1))
    return lambda: next(left, None) is None


def attempt_at(spec: TrialSpec, number: int, earlier: TrialResult | None, folder: Path) -> TrialSpec:
    """The spec of an attempt, as a coordinator makes it."""
    rescued = earlier.rescued if earlier is not None else None
    return spec.model_copy(update={"attempt": number, "rescue_to": str(folder), "rescued": rescued})


def cut_off(spec: TrialSpec, folder: Path, *n_batches: int) -> list[TrialResult]:
    """Results of attempts that were told to end after so many batches each, and of the one after them."""
    results: list[TrialResult] = []
    for number, n in enumerate((*n_batches, 0), 1):
        told = attempt_at(spec, number, results[-1] if results else None, folder)
        results.append(run_trial(told, should_stop=after(n) if n else lambda: False))
    assert [r.failure.kind for r in results if r.failure] == [FailureKind.CANCELLED] * len(n_batches)
    return results


def known(result: TrialResult) -> dict[str, Any]:
    """What a trial came to, without what it spent."""
    spent = ("energy", "emissions")
    figures = [{name: m for name, m in of.items() if name not in spent} for of in (result.objectives, *result.by_seed)]
    return {"figures": figures, "loss": result.training_loss, "layers": result.layers}


@pytest.mark.parametrize(
    ("n_batches", "recipe", "more"),
    [
        ((1,), {}, {}),
        ((N_BATCHES,), {"optimizer": "ranger", "quantizer": "deepshift-q"}, {}),
        ((20,), {"optimizer": "adam", "weight_decay": 1e-3}, {"family": "int8"}),
        ((15, 18, 1), {"rounding": "stochastic-linear", "schedule": "one-cycle", "augmentation": ("flip", "crop")}, {}),
        ((3 * N_BATCHES,), {"optimizer": "adadelta", "schedule": "one-cycle", "nesterov": True}, {}),
        ((20, 20), {"optimizer": "radam", "schedule": "step"}, {"network": "resnet8", "family": "float"}),
    ],
)
def test_a_trial_that_was_cut_off_comes_to_the_very_result_that_it_would_have_had(
    n_batches: tuple[int, ...], recipe: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    spec = make_spec(**SMALL | more | {"recipe": RECIPE.model_copy(update=recipe)})
    whole = run_trial(spec)
    *_, result = cut_off(spec, tmp_path, *n_batches)
    assert len(whole.training_loss) == 3
    assert known(result) == known(whole)
    assert result.rescued is None


def test_the_weights_and_the_checkpoint_are_those_of_a_trial_that_was_not_disturbed(tmp_path: Path) -> None:
    places = [{"model_path": str(tmp_path / f"{n}.safetensors"), "checkpoint_to": str(tmp_path / n)} for n in "ab"]
    run_trial(make_spec(**SMALL, **places[0]))
    cut_off(make_spec(**SMALL, **places[1]), tmp_path, 25)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    above = [run_trial(make_spec(**SMALL | {"epochs": 4}, resume_from=place["checkpoint_to"])) for place in places]
    assert known(above[0]) == known(above[1])
    assert [r.objectives["energy"].value for r in above] == [20.0, 30.0]


def test_a_trial_cut_off_at_the_end_of_an_epoch_tells_every_epoch_once(tmp_path: Path) -> None:
    told: list[int] = []
    spec, first = make_spec(**SMALL), None
    for number, n in enumerate((2 * N_BATCHES, 0), 1):
        should_stop = after(n) if n else lambda: False
        first = run_trial(
            attempt_at(spec, number, first, tmp_path),
            on_epoch=lambda metrics: told.append(metrics.epoch),
            should_stop=should_stop,
        )
    assert told == [1, 2, 3]


def test_every_joule_is_counted_once(tmp_path: Path) -> None:
    results = cut_off(make_spec(**SMALL), tmp_path, 9, 20)
    # For the ledger, that of each attempt alone.
    assert [r.energy.joules for r in results if r.energy] == [10.0, 10.0, 10.0]
    assert [(leg.trial_id, leg.epochs, leg.joules) for leg in results[2].earlier_legs] == [
        ("t", 0, 10.0),
        ("t", 1, 10.0),
    ]
    energy = results[2].objectives["energy"]
    assert (energy.value, energy.method, energy.quality) == (30.0, "nvml_energy_delta", "measured")


def test_the_seconds_of_all_attempts_are_those_of_the_trial_and_held_to_its_limit(tmp_path: Path) -> None:
    spec = make_spec(**SMALL)
    first, second, third = cut_off(spec, tmp_path, 9, 9)
    assert first.seconds_before == 0.0
    assert 0 < second.seconds_before <= first.duration_seconds
    assert second.seconds_before < third.seconds_before <= first.duration_seconds + second.duration_seconds
    assert third.seconds == third.seconds_before + third.duration_seconds
    # Less than the attempts before took: whatever is left to train is too much.
    limited = attempt_at(spec, 3, second, tmp_path).model_copy(update={"time_limit_seconds": third.seconds_before})
    late = run_trial(limited)
    assert late.failure is not None
    assert late.failure.kind is FailureKind.TIME_LIMIT
    assert late.training_loss == ()
    assert run_trial(limited.model_copy(update={"time_limit_seconds": 600.0})).failure is None


def test_seeds_that_are_done_are_kept_whole(tmp_path: Path) -> None:
    spec = make_spec(**SMALL | {"epochs": 1}, n_seeds=3)
    whole = run_trial(spec)
    # In the first seed, in the second, in the second again, in the third.
    results = cut_off(spec, tmp_path, 5, N_BATCHES - 5 + 3, 4, N_BATCHES - 7 + 2)
    assert known(results[-1]) == known(whole)
    assert len(results[-1].by_seed) == 3
    assert [r.energy.joules for r in results if r.energy] == [10.0, 20.0, 10.0, 20.0, 10.0]
    assert results[-1].objectives["energy"].value == 70.0
    assert sum(leg.joules or 0 for leg in results[-1].earlier_legs) == 60.0
    assert sum(leg.epochs for leg in results[-1].earlier_legs) == 2
    assert results[-1].attempt == 5


def test_a_trial_that_was_promoted_goes_on_from_itself_before_the_one_below(tmp_path: Path) -> None:
    below = str(tmp_path / "below.pt")
    run_trial(make_spec(**SMALL | {"epochs": 1}, trial_id="below", shift_depth=1, checkpoint_to=below))
    spec = make_spec(**SMALL, resume_from=below)
    whole = run_trial(spec)
    first, result = cut_off(spec, tmp_path, 5)
    assert known(result) == known(whole)
    assert [leg.trial_id for leg in first.earlier_legs] == ["below"]
    assert [leg.trial_id for leg in result.earlier_legs] == ["below", "t"]
    assert result.objectives["energy"].value == 30.0


def test_what_is_told_to_end_after_its_training_need_not_train_again(tmp_path: Path) -> None:
    spec = make_spec(**SMALL | {"epochs": 1}, extra_objectives=("inference_energy",))
    first = run_trial(attempt_at(spec, 1, None, tmp_path), should_stop=after(N_BATCHES + 1))
    assert first.failure is not None and first.failure.kind is FailureKind.CANCELLED
    told: list[int] = []
    spec = spec.model_copy(update={"extra_objectives": ()})
    result = run_trial(attempt_at(spec, 2, first, tmp_path), on_epoch=lambda metrics: told.append(metrics.epoch))
    assert (told, result.failure) == ([], None)
    assert known(result) == known(run_trial(spec))


@pytest.mark.parametrize("why", ["other energy", "unknown energy", "other trial", "nothing", "no rescue"])
def test_what_is_of_no_use_is_left_alone(
    why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(**SMALL)
    if why == "unknown energy":
        monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())
    first = run_trial(attempt_at(spec, 1, None, tmp_path), should_stop=after(20))
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())
    assert first.rescued == 1
    if why == "other energy":
        monkeypatch.setattr(trial, "open_source", lambda _uuid: OtherJoules())
    elif why == "other trial":
        spec = spec.model_copy(update={"trial_id": "u"})
    elif why == "nothing":
        (tmp_path / "1.pt").unlink()
    elif why == "no rescue":
        (tmp_path / "1.pt").write_bytes(b"no rescue")
    result = run_trial(attempt_at(spec, 2, first, tmp_path))
    assert f"trial {spec.trial_id} begins anew: " in caplog.text
    assert (result.earlier_legs, result.seconds_before) == ((), 0.0)
    assert result.objectives["energy"].value == 10.0
    assert known(result) == known(run_trial(spec))


class OtherJoules(TenJoules):
    method = "nvml_power_integral"


def test_where_nothing_can_be_measured_a_trial_goes_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())
    *_, result = cut_off(make_spec(**SMALL), tmp_path, 20)
    assert [leg.joules for leg in result.earlier_legs] == [None]
    assert result.objectives["energy"].value is None


def test_what_cannot_be_left_is_said_and_what_an_earlier_attempt_left_is_there_still(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    spec = make_spec(**SMALL, rescue_to=str(tmp_path / "file"))
    first = run_trial(spec, should_stop=after(5))
    assert first.failure is not None and first.failure.kind is FailureKind.CANCELLED
    assert first.rescued is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "what was trained cannot be written" in caplog.text
    good = run_trial(attempt_at(spec, 1, None, tmp_path), should_stop=after(5))

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("worker.rescue.save_document", fail)
    second = run_trial(attempt_at(spec, 2, good, tmp_path), should_stop=after(5))
    assert (good.rescued, second.rescued) == (1, 1)
    assert second.seconds_before > 0


class UnknownJoules(TenJoules):
    """A window that somebody else has used as well."""

    def end(self) -> Reading:
        return Reading(None, ("shared_gpu",))


def test_what_the_next_attempt_would_refuse_takes_the_place_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(**SMALL)
    first = run_trial(attempt_at(spec, 1, None, tmp_path), should_stop=after(20))
    monkeypatch.setattr(trial, "open_source", lambda _uuid: UnknownJoules())
    second = run_trial(attempt_at(spec, 2, first, tmp_path), should_stop=after(5))
    assert (first.rescued, second.rescued) == (1, 1)
    assert "trial t leaves nothing of this attempt: its training has energy by none" in caplog.text
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())
    third = run_trial(attempt_at(spec, 3, second, tmp_path))
    assert third.objectives["energy"].value == 20.0
    assert known(third) == known(run_trial(spec))


def test_the_peak_of_memory_is_that_of_all_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(**SMALL, extra_objectives=("peak_memory_bytes",))
    status = tmp_path / "status"
    monkeypatch.setattr("worker.objectives._STATUS", status)
    results: list[TrialResult] = []
    for number, (kilobytes, n_batches) in enumerate([(500, 5), (300, 5), (400, 0)], 1):
        status.write_text(f"VmHWM:  {kilobytes} kB\n")
        told = attempt_at(spec, number, results[-1] if results else None, tmp_path)
        results.append(run_trial(told, should_stop=after(n_batches) if n_batches else lambda: False))
    assert results[-1].objectives["peak_memory_bytes"].value == 500 * 1024


def test_an_attempt_that_comes_to_nothing_leaves_what_an_earlier_one_left(tmp_path: Path) -> None:
    first = run_trial(attempt_at(make_spec(**SMALL), 1, None, tmp_path), should_stop=after(5))
    spec = attempt_at(make_spec(**SMALL | {"data_dir": "/nowhere", "dataset": "fashion-mnist"}), 2, first, tmp_path)
    second = run_trial(spec)
    assert second.failure is not None
    assert second.rescued == first.rescued == 1
    assert not (tmp_path / "2.pt").exists()


def test_what_a_trial_spends_is_known_before_what_it_leaves_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Interim] = []
    monkeypatch.setattr("worker.rescue.save_document", lambda *_: told.append(Interim(rescued=7)))
    run_trial(attempt_at(make_spec(**SMALL), 1, None, tmp_path), should_stop=after(5), on_interim=told.append)
    assert [(i.energy is not None, i.rescued) for i in told[-3:]] == [
        (True, None),
        (False, 7),
        (True, 1),
    ]


def test_nobody_interrupts_what_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = []
    monkeypatch.setattr("worker.rescue.save_document", lambda *_: handlers.append(signal.getsignal(signal.SIGUSR1)))
    before = signal.getsignal(signal.SIGUSR1)
    spec = make_spec(rescue_to=str(tmp_path))
    assert save_rescued(Rescued("t"), spec, lambda: trial.make_meter(torch.device("cpu")))
    assert (handlers, signal.getsignal(signal.SIGUSR1)) == ([signal.SIG_IGN], before)


@pytest.mark.slow
def test_the_process_of_a_trial_leaves_its_training_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may pause a process: it is not interrupted for that.
    monkeypatch.setattr(supervision, "INTERRUPT_SECONDS", 60.0)
    monkeypatch.setattr(supervision, "KILL_SECONDS", 120.0)
    epochs: list[int] = []
    spec = make_spec(epochs=40, recipe=Recipe(learning_rate=0.02, batch_size=64))
    first = run_trial(
        attempt_at(spec, 1, None, tmp_path),
        on_epoch=lambda metrics: epochs.append(metrics.epoch),
        should_stop=lambda: len(epochs) > 1,
        isolated=True,
    )
    assert (first.failure and first.failure.kind, first.rescued) == (FailureKind.CANCELLED, 1)
    again: list[int] = []
    second = run_trial(
        attempt_at(spec, 2, first, tmp_path),
        on_epoch=lambda metrics: again.append(metrics.epoch),
        should_stop=lambda: bool(again),
        isolated=True,
    )
    assert again[0] == epochs[-1] + 1
    assert 0 < second.seconds_before <= first.duration_seconds
    limited = attempt_at(spec, 3, second, tmp_path).model_copy(update={"time_limit_seconds": second.seconds})
    too_late: list[EpochMetrics] = []
    late = run_trial(limited, on_epoch=too_late.append, isolated=True)
    assert late.failure is not None
    assert late.failure.kind is FailureKind.TIME_LIMIT
    assert too_late == []
