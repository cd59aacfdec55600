from __future__ import annotations

import numpy as np

from service.optimizer.archive import Archive
from service.optimizer.selector import MAX_FRONT, lesson, spread_out

FULL = 9.0


def test_few_points_are_all_kept() -> None:
    points = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    assert spread_out(points, 3).tolist() == [0, 1, 2]


def test_the_ends_come_first_and_then_what_is_farthest_from_them() -> None:
    points = np.array([[0.0, 1.0], [0.05, 0.9], [0.5, 0.45], [0.9, 0.1], [1.0, 0.0]])
    assert sorted(spread_out(points, 3).tolist()) == [0, 2, 4]


def test_equal_points_are_no_more_than_there_are() -> None:
    assert len(spread_out(np.zeros((9, 3)), 4)) == 4


def test_a_large_front_is_learned_as_so_many_points_with_its_ends() -> None:
    angles = np.random.default_rng(0).uniform(0, np.pi / 2, (2, 400))
    costs = np.stack(
        [np.cos(angles[0]) * np.cos(angles[1]), np.cos(angles[0]) * np.sin(angles[1]), np.sin(angles[0])], axis=1
    )
    archive = Archive()
    for row, cost in zip(angles.T, costs.tolist(), strict=True):
        archive.begin(row, FULL)
        archive.end(row, FULL, cost, 1.0)
    learned = lesson(archive, FULL)
    assert len(learned.front) == MAX_FRONT
    assert np.allclose(learned.front.max(axis=0), ((costs - learned.centre) / learned.spread).max(axis=0))
