from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

from service.errors import InputError
from service.schema import StudySpec
from service.space import build_space, check_space, initial_configs
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
    with pytest.raises(InputError, match=rf"^space\.{name}: unknown key; allowed are .*weight_bits"):
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
    with pytest.raises(InputError) as caught:
        space_of(space=custom(Integer("weight_bits", (2, 20)), Float("batch_size", (1, 5)), Integer("bits", (1, 2))))
    assert [line[:54] for line in str(caught.value).splitlines()] == [
        "space.batch_size: must be whole numbers, got a float r",
        "space.bits: unknown key; allowed are activation_fracti",
        "space.weight_bits: must be at most 8, got 20",
    ]


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
    with pytest.raises(InputError, match=r"^space\.family: unknown key; allowed are activation_"):
        space_of(space=own)


# The authors' ranges: cifar10_mo_codecarbon.py of 2024-04-17 and cifar10_momf_dsnn.py of 2025-07-17.
OF_BOTH_PAPERS = {
    "learning_rate": (0.001, 0.2),
    "momentum": (0.0, 0.9),
    "weight_decay": (1e-6, 1e-2),
    "optimizer": {"sgd", "adam", "adadelta", "adagrad", "rmsprop", "radam", "ranger"},
    "quantizer": {"deepshift-q", "deepshift-ps"},
    "rounding": {"nearest", "stochastic-log"},
}
BITS_2024 = {"weight_bits": (2, 8), "activation_integer_bits": (2, 32), "activation_fraction_bits": (2, 32)}
BITS_2026 = {"weight_bits": (2, 5), "activation_integer_bits": (4, 32), "activation_fraction_bits": (4, 32)}
BATCHES_2024 = {"batch_size": (32, 128), "test_batch_size": (500, 2000), "schedule": "constant"}
BATCHES_2026 = {"batch_size": 16, "test_batch_size": 16, "schedule": "constant", "augmentation": "none"}


@pytest.mark.parametrize(
    ("preset", "n_layers", "expected"),
    [
        ("paper-2024", 20, BITS_2024 | BATCHES_2024),
        ("paper-2026", 20, BITS_2026 | BATCHES_2026),
        ("paper-2026-mobilenetv2", 53, BITS_2026 | BATCHES_2026),
        ("paper-2026-googlenet", 58, BITS_2026 | BATCHES_2026),
    ],
)
def test_a_papers_preset_searches_what_its_authors_did(preset: str, n_layers: int, expected: dict[str, Any]) -> None:
    space = build_space(StudySpec.load(preset), n_layers)
    assert {name: extent(hp) for name, hp in space.items()} == OF_BOTH_PAPERS | expected | {
        "shift_depth": (1, n_layers)
    }
    assert not any(getattr(hp, "log", False) for hp in space.values())
    assert not space.conditions


def extent(hp: Any) -> Any:
    """A range, a set of choices, or the only value."""
    if hasattr(hp, "lower"):
        return hp.lower, hp.upper
    return set(hp.choices) if hasattr(hp, "choices") else hp.value


def test_a_range_of_the_study_replaces_that_of_the_space_and_keeps_its_scale() -> None:
    space = space_of(ranges={"batch_size": [256, 512], "shift_depth": [4, 6]}, fidelity=EPOCHS)
    assert (extent(space["batch_size"]), space["batch_size"].log) == ((256, 512), True)
    assert extent(space["shift_depth"]) == (4, 6)
    # The defaults 128 and full depth lie beyond.
    assert (space["batch_size"].default_value, space["shift_depth"].default_value) == (256, 6)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("colour", (1, 2), "colour: no number that is searched; allowed are activation_.*weight_decay"),
        ("optimizer", (1, 2), "optimizer: no number"),
        ("momentum", (0.1, 0.2), "momentum: no number"),
        ("weight_bits", (2, 9), "weight_bits: must be at most 8, got 9"),
        ("weight_bits", (2.5, 4), "weight_bits: must be two whole numbers, the lower one first, got 2.5..4"),
        ("weight_decay", (0.1, 0.01), "weight_decay: must be two numbers, the lower one first, got 0.1..0.01"),
        ("weight_decay", (0, 0.01), "weight_decay: must be above 0, got 0..0.01"),
        ("shift_depth", (0, 4), "shift_depth: must be whole numbers, 1..10, got 0..4"),
        ("shift_depth", (2, 11), "shift_depth: must be whole numbers, 1..10, got 2..11"),
        ("epochs", (2, 4), "epochs: no number that is searched"),
        ("batch_size", (1, 10**30), "batch_size: no range that can be searched, got 1..1e\\+30"),
        ("shift_depth", (1, 10**19), "shift_depth: no range that can be searched, got 1..1e\\+19"),
        ("learning_rate", (1e-300, 1e300), "learning_rate: no range that can be searched, got 1e-300..1e\\+300"),
    ],
)
def test_a_range_that_cannot_be_is_refused(name: str, values: tuple[float, float], said: str) -> None:
    with pytest.raises(InputError, match=rf"^ranges\.{said}"):
        space_of(ranges={name: values}, fidelity=EPOCHS, fixed={"momentum": 0.5})


@pytest.mark.parametrize("space", ["dsnn", "paper"])
def test_what_a_study_fixes_is_the_same_in_every_config(space: str) -> None:
    fixed = {"optimizer": "sgd", "momentum": 0.5, "schedule": "step", "compile": False}
    for config in space_of(space=space, fixed=fixed).sample_configuration(20):
        assert {name: config[name] for name in fixed} == fixed
        assert Recipe(**{name: value for name, value in config.items() if name != "epochs"}).schedule == "step"


@pytest.mark.parametrize(("optimizer", "searched"), [("adam", False), ("rmsprop", True)])
def test_momentum_is_searched_only_where_a_fixed_optimizer_has_one(optimizer: str, searched: bool) -> None:
    assert ("momentum" in space_of(fixed={"optimizer": optimizer})) is searched


def test_a_space_of_the_users_own_may_be_given_what_is_fixed_beside_it() -> None:
    own = custom(Float("learning_rate", (0.001, 0.1)))
    assert space_of(space=own, fixed={"schedule": "step"})["schedule"].value == "step"
    for changes in ({"fixed": {"learning_rate": 0.1}}, {"ranges": {"learning_rate": [0.1, 0.2]}}):
        with pytest.raises(InputError, match=r"^space: a ConfigSpace JSON object holds its ranges itself"):
            space_of(space=own, **changes)


def test_an_initial_config_is_completed_by_the_defaults_and_rid_of_what_is_inactive() -> None:
    spec = study_spec(initial_configs=[{"optimizer": "adam", "weight_bits": 4}, {"learning_rate": 0.02}])
    space = build_space(spec, N_LAYERS)
    default = dict(space.get_default_configuration())
    first, second = initial_configs(spec, space)
    assert "momentum" not in first
    assert first == {k: v for k, v in default.items() if k != "momentum"} | {"optimizer": "adam", "weight_bits": 4}
    assert second == default | {"learning_rate": 0.02}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weight_bit": 3}, "weight_bit: unknown key (did you mean weight_bits?); allowed are activation_"),
        ({"weight_bits": 9}, "weight_bits: must be 2..5, got 9"),
        ({"weight_bits": None}, "weight_bits: must be 2..5, got None"),
        ({"learning_rate": [0.1]}, "learning_rate: must be 0.001..0.2, got [0.1]"),
        ({"optimizer": "lion"}, "optimizer: must be sgd or adam or radam or rmsprop, got 'lion'"),
        ({"shift_depth": 3}, "shift_depth: unknown key; allowed are activation_"),
    ],
)
def test_an_initial_config_that_is_none_of_the_space_is_refused_in_one_line(wrong: dict[str, Any], said: str) -> None:
    spec = study_spec(initial_configs=[{}, wrong])
    with pytest.raises(InputError, match=rf"^initial_configs\.1\.{re.escape(said)}") as e:
        initial_configs(spec, build_space(spec, N_LAYERS))
    assert len(str(e.value).splitlines()) == 1


def test_all_faults_of_ranges_and_of_initial_configs_are_told_at_once() -> None:
    with pytest.raises(InputError) as ranges:
        space_of(ranges={"weight_bit": [2, 3], "learning_rate": [3, 1], "batch_size": [16, 32]})
    assert [line.split(" (")[0] for line in str(ranges.value).splitlines()] == [
        "ranges.weight_bit: no number that is searched",
        "ranges.learning_rate: must be two numbers, the lower one first, got 3..1",
    ]
    with pytest.raises(InputError) as configs:
        check_space(study_spec(initial_configs=[{"colour": 1, "weight_bits": 9}, {}, {"momentum": 2}]))
    keys = [line.split(": ")[0] for line in str(configs.value).splitlines()]
    assert keys == ["initial_configs.0.colour", "initial_configs.0.weight_bits", "initial_configs.2.momentum"]


def test_a_number_that_no_array_holds_is_no_value() -> None:
    with pytest.raises(InputError, match=r"^initial_configs\.0\.batch_size: must be .*, got 10{30}$"):
        check_space(study_spec(initial_configs=[{"batch_size": 10**30}]))


def test_no_more_epochs_are_searched_than_a_trial_may_have() -> None:
    with pytest.raises(InputError, match=r"^ranges\.epochs: must be whole numbers, 1\.\.1000000, got 1\.\.10000000$"):
        check_space(study_spec(ranges={"epochs": [1, 10**7]}, fidelity=None))


def test_before_a_network_is_known_its_depth_is_no_fault() -> None:
    check_space(study_spec(ranges={"shift_depth": [4, 600]}, fidelity=EPOCHS))
