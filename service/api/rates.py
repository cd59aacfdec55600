"""How many requests each caller may make: a bucket that holds a burst and fills up again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

# Callers of longest ago are forgotten; by then their buckets are full again.
_MAX_CALLERS = 10_000


class Rates:
    """One bucket a caller.

    Args:
        per_second: requests that come to a bucket.
        burst: requests that a full bucket holds, 1 or more.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> float:
        """Takes one request out of a caller's bucket; seconds until there is one where it is empty, else 0."""
        with self._lock:
            now = self._clock()
            held, at = self._buckets.pop(caller, (float(self._burst), now))
            held = min(float(self._burst), held + (now - at) * self._per_second)
            wait = 0.0 if held >= 1 else (1 - held) / self._per_second
            self._buckets[caller] = (held - 1 if wait == 0 else held, now)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
            return wait
