"""How many workers a cluster is to have, and which go first: decided from what is seen, without doing anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.errors import InputError

# Services write down who works every ten seconds, and at once where something is new.
FRESH_SECONDS = 12.0
# A drained worker may be given a trial for two seconds more, and its service may take one to write that down.
SETTLED_SECONDS = FRESH_SECONDS + 3.0


class WhenDirty(StrEnum):
    """What a cluster does while its electricity emits more than its limit."""

    HOLD = "hold"
    SHRINK = "shrink"


@dataclass(frozen=True)
class Rules:
    """What a cluster keeps to.

    Args:
        maximum: workers at most, 1 or more.
        minimum: workers at least, whatever is to do, 0 or more.
        cool_down_seconds: for how long fewer must be wanted before any goes.
        carbon_limit: in gCO2eq/kWh, above which no worker is added; None is no such rule.
        when_dirty: above it, `hold` keeps the workers that there are, `shrink` lets all but the minimum finish and go.

    Raises:
        InputError: a minimum above the maximum.
    """

    maximum: int
    minimum: int = 0
    cool_down_seconds: float = 300.0
    carbon_limit: float | None = None
    when_dirty: WhenDirty = WhenDirty.HOLD

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise InputError(f"minimum must be 0..{self.maximum}, the maximum, got {self.minimum}")


@dataclass(frozen=True)
class Seen:
    """A cluster at one time.

    Attributes:
        seconds: of a monotonic clock.
        n_running: trials that run.
        n_waiting: trials that could run; of a study whose first trial waits for a worker, 1.
        n_ready: workers that are there.
        n_coming: workers that were asked for and are not there yet.
        grams_per_kwh: carbon intensity of the electricity now; None is unknown.
    """

    seconds: float
    n_running: int = 0
    n_waiting: int = 0
    n_ready: int = 0
    n_coming: int = 0
    grams_per_kwh: float | None = None

    @property
    def n_workers(self) -> int:
        """Those that are there and those to come."""
        return self.n_ready + self.n_coming


@dataclass(frozen=True)
class Decision:
    """How many workers there shall be, and since when fewer have been wanted than there are."""

    n_workers: int
    fewer_since: float | None = None


@dataclass(frozen=True)
class Job:
    """A worker that was asked for.

    Attributes:
        job_id: by which it is ended.
        is_pending: it waits for a machine.
        n_running: trials that it runs; None as long as its worker is not there.
    """

    job_id: str
    is_pending: bool
    n_running: int | None = None


def n_wanted(seen: Seen, rules: Rules) -> int:
    """Workers that what is to do has work for, within the rules.

    Coordinators keep few trials waiting, however many they could suggest. So while trials wait and no worker is idle,
    their number may double; where nothing waits, as behind a rung of three trials, it is that of the trials.
    """
    n = seen.n_running + seen.n_waiting
    if seen.n_waiting and seen.n_running >= seen.n_ready:
        n = max(n, 2 * seen.n_running)
    if is_dirty(seen, rules):
        n = min(n, seen.n_workers) if rules.when_dirty is WhenDirty.HOLD else 0
    return min(max(n, rules.minimum), rules.maximum)


def to_do(studies: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Trials that run, and those that could, of all studies.

    Args:
        studies: of each that is to run, the trials that run and those that wait. One of which none runs wants a worker
            in any case: its first trial is there only when somebody can be asked.
    """
    counts = list(studies)
    return sum(running for running, _ in counts), sum(
        waiting if running else max(1, waiting) for running, waiting in counts
    )


def decide(seen: Seen, rules: Rules, before: Decision | None = None) -> Decision:
    """How many workers there shall be: more at once, fewer only after the cool-down.

    Args:
        seen: the cluster now.
        rules: what it keeps to.
        before: the decision before this one.
    """
    wanted = n_wanted(seen, rules)
    if wanted >= seen.n_workers:
        return Decision(wanted)
    since = seen.seconds if before is None or before.fewer_since is None else before.fewer_since
    is_cool = seen.seconds - since >= rules.cool_down_seconds
    return Decision(wanted if is_cool else min(seen.n_workers, rules.maximum), since)


def is_dirty(seen: Seen, rules: Rules) -> bool:
    """Whether the electricity is known to emit more than the limit."""
    if rules.carbon_limit is None or seen.grams_per_kwh is None:
        return False
    return seen.grams_per_kwh > rules.carbon_limit


def is_fresh(age_seconds: float) -> bool:
    """Whether a roster may be believed where somebody is to go: who is idle in an old one may be at a trial by now."""
    return age_seconds <= FRESH_SECONDS


def is_settled(seen_at: float, drained_at: float) -> bool:
    """Whether a roster shows all that a worker was given before it was drained, and thus whether it has finished.

    Args:
        seen_at: when the roster was written, in seconds of the same clock as
        drained_at: when the worker was drained.
    """
    return seen_at - drained_at >= SETTLED_SECONDS


def first_to_go(jobs: Iterable[Job], n: int) -> list[Job]:
    """The `n` jobs whose end costs least: those that wait, those without a worker, idle ones; of equals the newest."""
    order = sorted(jobs, key=lambda job: _age(job.job_id), reverse=True)
    return sorted(order, key=_cost)[: max(0, n)]


def intensity_at(series: Sequence[tuple[float, float]], seconds: float) -> float | None:
    """The value of a series of (time, value), in order of time, that holds at a time; None before its first."""
    return next((value for start, value in reversed(series) if start <= seconds), None)


def _cost(job: Job) -> int:
    if job.is_pending:
        return -2
    return -1 if job.n_running is None else job.n_running


def _age(job_id: str) -> tuple[int, str]:
    """Ids of batch systems are numbers that grow."""
    return len(job_id), job_id
