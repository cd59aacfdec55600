from __future__ import annotations

import copy
import logging
import typing
from pathlib import Path

import pytest
import torch
from torch import nn

from worker import trial
from worker.checkpoint import Checkpoint, load_checkpoint, optimizer_state, restore_optimizer, save_checkpoint
from worker.energy.sources import NoSource, Reading
from worker.entry import run_trial
from worker.errors import ConfigurationError
from worker.optimizers import make_optimizer
from worker.schema import FailureKind, Leg, Method, OptimizerName, Quality, Recipe, TrialSpec
from worker.trial import run

LEG = Leg(trial_id="a", epochs=2, joules=3.0, emissions_grams=None, method="nvml_energy_delta", device="GPU")


class TenJoules:
    """A counter that reads ten joules for every window."""

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(10.0)


@pytest.fixture(autouse=True)
def ten_joules(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8"}
    recipe = Recipe(learning_rate=0.02, schedule="constant")
    return TrialSpec(**{**fields, "recipe": recipe, "shift_depth": 3, "epochs": 1, **changes})


def checkpoint() -> Checkpoint:
    return Checkpoint(
        trial_id="a",
        epochs=2,
        shift_depth=3,
        model={"weight": torch.randn(2, 3)},
        optimizer={"weight": {"momentum_buffer": torch.randn(2, 3), "step": 4}},
        generator=torch.Generator().manual_seed(5).get_state(),
        legs=(LEG,),
    )


@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_a_checkpoint_comes_back_from_any_store(kind, tmp_path):
    url = {"path": f"{tmp_path}/new/a.pt", "file": f"file://{tmp_path}/a.pt", "memory": "memory://study/a.pt"}[kind]
    saved = checkpoint()

    save_checkpoint(saved, url)
    loaded = load_checkpoint(url)

    assert (loaded.trial_id, loaded.epochs, loaded.shift_depth, loaded.legs) == ("a", 2, 3, (LEG,))
    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert torch.equal(loaded.optimizer["weight"]["momentum_buffer"], saved.optimizer["weight"]["momentum_buffer"])
    assert torch.equal(loaded.generator, saved.generator)


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    for _ in range(2):
        save_checkpoint(checkpoint(), f"{tmp_path}/a.pt")

    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"])
def test_what_cannot_be_read_is_none_with_a_warning(content, tmp_path, caplog):
    if content is not None:
        (tmp_path / "a.pt").write_bytes(content)

    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(f"{tmp_path}/a.pt") is None

    assert "training starts from the beginning" in caplog.text


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Malicious()}, tmp_path / "a.pt")

    assert load_checkpoint(str(tmp_path / "a.pt")) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", typing.get_args(OptimizerName))
def test_an_optimizer_remembers_by_the_names_of_parameters(name):
    recipe = Recipe(optimizer=name)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    before = make_optimizer(first, recipe)
    x = torch.randn(4, 3)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    for _ in range(4):
        step(first, before)
    second.load_state_dict(first.state_dict())
    after = make_optimizer(second, recipe)
    restore_optimizer(after, second, copy.deepcopy(optimizer_state(before, first)))
    # Ranger looks ahead at every sixth step.
    for _ in range(8):
        step(first, before)
        step(second, after)

    assert torch.equal(first.weight, second.weight)


def test_a_parameter_of_another_shape_is_not_given_what_it_never_had():
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, Recipe())

    restore_optimizer(optimizer, model, {"weight": {"momentum_buffer": torch.zeros(5)}, "gone": {"step": 1}})

    assert not optimizer.state


# Trials that go on


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_a_trial_in_two_legs_equals_one_trial(quantizer, tmp_path):
    recipe = Recipe(learning_rate=0.02, schedule="constant", quantizer=quantizer, optimizer="adam")
    url = str(tmp_path / "first.pt")

    whole = run(make_spec(recipe=recipe, epochs=3))
    first = run(make_spec(recipe=recipe, epochs=1, checkpoint_to=url))
    rest = run(make_spec(recipe=recipe, epochs=3, resume_from=url))

    assert first.training_loss + rest.training_loss == whole.training_loss
    assert rest.objectives["error"] == whole.objectives["error"]


def test_further_layers_are_converted_and_what_was_learned_is_kept(tmp_path):
    first, last = str(tmp_path / "first.pt"), str(tmp_path / "last.pt")
    run(make_spec(shift_depth=2, epochs=2, checkpoint_to=first))

    run(make_spec(shift_depth=4, epochs=2, resume_from=first, checkpoint_to=last))

    before, after = load_checkpoint(first), load_checkpoint(last)
    assert (before.shift_depth, after.shift_depth) == (2, 4)
    # No epoch was left to train: what is in both networks is equal.
    common = before.model.keys() & after.model.keys()
    assert len(common) > 20
    assert all(torch.equal(before.model[name], after.model[name]) for name in common)
    assert sum(name.endswith(".shift") for name in after.model) == 4


def test_the_energy_of_all_legs_is_the_objective_and_that_of_the_last_is_the_report(tmp_path):
    url, next_url = str(tmp_path / "a.pt"), str(tmp_path / "b.pt")
    run(make_spec(trial_id="a", checkpoint_to=url))
    run(make_spec(trial_id="b", epochs=2, resume_from=url, checkpoint_to=next_url))

    asked = ("water_litres", "embodied_grams")
    result = run(make_spec(trial_id="c", epochs=4, resume_from=next_url, extra_objectives=asked))

    assert result.energy.joules == 10.0
    assert result.objectives["energy"].value == 30.0
    assert result.objectives["emissions"].value == pytest.approx(3 * result.energy.emissions_grams)
    water, embodied = result.objectives["water_litres"], result.objectives["embodied_grams"]
    assert (water.value, water.quality) == (pytest.approx(3 * result.energy.water_litres), "estimated")
    making = [part.embodied_grams for part in (*result.earlier_legs, result.energy)]
    assert (embodied.value, embodied.quality) == (pytest.approx(sum(making)), "estimated")
    assert [(leg.trial_id, leg.epochs) for leg in result.earlier_legs] == [("a", 1), ("b", 1)]
    assert len(result.training_loss) == 2


def test_a_trial_that_fails_keeps_the_legs_that_it_went_on_from(tmp_path):
    url = str(tmp_path / "a.pt")
    run(make_spec(trial_id="a", checkpoint_to=url))
    recipe = Recipe(learning_rate=1e30, schedule="constant")

    result = run_trial(make_spec(trial_id="b", epochs=2, resume_from=url, recipe=recipe))

    assert result.failure.kind is FailureKind.DIVERGED
    assert result.energy.joules == 10.0
    assert [(leg.trial_id, leg.epochs, leg.joules) for leg in result.earlier_legs] == [("a", 1, 10.0)]


def test_a_trial_that_fails_before_it_trains_keeps_them_too(tmp_path):
    url = str(tmp_path / "a.pt")
    run(make_spec(trial_id="a", checkpoint_to=url))

    result = run_trial(make_spec(trial_id="b", epochs=2, resume_from=url, shift_depth=11))

    assert result.failure.kind is FailureKind.CONFIGURATION
    assert (result.energy, [leg.trial_id for leg in result.earlier_legs]) == (None, ["a"])


def test_legs_read_in_different_ways_are_not_added(tmp_path, monkeypatch):
    url = str(tmp_path / "a.pt")
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())
    run(make_spec(checkpoint_to=url))
    monkeypatch.setattr(trial, "open_source", lambda _uuid: TenJoules())

    result = run(make_spec(epochs=2, resume_from=url))

    assert result.energy.joules == 10.0
    assert result.objectives["energy"].value is None
    assert result.objectives["emissions"].value is None


def test_a_trial_whose_checkpoint_is_gone_trains_from_the_beginning(tmp_path):
    result = run(make_spec(epochs=2, resume_from=str(tmp_path / "gone.pt")))

    assert len(result.training_loss) == 2
    assert result.earlier_legs == ()


def test_a_training_that_goes_on_needs_the_weights_it_once_started_from_no_more(tmp_path):
    url = str(tmp_path / "a.pt")
    run(make_spec(epochs=1, checkpoint_to=url))

    result = run(make_spec(epochs=2, resume_from=url, weights_path=str(tmp_path / "gone.safetensors")))

    assert len(result.training_loss) == 1


@pytest.mark.parametrize("more", [{"shift_depth": 2}, {"epochs": 1}])
def test_a_checkpoint_of_more_than_the_trial_asks_for_is_refused(tmp_path: Path, more: dict[str, int]) -> None:
    url = str(tmp_path / "first.pt")
    run(make_spec(shift_depth=4, epochs=2, checkpoint_to=url))
    with pytest.raises(ConfigurationError, match="resume_from: its network has 4 layers converted and 2 epochs"):
        run(make_spec(**({"shift_depth": 4, "epochs": 3} | more), resume_from=url))
