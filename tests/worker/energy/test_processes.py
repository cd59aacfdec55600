from __future__ import annotations

import os
import time

import pytest

from worker.energy import processes
from worker.energy.processes import CpuSeconds, cpu_seconds, is_exclusive


def test_work_of_this_process_is_ours_and_part_of_the_machines():
    before = cpu_seconds()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

    spent = cpu_seconds().since(before)

    assert 0.08 <= spent.own < 1.0
    assert 0 < spent.share <= 1


def test_shares_are_between_nothing_and_all():
    assert CpuSeconds(1.0, 4.0).share == 0.25
    assert CpuSeconds(5.0, 4.0).share == 1.0
    assert CpuSeconds(0.0, 0.0).share is None
    assert CpuSeconds(1.0, 1.0).since(CpuSeconds(2.0, 3.0)) == CpuSeconds(0.0, 0.0)


@pytest.mark.parametrize(
    ("pids", "expected"),
    [
        (None, None),
        ([], True),
        ([os.getpid()], True),
        ([os.getppid(), os.getpid()], True),
        ([1_999_999_999], False),
        ([os.getpid(), 1_999_999_999], False),
    ],
)
def test_others_are_told_by_their_numbers(monkeypatch, pids, expected):
    monkeypatch.setattr(processes, "_numbers_are_ours", lambda: True)

    assert is_exclusive(pids) is expected


@pytest.mark.parametrize(("pids", "expected"), [([], True), ([7], None), ([7, 8], False)])
def test_in_a_container_only_their_number_tells(monkeypatch, pids, expected):
    monkeypatch.setattr(processes, "_numbers_are_ours", lambda: False)

    assert is_exclusive(pids) is expected
