"""Trials that are told to stop in the middle, and what the next attempt makes of what they left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.test_checkpoint import TenJoules, make_spec
from worker import trial
from worker.entry import run_trial
from worker.errors import StoppedError
from worker.schema import FailureKind, Recipe, TrialResult
from worker.trial import run

# Batches of an epoch of a fifth of the digits, 16 images each.
SMALL = {"data_fraction": 0.2, "epochs": 3}


@pytest.fixture(autouse=True)
def ten_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())


def after(n_batches: int) -> Callable[[], bool]:
    """Asks for the end after so many batches."""
    left = iter(range(n_batches - 1))
    return lambda: next(left, None) is None


def rescued(n_batches: int, *more: int, **fields: object) -> TrialResult:
    """The result of a trial that was stopped after so many batches, and again after so many more."""
    spec = make_spec(**fields)
    for attempt, n in enumerate((n_batches, *more), 1):
        with pytest.raises(StoppedError):
            run(spec.model_copy(update={"attempt": attempt}), should_stop=after(n))
    return run(spec.model_copy(update={"attempt": len(more) + 2}))


@pytest.mark.parametrize(
    ("n_batches", "more", "recipe"),
    [
        (1, (), {}),
        (20, (), {"optimizer": "adam", "schedule": "cosine", "quantizer": "deepshift-q"}),
        (15, (18, 1), {"rounding": "stochastic-linear", "schedule": "one-cycle", "augmentation": ("flip", "crop")}),
    ],
)
def test_a_trial_that_was_stopped_comes_to_what_it_would_have(
    n_batches: int, more: tuple[int, ...], recipe: dict[str, object], tmp_path: Path
) -> None:
    fields = SMALL | {"recipe": Recipe(**{"learning_rate": 0.02, "batch_size": 16} | recipe)}
    whole = run(make_spec(**fields))
    result = rescued(n_batches, *more, **fields, rescue_to=str(tmp_path / "t.pt"))
    assert len(whole.training_loss) == 3
    assert result.training_loss == whole.training_loss
    assert result.objectives["error"] == whole.objectives["error"]
    assert list(tmp_path.iterdir()) == []  # nobody needs it any more


def test_a_trial_stopped_at_the_end_of_an_epoch_tells_every_epoch_once(tmp_path: Path) -> None:
    spec = make_spec(**SMALL, recipe=Recipe(learning_rate=0.02, batch_size=1000), rescue_to=str(tmp_path / "t.pt"))
    told: list[int] = []
    with pytest.raises(StoppedError):
        run(spec, on_epoch=lambda metrics: told.append(metrics.epoch), should_stop=after(2))
    run(spec.model_copy(update={"attempt": 2}), on_epoch=lambda metrics: told.append(metrics.epoch))
    assert told == [1, 2, 3]


def test_what_the_stopped_attempt_spent_is_part_of_what_the_trial_costs(tmp_path: Path) -> None:
    result = rescued(9, 9, **SMALL, recipe=Recipe(learning_rate=0.02, batch_size=16), rescue_to=str(tmp_path / "t.pt"))
    assert result.energy is not None and result.energy.joules == 10.0  # of the last attempt alone, for the ledger
    assert result.objectives["energy"].value == 30.0
    assert [(leg.trial_id, leg.joules) for leg in result.earlier_legs] == [("t", 10.0), ("t", 10.0)]


def test_a_promoted_trial_goes_on_from_itself_before_the_one_below(tmp_path: Path) -> None:
    below, place = str(tmp_path / "below.pt"), str(tmp_path / "t.pt")
    recipe = Recipe(learning_rate=0.02, batch_size=16)
    fields = {"recipe": recipe, "data_fraction": 0.2, "resume_from": below}
    run(make_spec(trial_id="below", recipe=recipe, data_fraction=0.2, shift_depth=1, checkpoint_to=below))
    whole = run(make_spec(**fields, epochs=3))
    result = rescued(5, **fields, epochs=3, rescue_to=place)
    assert result.training_loss == whole.training_loss
    assert [leg.trial_id for leg in result.earlier_legs] == ["below", "t"]


def test_what_is_not_of_an_earlier_attempt_at_this_trial_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = str(tmp_path / "t.pt")
    fields = {"recipe": Recipe(learning_rate=0.02, batch_size=16), "data_fraction": 0.2, "rescue_to": place}
    with caplog.at_level(logging.WARNING):
        whole = run(make_spec(**fields, attempt=2))  # nothing is there
    assert caplog.text == ""
    with pytest.raises(StoppedError):
        run(make_spec(**fields), should_stop=after(2))
    assert run(make_spec(**fields)).training_loss == whole.training_loss
    assert run(make_spec(**fields, trial_id="other", attempt=2)).earlier_legs == ()
    assert run(make_spec(**fields, attempt=2)).earlier_legs == ()  # the other one has taken it away


def test_what_cannot_be_left_is_said_and_the_trial_ends_as_it_would(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    result = run_trial(make_spec(rescue_to=str(tmp_path / "file" / "t.pt")), should_stop=lambda: True)
    assert result.failure is not None and result.failure.kind is FailureKind.CANCELLED
    assert "what was trained cannot be written" in caplog.text


@pytest.mark.timeout(100)
def test_the_process_of_a_trial_leaves_its_training_before_it_ends(tmp_path: Path) -> None:
    place, epochs = tmp_path / "t.pt", []
    spec = make_spec(epochs=40, recipe=Recipe(learning_rate=0.02, batch_size=64), rescue_to=str(place))
    first = run_trial(spec, on_epoch=epochs.append, should_stop=lambda: len(epochs) > 1, isolated=True)
    assert first.failure is not None and first.failure.kind is FailureKind.CANCELLED
    assert place.exists()
    spec = spec.model_copy(update={"attempt": 2})
    again: list[int] = []
    run_trial(
        spec, on_epoch=lambda metrics: again.append(metrics.epoch), should_stop=lambda: bool(again), isolated=True
    )
    assert again[0] > epochs[1].epoch
