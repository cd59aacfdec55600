"""Tests that need a GPU are skipped where there is none, and say so."""

from __future__ import annotations

import pytest

from worker.energy.nvml import list_gpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    if marked and not list_gpus():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="NO GPU: what only a real one can show is NOT TESTED"))
