"""Time that a test moves: whoever sleeps lets it pass, and whoever polls does so exactly when it is due."""

from __future__ import annotations

from collections.abc import Callable

# The beginning of a period of the fake GPU's square wave.
_START = 1_800_000_000.0


class SimulatedTime:
    """A clock that stands still but for `sleep` and `stall`, and the pollers that live by it, all on one thread.

    Args:
        tell: is given the time in seconds, whenever it moves.
    """

    def __init__(self, tell: Callable[[float], object] = lambda _: None) -> None:
        self._tell = tell
        self._pollers: list[SimulatedPoller] = []
        self._set(_START)

    def clock(self) -> float:
        """Seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Lets time pass, with all that is due meanwhile."""
        end = self._now + seconds
        while due := [poller for poller in self._pollers if poller.due <= end]:
            first = min(due, key=lambda poller: poller.due)
            self._set(max(self._now, first.due))
            first.run(self._now)
        self._set(end)

    def stall(self, seconds: float) -> None:
        """Lets time pass in which nobody looks at anything, as on a machine that is busy."""
        self._set(self._now + seconds)

    def poller(self, action: Callable[[], None], seconds: float, linger_seconds: float) -> SimulatedPoller:
        """What `worker.energy.poller.Poller` is in real time."""
        poller = SimulatedPoller(self.clock, action, seconds, linger_seconds)
        self._pollers.append(poller)
        return poller

    def _set(self, now: float) -> None:
        self._now = now
        self._tell(now)


class SimulatedPoller:
    """Calls `action` every `seconds` from `hold` to `release`, and a while longer; `due` is when it does so next."""

    def __init__(
        self, clock: Callable[[], float], action: Callable[[], None], seconds: float, linger_seconds: float
    ) -> None:
        self._clock, self._action, self._seconds, self._linger_seconds = clock, action, seconds, linger_seconds
        self._n_holders = 0
        self._until = 0.0
        self.due = float("inf")

    def hold(self) -> None:
        self._n_holders += 1
        self.due = min(self.due, self._clock())

    def release(self) -> None:
        self._n_holders -= 1
        self._until = self._clock() + self._linger_seconds

    def run(self, now: float) -> None:
        """Does what is due, or ends."""
        if self._n_holders == 0 and now >= self._until:
            self.due = float("inf")
            return
        self._action()
        self.due = now + self._seconds
