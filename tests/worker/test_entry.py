from __future__ import annotations

import os
import re

import pytest
import torch

from worker import trial
from worker.energy.sources import NoSource
from worker.entry import inspect_task, run_trial
from worker.errors import ConfigurationError, DivergedError
from worker.schema import FailureKind, Recipe, SiteSpec, TrialResult, TrialSpec


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8", "recipe": Recipe()}
    return TrialSpec(**{**fields, "shift_depth": 3, "epochs": 1, "attempt": 2, **changes})


@pytest.fixture(autouse=True)
def no_energy(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())


def test_a_trial_completes_with_four_objectives():
    result = run_trial(make_spec())

    assert result.failure is None
    assert set(result.objectives) == {"error", "deployment_energy", "energy", "emissions"}
    assert all(m.unit and m.method and m.quality for m in result.objectives.values())
    assert len(result.training_loss) == 1
    assert (result.study_id, result.trial_id, result.attempt) == ("s", "t", 2)


def test_a_result_names_its_worker_and_its_duration():
    result = run_trial(make_spec())

    assert re.fullmatch(rf".+:{os.getpid()}", result.worker)
    assert result.duration_seconds >= result.energy.duration_seconds > 0


def test_a_result_survives_json():
    result = run_trial(make_spec())

    assert TrialResult.model_validate_json(result.model_dump_json()) == result


def test_the_same_spec_gives_the_same_error_and_loss():
    first, second = run_trial(make_spec()), run_trial(make_spec())

    assert first.objectives["error"] == second.objectives["error"]
    assert first.training_loss == second.training_loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "vgg99"}, "ConfigurationError: network must be one of .* got 'vgg99'"),
        ({"shift_depth": 11}, r"ConfigurationError: shift_depth of resnet8: depth must be 0\.\.10.* got 11"),
        ({"dataset": "imagenet"}, "ConfigurationError: dataset must be one of .* got 'imagenet'"),
        ({"dataset": "cifar10"}, "ConfigurationError: data_dir is needed for dataset cifar10"),
        ({"dataset": "cifar10", "data_dir": "/nowhere"}, "ConfigurationError: data_dir .* got /nowhere"),
    ],
)
def test_what_cannot_be_is_a_failure_of_the_configuration(changes, message):
    result = run_trial(make_spec(**changes))

    assert result.failure.kind is FailureKind.CONFIGURATION
    assert re.match(message, result.failure.message)
    assert result.objectives == {}


def test_a_run_that_leaves_the_finite_numbers_diverged():
    result = run_trial(make_spec(shift_depth=0, recipe=Recipe(learning_rate=1e30)))

    assert result.failure.kind is FailureKind.DIVERGED
    assert "training loss of epoch" in result.failure.message


def test_what_a_failed_trial_spent_is_not_lost():
    result = run_trial(make_spec(shift_depth=0, recipe=Recipe(learning_rate=1e30)))

    assert result.energy is not None
    assert result.energy.duration_seconds > 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("no room"), FailureKind.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("no room on the GPU"), FailureKind.OUT_OF_MEMORY),
        (RuntimeError("a bug"), FailureKind.CRASHED),
        (ValueError("a bug"), FailureKind.CRASHED),
        (ConfigurationError("no such thing"), FailureKind.CONFIGURATION),
        (DivergedError("nan"), FailureKind.DIVERGED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_exception_becomes_a_failure_of_its_kind(monkeypatch, error, kind):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(trial, "run", fail)

    result = run_trial(make_spec())

    assert result.failure.kind is kind
    assert result.failure.message == f"{type(error).__name__}: {error}"
    assert "in fail" in result.failure.traceback
    assert (result.study_id, result.trial_id, result.attempt) == ("s", "t", 2)
    assert result.worker


def test_an_interrupt_is_no_failure_of_the_trial(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run", interrupt)

    with pytest.raises(KeyboardInterrupt):
        run_trial(make_spec())


def test_the_facts_of_a_task_are_resolved():
    facts = inspect_task("digits", "resnet8")

    assert (facts.n_layers, facts.image_shape, facts.n_classes) == (10, (1, 8, 8), 10)


@pytest.mark.parametrize(("dataset", "network"), [("imagenet", "resnet8"), ("digits", "vgg99"), ("cifar10", "resnet8")])
def test_the_facts_of_what_cannot_be_are_an_error(dataset, network):
    with pytest.raises(ConfigurationError):
        inspect_task(dataset, network)


def test_the_facts_of_a_site_that_no_table_knows_are_an_error():
    with pytest.raises(ConfigurationError, match="got 'XYZ'"):
        inspect_task("digits", "resnet8", site=SiteSpec(country="XYZ"))


def test_epochs_are_told_while_the_trial_goes_on():
    seen = []

    result = run_trial(make_spec(epochs=2), on_epoch=seen.append)

    assert [(m.epoch, m.training_loss) for m in seen] == list(enumerate(result.training_loss, start=1))
    assert {(m.study_id, m.trial_id, m.attempt) for m in seen} == {("s", "t", 2)}


def test_a_trial_that_is_asked_to_stop_was_cancelled():
    seen = []

    result = run_trial(make_spec(epochs=1000), on_epoch=seen.append, should_stop=lambda: len(seen) == 2)

    assert result.failure.kind is FailureKind.CANCELLED
    assert len(seen) == 2
    assert result.energy is not None


def test_a_trial_past_its_limit_of_time_says_so():
    result = run_trial(make_spec(epochs=1000, time_limit_seconds=0.2))

    assert result.failure.kind is FailureKind.TIME_LIMIT
    assert result.failure.message == "the trial ran longer than its limit of 0.2 s"
    assert result.failure.traceback == ""
    assert result.duration_seconds > 0.2


def test_an_error_after_the_limit_of_time_is_itself(monkeypatch):
    def fail(_spec, _on_interim, _on_epoch, should_stop, **_):
        assert should_stop()
        raise RuntimeError("a bug")

    monkeypatch.setattr(trial, "run", fail)

    assert run_trial(make_spec(time_limit_seconds=1e-9)).failure.kind is FailureKind.CRASHED
