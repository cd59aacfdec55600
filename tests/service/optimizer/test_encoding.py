from __future__ import annotations

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    Configuration,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
    NotEqualsCondition,
    OrdinalHyperparameter,
)

from service.optimizer.encoding import Encoding, keys, unique
from service.space import build_space
from tests.service.fakes import N_LAYERS, study_spec
from tests.service.optimizer.toy import six_configs, toy_space


def nested_space() -> ConfigurationSpace:
    """Conditions on conditions, a forbidden pair, an order, a constant and a whole number by its logarithm."""
    space = ConfigurationSpace(seed=0)
    space.add(
        Categorical("a", ["p", "q", "r"]),
        OrdinalHyperparameter("b", [1, 2, 4, 8]),
        Integer("c", (1, 1024), log=True),
        Float("d", (0.0, 2.0)),
        Constant("e", 5),
    )
    space.add(EqualsCondition(space["b"], space["a"], "p"))
    space.add(NotEqualsCondition(space["d"], space["b"], 8))
    space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(space["a"], "q"), ForbiddenEqualsClause(space["c"], 1)))
    return space


SPACES = {
    "toy": toy_space,
    "six": six_configs,
    "nested": nested_space,
    "dsnn": lambda: build_space(study_spec(), N_LAYERS),
}
every_space = pytest.mark.parametrize("name", SPACES)


def all_ways(encoding: Encoding) -> np.ndarray:
    random = np.random.RandomState(0)
    sampled = encoding.sample(200, random)
    near = encoding.near(sampled[:20], 200, 0.1, random)
    return np.vstack([sampled, encoding.spread(32, 0), near, encoding.near(near, 100, 0.001, random)])


@every_space
def test_every_vector_is_a_legal_config(name: str) -> None:
    space = SPACES[name]()
    encoding = Encoding(space)
    for vector in all_ways(encoding):
        config = encoding.configuration(vector)
        config.check_valid_configuration()
        assert Configuration(space, values=dict(config)).get_array() == pytest.approx(config.get_array(), nan_ok=True)


@every_space
def test_a_config_made_of_the_values_of_another_is_known_by_its_key(name: str) -> None:
    space = SPACES[name]()
    encoding = Encoding(space)
    for vector in encoding.sample(50, np.random.RandomState(1)):
        config = encoding.configuration(vector)
        again = Configuration(space, values=dict(config))
        assert keys(again.get_array()[None]) == keys(config.get_array()[None])


@every_space
def test_features_are_finite_and_tell_configs_apart(name: str) -> None:
    encoding = Encoding(SPACES[name]())
    vectors = unique(all_ways(encoding))
    features = encoding.features(vectors)
    assert features.shape == (len(vectors), len(encoding.groups))
    assert np.isfinite(features).all()
    assert features.min() >= 0
    assert features.max() <= 1
    assert len(np.unique(features.round(12), axis=0)) == len(vectors)


def test_two_choices_are_as_far_apart_as_the_ends_of_a_number() -> None:
    encoding = Encoding(six_configs())
    rows = encoding.features(np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]))
    distances = [((rows[i] - rows[j]) ** 2).sum() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert distances == pytest.approx([1, 1, 1])


def test_a_number_near_an_end_moves_to_the_end_itself_and_a_whole_one_always_to_another() -> None:
    space = ConfigurationSpace()
    space.add(Float("x", (0.0, 1.0)), Integer("n", (0, 5)))
    encoding = Encoding(space)
    origin = np.zeros((1, 2))
    origin[0, space.index_of["x"]] = 0.001
    near = encoding.near(origin, 400, 0.01, np.random.RandomState(0))
    x, n = near[:, space.index_of["x"]], near[:, space.index_of["n"]]
    assert 0.3 < (x[x != 0.001] == 0).mean() < 0.6
    assert set(n.round(6)) == {0.0, 0.2}
    assert (n[x == 0.001] > 0).all()


def test_a_small_space_is_listed_whole() -> None:
    listed = Encoding(six_configs()).listed()
    assert listed is not None
    assert len(unique(listed)) == 6


def test_a_space_with_conditions_lists_each_config_once() -> None:
    space = ConfigurationSpace()
    space.add(Categorical("a", ["p", "q"]), Integer("n", (2, 4), log=True))
    space.add(EqualsCondition(space["n"], space["a"], "p"))
    encoding = Encoding(space)
    listed = encoding.listed()
    assert listed is not None
    configs = [dict(encoding.configuration(row)) for row in listed]
    assert sorted(configs, key=str) == sorted([{"a": "q"}, *({"a": "p", "n": n} for n in (2, 3, 4))], key=str)


def test_a_large_space_is_not_listed() -> None:
    assert Encoding(toy_space()).listed() is None


def test_priors_shape_what_is_sampled_and_spread() -> None:
    space = ConfigurationSpace()
    space.add(Categorical("a", ["p", "q"], weights=[0.95, 0.05]))
    encoding = Encoding(space)
    for vectors in (encoding.sample(400, np.random.RandomState(0)), encoding.spread(400, 0)):
        assert 0.9 < (vectors[:, 0] == 0).mean() < 1
