from __future__ import annotations

import numpy as np

from service.analysis.columns import columns


def test_numbers_stay_as_they_are_and_all_else_is_one_column_a_value() -> None:
    configs = [
        {"rate": 0.5, "kind": "b", "flag": True},
        {"rate": 2, "kind": "a", "flag": False},
        {"rate": 1, "kind": "c", "flag": True},
    ]
    flag, kind, rate = columns(configs, np.random.default_rng(0))
    assert (flag.name, kind.name, rate.name) == ("flag", "kind", "rate")
    assert rate.values.tolist() == [[0.5], [2.0], [1.0]]
    assert kind.values.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert flag.values.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert flag.is_active.all() and kind.is_active.all() and rate.is_active.all()


def test_an_inactive_value_is_one_of_the_active_ones() -> None:
    (column,) = columns([{"m": 0.1}, {"m": 0.9}, {}, {"m": None}], np.random.default_rng(0))
    assert column.is_active.tolist() == [True, True, False, False]
    assert column.values[:2].ravel().tolist() == [0.1, 0.9] and set(column.values.ravel()) == {0.1, 0.9}


def test_what_has_one_value_where_it_is_active_is_left_out() -> None:
    assert columns([{"a": 1, "b": "x"}, {"a": 1}, {"a": None, "b": "x"}], np.random.default_rng(0)) == []
