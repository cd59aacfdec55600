from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sharing import Member, SharedDispatcher, Shares, grants
from tests.service.fakes import FakeDispatcher
from tests.service.test_dispatch import trial_spec


@pytest.mark.parametrize(
    ("weights", "n_free", "expected"),
    [
        ({"a": 1.0}, 4, {"a": 4}),
        ({"a": 1.0, "b": 1.0}, 4, {"a": 2, "b": 2}),
        ({"a": 3.0, "b": 1.0}, 8, {"a": 6, "b": 2}),
        ({"a": 1.0, "b": 1.0, "c": 2.0}, 4, {"a": 1, "b": 1, "c": 2}),
        ({"a": 1.0, "b": 5.0}, 1, {"a": 0, "b": 1}),
    ],
)
def test_slots_follow_the_weights(weights: dict[str, float], n_free: int, expected: dict[str, int]) -> None:
    members = {name: Member(weight, n_wanted=100) for name, weight in weights.items()}
    assert grants(members, n_free) == expected


def test_what_one_study_does_not_want_the_others_get() -> None:
    members = {"a": Member(1.0, n_wanted=1), "b": Member(1.0, n_wanted=100)}
    assert grants(members, 8) == {"a": 1, "b": 7}


def test_a_newcomer_catches_up_with_those_that_run_already() -> None:
    members = {"a": Member(1.0, n_running=6, n_wanted=100), "b": Member(1.0, n_wanted=100)}
    assert grants(members, 2) == {"a": 0, "b": 2}


@given(
    st.dictionaries(
        st.text("abcd", min_size=1, max_size=2),
        st.builds(
            Member,
            weight=st.floats(0.1, 10),
            n_running=st.integers(0, 20),
            n_wanted=st.integers(0, 20),
        ),
        min_size=1,
    ),
    st.integers(0, 30),
)
def test_no_slot_is_given_twice_and_none_lies_idle(members: dict[str, Member], n_free: int) -> None:
    granted = grants(members, n_free)
    assert sum(granted.values()) == min(n_free, sum(m.n_wanted for m in members.values()))
    assert all(granted[name] <= member.n_wanted for name, member in members.items())


def test_a_study_that_ends_a_trial_wakes_those_that_wait() -> None:
    woken: Counter[str] = Counter()
    shares = Shares()
    for name in "abc":
        shares.join(name, 1.0, lambda name=name: woken.update([name]))
    assert shares.n_free("a", 5, n_slots=1) == 1
    shares.take("a")
    assert shares.n_free("b", 5, n_slots=1) == 0
    shares.give_back("a")
    assert woken == {"b": 1}
    assert shares.n_free("b", 5, n_slots=1) == 1


def test_two_studies_on_one_cluster_never_run_more_than_it_has() -> None:
    shares = Shares()
    cluster = {name: FakeDispatcher(4, holds=True) for name in "ab"}
    studies = {name: SharedDispatcher(cluster[name], shares, name) for name in "ab"}
    for name, weight in (("a", 3.0), ("b", 1.0)):
        shares.join(name, weight, lambda: None)
        studies[name].n_free(9)
    for name in "ab":
        for n in range(studies[name].n_free(9)):
            studies[name].submit(trial_spec(f"{name}{n}", study_id=name), lambda _: None)
    assert {name: len(cluster[name].held()) for name in "ab"} == {"a": 3, "b": 1}
    assert [studies[name].n_free(9) for name in "ab"] == [0, 0]
    cluster["a"].release()
    assert [studies[name].n_free(9) for name in "ab"] == [1, 0]
    shares.leave("a")
    assert studies["b"].n_free(9) == 3


def test_an_attempt_that_is_not_adopted_takes_no_slot() -> None:
    shares = Shares()
    shares.join("a", 1.0, lambda: None)
    study = SharedDispatcher(FakeDispatcher(1, holds=True), shares, "a")
    assert not study.adopt(trial_spec(), lambda _: None)
    assert study.n_free(1) == 1
