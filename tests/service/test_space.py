from __future__ import annotations

import json
from typing import Any

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

from service.errors import InputError
from service.space import build_space
from tests.service.fakes import N_LAYERS, study_spec
from worker.schema import Recipe

KNOBS = {"shift_depth", "epochs"}
EPOCHS = {"name": "epochs", "min_fidelity": 2, "max_fidelity": 20}
LOG_SCALES = {
    "learning_rate",
    "weight_decay",
    "batch_size",
    "activation_integer_bits",
    "activation_fraction_bits",
}


def space_of(**changes: Any) -> ConfigurationSpace:
    return build_space(study_spec(**changes), N_LAYERS)


def custom(*hyperparameters: Any) -> dict[str, Any]:
    space = ConfigurationSpace()
    space.add(*hyperparameters)
    return json.loads(json.dumps(space.to_serialized_dict()))


def test_learning_rate_decay_and_sizes_are_searched_on_log_scales() -> None:
    space = space_of()
    assert {name for name in space if getattr(space[name], "log", False)} == LOG_SCALES


@pytest.mark.parametrize(("optimizer", "has_momentum"), [("sgd", True), ("rmsprop", True), ("adam", False)])
def test_momentum_is_active_where_the_optimizer_has_one(optimizer: str, has_momentum: bool) -> None:
    configs = space_of().sample_configuration(200)
    seen = {"momentum" in config for config in configs if config["optimizer"] == optimizer}
    assert seen == {has_momentum}


def test_the_papers_space_has_13_hyperparameters_at_full_fidelity() -> None:
    assert len(space_of(space="paper", fidelity=None)) == 13


@pytest.mark.parametrize("name", ["dsnn", "paper"])
def test_a_knob_that_is_the_fidelity_is_no_hyperparameter(name: str) -> None:
    assert KNOBS & set(space_of(space=name, fidelity=EPOCHS)) == {"shift_depth"}
    assert KNOBS & set(space_of(space=name)) == {"epochs"}
    together = {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 10, "together": {"epochs": [1, 9]}}
    assert KNOBS & set(space_of(space=name, fidelity=together)) == set()


@pytest.mark.parametrize("name", ["dsnn", "paper"])
def test_the_default_config_is_the_recipes_default(name: str) -> None:
    config = dict(space_of(space=name, fidelity=None).get_default_configuration())
    assert config.pop("shift_depth") == N_LAYERS
    assert config.pop("epochs") == 20
    default = Recipe().model_dump()
    assert config == pytest.approx({key: default[key] for key in config})


def test_the_named_fidelity_may_not_be_deeper_than_the_network() -> None:
    with pytest.raises(InputError, match=r"^fidelity\.max_fidelity: .*1\.\.10.*resnet8.*got 11$"):
        space_of(fidelity={"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 11})


@pytest.mark.parametrize("ends", [[1, 12], [12, 1]])
def test_a_depth_together_with_epochs_may_not_be_deeper_than_the_network(ends: list[int]) -> None:
    with pytest.raises(InputError, match=r"^fidelity\.together\.shift_depth: .*1\.\.10.*got 12$"):
        space_of(fidelity=EPOCHS | {"together": {"shift_depth": ends}})


def test_a_fidelity_of_epochs_may_exceed_the_number_of_layers() -> None:
    assert "epochs" not in space_of(fidelity=EPOCHS | {"max_fidelity": 50})


def test_a_space_of_the_users_own_is_accepted() -> None:
    mine = custom(Float("learning_rate", (0.01, 0.1), log=True), Categorical("optimizer", ["sgd", "ranger"]))
    assert set(space_of(space=mine)) == {"learning_rate", "optimizer"}


def test_a_space_of_the_users_own_may_search_a_free_knob() -> None:
    assert set(space_of(space=custom(Integer("epochs", (1, 5))))) == {"epochs"}


@pytest.mark.parametrize("name", ["colour", "shift_depth"])
def test_a_hyperparameter_that_no_worker_reads_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^space: .*'{name}'.*allowed are .*weight_bits"):
        space_of(space=custom(Integer(name, (1, 5))))


@pytest.mark.parametrize(
    "broken",
    [
        {"hyperparameters": 3},
        {"hyperparameters": [{"type": "wave", "name": "epochs"}], "conditions": [], "forbiddens": []},
    ],
)
def test_a_broken_space_is_refused_in_one_line(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^space: no ConfigSpace JSON object \(") as caught:
        space_of(space=broken)
    assert len(str(caught.value).splitlines()) == 1


def test_a_value_that_no_recipe_allows_is_refused_before_any_trial() -> None:
    with pytest.raises(InputError, match="weight_bits"):
        space_of(space=custom(Integer("weight_bits", (2, 20))))


@pytest.mark.parametrize("name", ["dsnn", "paper"])
def test_every_hyperparameter_is_a_recipes_field_or_a_knob(name: str) -> None:
    assert set(space_of(space=name, fidelity=None)) <= {*Recipe.model_fields, *KNOBS}


@pytest.mark.parametrize("name", ["dsnn", "paper"])
def test_sampled_values_make_a_valid_recipe_and_depth(name: str) -> None:
    for config in space_of(space=name, fidelity=None).sample_configuration(200):
        values = dict(config)
        assert 1 <= values.pop("shift_depth") <= N_LAYERS
        assert values.pop("epochs") >= 1
        recipe = Recipe(**values)
        assert {key: getattr(recipe, key) for key in values} == values


def test_a_studys_seed_decides_what_is_sampled() -> None:
    first, again, other = (space_of(seed=seed).sample_configuration(5) for seed in (1, 1, 2))
    assert first == again
    assert first != other


SHIFT_ONLY = {"quantizer", "weight_bits", "activation_integer_bits", "activation_fraction_bits", "rounding"}


@pytest.mark.parametrize("space", ["dsnn", "paper"])
@pytest.mark.parametrize("family", ["int8", "float"])
def test_other_families_have_no_hyperparameters_of_shift_layers(family: str, space: str) -> None:
    names = set(space_of(family=family, space=space))

    assert not SHIFT_ONLY & names
    assert names == set(space_of(space=space)) - SHIFT_ONLY


@pytest.mark.parametrize("space", ["dsnn", "paper"])
def test_a_searched_family_brings_the_hyperparameters_of_shift_layers_with_it(space: str) -> None:
    configs = space_of(family="search", space=space).sample_configuration(100)

    for config in configs:
        assert (set(config) >= SHIFT_ONLY) is (config["family"] == "shift")
    assert {config["family"] for config in configs} == {"shift", "int8", "float"}


def test_a_space_of_the_users_own_may_search_the_family_where_the_study_does() -> None:
    own = custom(Categorical("family", ["int8", "float"]), Float("learning_rate", (0.001, 0.1)))

    assert "family" in space_of(family="search", space=own)
    with pytest.raises(InputError, match="'family' is unknown"):
        space_of(space=own)
