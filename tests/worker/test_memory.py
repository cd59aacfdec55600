from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from worker.memory import n_memory_kills, resident_bytes


def test_a_process_is_resident_with_more_after_it_has_written_to_memory() -> None:
    before = resident_bytes(os.getpid())
    # Fresh pages: an allocator might give out memory that was resident already.
    with mmap.mmap(-1, 2**26) as written:
        written.write(b"x" * 2**26)
        n_written, after = len(written), resident_bytes(os.getpid())
    assert before is not None
    assert after is not None
    assert n_written * 0.9 < after - before < n_written * 2.5


def test_a_process_that_is_gone_has_no_size() -> None:
    assert resident_bytes(2**30) is None


def test_this_system_counts_or_says_nothing() -> None:
    count = n_memory_kills()
    assert count is None or count >= 0


@pytest.mark.parametrize(
    ("groups", "file", "content", "count"),
    [
        ("0::/user/app", "user/app/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("0::/outside/of/the/container", "memory.events", "oom_kill 1\n", 1),
        ("5:devices:/\n4:memory:/app\n0::/", "memory/app/memory.oom_control", "under_oom 0\noom_kill 4\n", 4),
        ("4:cpu,memory:/host/app", "memory/memory.oom_control", "oom_kill 5\n", 5),
        ("0::/", "memory.events", "low 0\n", None),
        ("0::/", "memory.events", "nonsense\n", None),
        ("0::/", "elsewhere", "oom_kill 1\n", None),
    ],
)
def test_the_kernels_kills_are_read_where_the_control_group_counts_them(
    tmp_path: Path, groups: str, file: str, content: str, count: int | None
) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(f"{groups}\n")
    (cgroups / file).parent.mkdir(parents=True)
    (cgroups / file).write_text(content)
    assert n_memory_kills(proc, cgroups) == count


def test_a_system_without_control_groups_does_not_tell(tmp_path: Path) -> None:
    assert n_memory_kills(tmp_path, tmp_path) is None
