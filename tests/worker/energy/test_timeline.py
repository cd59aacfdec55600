from __future__ import annotations

import pytest

from worker.energy.timeline import Timeline


def ticking(*, until: float, tick: float = 0.1, watts: float = 60.0, poll: float = 0.01) -> Timeline:
    """A counter of constant power, looked at every `poll` seconds."""
    timeline = Timeline()
    for i in range(round(until / poll) + 1):
        t = i * poll + 1e-9
        timeline.observe(t, watts * tick * int(t / tick))
    return timeline


def test_between_two_changes_the_counter_is_a_straight_line():
    timeline = ticking(until=1.05)

    assert timeline.at(0.75) - timeline.at(0.25) == pytest.approx(30.0)
    assert timeline.at(0.33) - timeline.at(0.30) == pytest.approx(1.8, rel=1e-6)


def test_a_change_is_placed_between_the_two_looks_around_it():
    timeline = ticking(until=0.35)

    assert timeline.at(0.295) == pytest.approx(18.0, abs=1e-3)


@pytest.mark.parametrize("seconds", [-1.0, 0.05, 0.99, 2.0])
def test_outside_of_known_changes_nothing_is_known(seconds):
    assert ticking(until=0.95).at(seconds) is None


def test_the_tick_is_the_median_time_between_changes():
    assert ticking(until=0.25).tick_seconds() is None
    assert ticking(until=2.0, tick=0.1).tick_seconds() == pytest.approx(0.1)
    assert ticking(until=2.0, tick=0.02).tick_seconds() == pytest.approx(0.02)


def test_a_counter_that_goes_backwards_is_noticed_and_its_past_forgotten():
    timeline = ticking(until=1.0)

    timeline.observe(1.01, 0.0)

    assert timeline.n_resets == 1
    assert timeline.at(0.5) is None


def test_a_window_may_begin_only_while_somebody_looks():
    timeline = ticking(until=1.0)

    assert timeline.is_ready(1.01)
    assert not timeline.is_ready(1.2)
    assert not Timeline().is_ready(0.0)


def test_what_nobody_looked_at_is_no_line():
    timeline = ticking(until=1.0)

    timeline.observe(5.0, 600.0)
    timeline.observe(5.01, 606.0)

    assert timeline.at(3.0) is None


def test_a_badly_placed_change_is_dropped_once_a_good_one_follows():
    timeline = ticking(until=0.5)
    # Nobody looked from 0.50 to 0.69: the change at 0.60 is taken for one at about 0.64.
    timeline.observe(0.69, 36.0)
    timeline.observe(0.70, 42.0)

    assert timeline.at(0.6) == pytest.approx(36.0, rel=0.02)


def test_only_the_newest_changes_are_kept():
    timeline = Timeline(n_kept=3)
    for i in range(10):
        timeline.observe(i * 0.01, float(i))

    assert timeline.at(0.02) is None
    assert timeline.at(0.08) == pytest.approx(8.5)
    assert timeline.n_changes == 9
