from __future__ import annotations

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.optimizer.improvement import boxes, log_improvement, probability

fronts = st.integers(1, 4).flatmap(
    lambda m: arrays(float, st.tuples(st.integers(0, 8), st.just(m)), elements=st.floats(0, 1, width=16))
)


def volume(points: np.ndarray, reference: np.ndarray) -> float:
    points = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(points, ref=reference)) if len(points) else 0.0


@settings(max_examples=200)
@given(fronts)
def test_boxes_do_not_overlap_and_fill_what_the_front_leaves(front: np.ndarray) -> None:
    m = front.shape[1]
    reference = np.full(m, 0.9)
    lower, upper = boxes(front, reference)
    sizes = np.prod(upper - np.maximum(lower, 0.0), axis=1)
    assert (upper >= lower).all()
    assert sizes.sum() + volume(front, reference) == pytest.approx(0.9**m)


@settings(max_examples=100)
@given(fronts, st.integers(0, 100))
def test_a_known_point_improves_by_exactly_what_it_adds(front: np.ndarray, seed: int) -> None:
    m = front.shape[1]
    reference, point = np.full(m, 0.9), np.random.default_rng(seed).random((1, m))
    found = np.exp(log_improvement(point, np.zeros((1, m)), *boxes(front, reference)))
    added = volume(np.vstack([front, point]), reference) - volume(front, reference)
    assert found[0] == pytest.approx(added, abs=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_expectations_are_those_of_many_samples(m: int) -> None:
    generator = np.random.default_rng(0)
    front, reference = generator.random((6, m)), np.full(m, 0.9)
    means, deviations = 0.2 + 0.6 * generator.random((4, m)), np.full((4, m), 0.2)
    lower, upper = boxes(front, reference)
    before = volume(front, reference)
    samples = means[:, None] + deviations[:, None] * generator.standard_normal((4, 20_000, m))
    grown = np.array([[volume(np.vstack([front, y]), reference) - before for y in rows[:4000]] for rows in samples])
    error = 5 * grown.std(axis=1) / np.sqrt(4000) + 1e-4
    assert (np.abs(np.exp(log_improvement(means, deviations, lower, upper)) - grown.mean(axis=1)) < error).all()
    share = (grown > 0).mean(axis=1)
    assert probability(means, deviations, lower, upper) == pytest.approx(share, abs=0.04)


def test_hopeless_candidates_are_told_apart() -> None:
    lower, upper = boxes(np.array([[0.0, 0.0]]), np.array([1.0, 1.0]))
    means = np.array([[0.5, 0.5], [5.0, 5.0], [50.0, 50.0], [5e4, 5e4]])
    values = log_improvement(means, np.full((4, 2), 0.01), lower, upper)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


def test_three_objectives_have_about_as_many_boxes_as_points() -> None:
    points = np.abs(np.random.default_rng(0).normal(size=(200, 3)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lower, _ = boxes(points, np.full(3, 1.1))
    assert len(lower) <= 2 * len(points) + 1
