from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputError
from service.scaling import Decision, Job, Rules, Seen, WhenDirty, decide, first_to_go, intensity_at, n_wanted

N = st.integers(0, 300)
INTENSITY = st.one_of(st.none(), st.floats(0, 1000))


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    maximum = draw(st.integers(1, 200))
    return Rules(
        maximum,
        draw(st.integers(0, maximum)),
        draw(st.floats(1, 1000)),
        draw(INTENSITY),
        draw(st.sampled_from(WhenDirty)),
    )


SEEN = st.builds(Seen, st.floats(0, 1e6), N, N, N, N, INTENSITY)


@given(SEEN, rules())
def test_what_is_wanted_keeps_to_minimum_and_maximum(seen: Seen, rules: Rules) -> None:
    assert rules.minimum <= n_wanted(seen, rules) <= rules.maximum


@given(SEEN, rules())
def test_none_goes_at_once_but_beyond_the_maximum(seen: Seen, rules: Rules) -> None:
    decision = decide(seen, rules)
    assert decision.n_workers >= min(seen.n_workers, rules.maximum)
    assert decision.n_workers <= max(seen.n_workers, rules.maximum)


@given(SEEN, rules())
def test_after_the_cool_down_there_are_as_many_as_wanted(seen: Seen, rules: Rules) -> None:
    before = Decision(seen.n_workers, seen.seconds - rules.cool_down_seconds - 1)
    assert decide(seen, rules, before).n_workers == n_wanted(seen, rules)


@given(SEEN, rules())
def test_dirty_electricity_adds_no_worker_above_the_minimum(seen: Seen, rules: Rules) -> None:
    if seen.grams_per_kwh is None or rules.carbon_limit is None or seen.grams_per_kwh <= rules.carbon_limit:
        return
    assert n_wanted(seen, rules) <= max(seen.n_workers, rules.minimum)
    if rules.when_dirty is WhenDirty.SHRINK:
        assert n_wanted(seen, rules) == rules.minimum


@given(SEEN, rules())
def test_what_runs_keeps_its_worker_unless_electricity_is_dirty(seen: Seen, rules: Rules) -> None:
    clean = Rules(rules.maximum, rules.minimum, rules.cool_down_seconds)
    assert n_wanted(seen, clean) >= min(seen.n_running, rules.maximum)


def test_a_rung_of_three_trials_does_not_hold_a_hundred_workers() -> None:
    seen = Seen(1000.0, n_running=3, n_ready=100)
    assert decide(seen, Rules(100), Decision(100, 600.0)).n_workers == 3


def test_workers_double_while_trials_wait_and_none_is_idle() -> None:
    n_workers, seconds = 0, 0.0
    found = []
    while n_workers < 100:
        seen = Seen(seconds, n_running=n_workers, n_waiting=max(1, n_workers // 4), n_ready=n_workers)
        n_workers, seconds = decide(seen, Rules(100)).n_workers, seconds + 30
        found.append(n_workers)
    assert found == [1, 2, 4, 8, 16, 32, 64, 100]


def test_jobs_that_wait_for_machines_are_neither_doubled_nor_taken_back() -> None:
    seen = Seen(1e6, n_running=8, n_waiting=2, n_ready=8, n_coming=8)
    assert decide(seen, Rules(100), Decision(16, 0.0)) == Decision(16)


def test_a_moment_in_which_more_is_wanted_begins_the_cool_down_anew() -> None:
    rules = Rules(10, cool_down_seconds=60)
    first = decide(Seen(0.0, n_running=2, n_ready=4), rules)
    full = decide(Seen(50.0, n_running=4, n_ready=4), rules, first)
    after = decide(Seen(70.0, n_running=2, n_ready=4), rules, full)
    assert (first, full, after) == (Decision(4, 0.0), Decision(4), Decision(4, 70.0))


def test_who_costs_least_goes_first() -> None:
    jobs = [Job("9", False, 1), Job("10", False, 0), Job("11", False, 0), Job("12", False), Job("13", True)]
    assert [job.job_id for job in first_to_go(jobs, 4)] == ["13", "12", "11", "10"]
    assert first_to_go(jobs, -1) == []


def test_a_series_holds_from_each_of_its_times_on() -> None:
    series = [(10.0, 1.0), (20.0, 2.0)]
    assert [intensity_at(series, t) for t in (9.9, 10.0, 19.9, 20.0, 1e9)] == [None, 1.0, 1.0, 2.0, 2.0]


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(InputError, match=r"minimum must be 0\.\.3"):
        Rules(3, 4)
