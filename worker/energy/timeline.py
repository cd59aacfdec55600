"""An energy counter that moves in ticks, read as a line: its change points, and straight lines between them."""

from __future__ import annotations

import statistics
from collections import deque
from itertools import islice, pairwise

N_TICKS_FOR_MEDIAN = 32
# A change between two looks further apart than that is not well placed in time.
SHARP_SECONDS = 0.03
# What nobody looked at for so long is not a line.
MAX_BLIND_SECONDS = 1.0


class Timeline:
    """Change points of one counter, the newest ones kept.

    A difference of two readings is wrong by up to one tick of power. The counter's value is exact where it moves, so
    a window read on the line between the changes around its edges is not. It cannot mend what happens within a tick.

    Args:
        n_kept: change points that are remembered.

    Attributes:
        n_changes: seen so far, forgotten ones included.
        n_resets: how often the counter went backwards.
    """

    def __init__(self, n_kept: int = 1024) -> None:
        self._changes: deque[tuple[float, float]] = deque(maxlen=n_kept)
        self._last: tuple[float, float] | None = None
        self._tick: float | None = None
        self._is_sharp = False
        self.n_changes = 0
        self.n_resets = 0

    def observe(self, seconds: float, joules: float) -> bool:
        """Takes one reading at a time that only grows; says whether the counter has moved.

        It moved at some moment since the reading before, and within the last tick: the middle is the best guess.
        """
        before, self._last = self._last, (seconds, joules)
        if before is None:
            return False
        gap = seconds - before[0]
        if gap > MAX_BLIND_SECONDS:
            self._changes.clear()
        if joules < before[1]:
            self.n_resets += 1
            self._changes.clear()
        if joules <= before[1]:
            return False
        is_sharp = gap <= SHARP_SECONDS
        if is_sharp and not self._is_sharp and len(self._changes) > 1:
            # A sampler that was kept from looking has placed it badly, and the line is better without it.
            self._changes.pop()
        self._is_sharp = is_sharp
        self._changes.append((seconds - min(gap, self._tick or gap) / 2, joules))
        self._tick = self._median_tick()
        self.n_changes += 1
        return True

    def at(self, seconds: float) -> float | None:
        """Joules at a moment between two known changes; None outside of them."""
        later: tuple[float, float] | None = None
        for change in reversed(self._changes):
            if change[0] <= seconds:
                return None if later is None else _between(change, later, seconds)
            later = change
        return None

    def reaches(self, seconds: float) -> bool:
        """Whether the counter has moved after that moment."""
        return bool(self._changes) and self._changes[-1][0] > seconds

    def is_ready(self, seconds: float) -> bool:
        """Whether a window may begin: the tick is known, a change before it too, and somebody is looking."""
        is_watched = self._last is not None and seconds - self._last[0] <= SHARP_SECONDS
        return self._tick is not None and bool(self._changes) and self._is_sharp and is_watched

    def tick_seconds(self) -> float | None:
        """Median time between changes; None before the third."""
        return self._tick

    def _median_tick(self) -> float | None:
        newest = list(islice(reversed(self._changes), N_TICKS_FOR_MEDIAN + 1))
        return statistics.median(b[0] - a[0] for b, a in pairwise(newest)) if len(newest) > 2 else self._tick


def _between(a: tuple[float, float], b: tuple[float, float], seconds: float) -> float:
    return a[1] + (b[1] - a[1]) * (seconds - a[0]) / (b[0] - a[0])
