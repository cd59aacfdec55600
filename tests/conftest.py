"""None of all tests depends on how fast a machine is, and those that need a GPU say so where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.service.processes import reserved_port
from worker.energy.nvml import list_gpus

# One example may take any time: the first call of an operator does, and so does a machine that is busy.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# At the end nothing is left to do beside a file that takes minutes.
_LONGEST_FIRST = (
    "test_papers.py",
    "test_end_to_end.py",
    "test_continuing_energy.py",
    "test_supervisor.py",
    "test_chaos.py",
    "test_serving.py",
    "test_guard.py",
    "test_real_cluster.py",
    "test_isolation.py",
    "test_snapshot.py",
)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, for whom the test tells of it."""
    with reserved_port() as port:
        yield port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    if marked and not list_gpus():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="NO GPU: what only a real one can show is NOT TESTED"))


def _place(item: pytest.Item) -> int:
    name = item.path.name
    return _LONGEST_FIRST.index(name) if name in _LONGEST_FIRST else len(_LONGEST_FIRST)
