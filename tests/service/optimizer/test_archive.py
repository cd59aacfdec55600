from __future__ import annotations

import numpy as np

from service.optimizer.archive import Archive


def archive_of(costs: list[list[float] | None]) -> Archive:
    """Trials at fidelity 3, the i-th with the vector (i, i)."""
    archive = Archive()
    for i, cost in enumerate(costs):
        archive.begin(np.full(2, float(i)), 3.0)
        archive.end(np.full(2, float(i)), 3.0, cost, None)
    return archive


def test_without_results_there_is_nothing_good() -> None:
    assert [len(part) for part in Archive().good()] == [0, 0, 0]
    assert [len(part) for part in archive_of([None, None]).good()] == [0, 0, 0]


def test_what_did_not_fail_is_told_in_order_however_often_it_is_asked() -> None:
    costs: list[list[float] | None] = [None, [1.0, 2.0], [3.0, 4.0], None, None, [5.0, 6.0]]
    archive = archive_of([])
    for i, cost in enumerate(costs):
        archive.begin(np.full(2, float(i)), 3.0)
        archive.end(np.full(2, float(i)), 3.0, cost, None)
        archive.good()
    for grown in (archive, archive_of(costs)):
        vectors, fidelities, good = grown.good()
        assert vectors.tolist() == [[1, 1], [2, 2], [5, 5]]
        assert fidelities.tolist() == [3, 3, 3]
        assert good.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_what_was_known_earlier_leaves_out_what_came_later() -> None:
    archive = archive_of([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]])
    archive.good()
    assert archive.first(3).good()[2].tolist() == [[1, 2], [3, 4]]
    assert archive.failed()[0].tolist() == [[1, 1]]
