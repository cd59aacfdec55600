"""How a command of `greenshift` ended, as tests look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


def assert_refused(done: Done, *said: str) -> None:
    """Bad input: exit code 2, a short message and no traceback."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 6
    assert "Traceback" not in done.stderr
    assert [word for word in said if word not in done.stderr] == []
