"""An energy counter that moves in ticks, read as a line: its change points, and straight lines between them."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import islice, pairwise

N_TICKS_FOR_MEDIAN = 32
# A change between two looks further apart than that is not well placed in time.
SHARP_SECONDS = 0.03
# What nobody looked at for so long is not a line.
MAX_BLIND_SECONDS = 1.0


@dataclass(frozen=True)
class Change:
    """The counter moved to `joules` at some moment between two looks, `after` and `by`, in seconds."""

    after: float
    by: float
    joules: float

    @property
    def likely(self) -> float:
        """The middle of the two."""
        return (self.after + self.by) / 2

    @property
    def width(self) -> float:
        """How badly its moment is known."""
        return self.by - self.after

    def nearest(self, seconds: float) -> float:
        """The moment nearest to `seconds` at which it may have been."""
        return min(max(seconds, self.after), self.by)


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
        self._changes: deque[Change] = deque(maxlen=n_kept)
        self._last: tuple[float, float] | None = None
        self._tick: float | None = None
        self._is_sharp = False
        self.n_changes = 0
        self.n_resets = 0

    def observe(self, seconds: float, joules: float) -> bool:
        """Takes one reading at a time that only grows; says whether the counter has moved.

        It moved at some moment since the reading before, and within the last tick.
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
        self._changes.append(Change(seconds - min(gap, self._tick or gap), seconds, joules))
        self._tick = self._median_tick()
        self.n_changes += 1
        return True

    def at(self, seconds: float) -> float | None:
        """Joules at a moment between two known changes; None outside of them."""
        later: Change | None = None
        for change in reversed(self._changes):
            if change.likely <= seconds:
                return None if later is None else self._between(change, later, seconds)
            later = change
        return None

    def reaches(self, seconds: float) -> bool:
        """Whether the counter has moved after that moment."""
        return bool(self._changes) and self._changes[-1].likely > seconds

    def is_ready(self, seconds: float) -> bool:
        """Whether a window may begin: the tick is known, a change before it too, and somebody is looking."""
        is_watched = self._last is not None and seconds - self._last[0] <= SHARP_SECONDS
        return self._tick is not None and bool(self._changes) and self._is_sharp and is_watched

    def tick_seconds(self) -> float | None:
        """Median time between changes; None before the third."""
        return self._tick

    def _median_tick(self) -> float | None:
        newest = list(islice(reversed(self._changes), N_TICKS_FOR_MEDIAN + 1))
        return statistics.median(b.likely - a.likely for b, a in pairwise(newest)) if len(newest) > 2 else self._tick

    def _between(self, a: Change, b: Change, seconds: float) -> float:
        """The line from `a` to `b`: the one seen better is taken as it is, and the other a tick away if it may be."""
        tick = self._tick or 0.0
        start, end = a.likely, b.likely
        if a.width < b.width:
            end = b.nearest(start + tick)
        else:
            start = a.nearest(end - tick)
        part = (seconds - start) / (end - start) if end > start else 0.0
        return a.joules + (b.joules - a.joules) * min(max(part, 0.0), 1.0)
