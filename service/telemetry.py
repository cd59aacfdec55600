"""What the service counts and measures of itself, in the form of Prometheus: one for the whole process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from worker.schema import TrialResult

# From a random suggestion to a model of thousands of trials.
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

ASK_SECONDS = Histogram("greenshift_ask_seconds", "How long the optimizer took to suggest a trial.", buckets=_SECONDS)
TELL_SECONDS = Histogram("greenshift_tell_seconds", "How long it took to learn of a trial.", buckets=_SECONDS)
_RESULTS = Counter("greenshift_results", "Attempts that came back: completed, or the kind of failure.", ["outcome"])
_JOULES = Counter("greenshift_energy_joules", "Energy of attempts that came back, where it is known.", ["quality"])
_UNKNOWN = Counter("greenshift_energy_unknown", "Attempts that came back and whose energy is not known.")
_TRIALS = Gauge("greenshift_trials", "Trials of all studies.", ["state"])
_STUDIES = Gauge("greenshift_studies", "Studies.", ["state"])
_QUEUE = Gauge("greenshift_queue_length", "Trials that wait for a slot, of studies that run.")
_SLOTS = Gauge("greenshift_slots", "Trials that all workers together can run at once.")
_BUSY = Gauge("greenshift_slots_busy", "Slots in which something runs.")
_IDLE = Gauge("greenshift_slots_idle_ratio", "Share of the slots in which nothing runs, 0 to 1; NaN without slots.")
_CONNECTED = Gauge("greenshift_cluster_connected", "1 while the scheduler can be reached, else 0.")
_CERTIFICATE_END = Gauge(
    "greenshift_certificate_end_timestamp_seconds", "When the certificates of the cluster end; +Inf without any."
)
_CERTIFICATE_END.set(math.inf)


def count_result(result: TrialResult) -> None:
    """Counts an attempt that came back, and what it has spent."""
    _RESULTS.labels(result.failure.kind if result.failure else "completed").inc()
    if result.energy is None or result.energy.joules is None:
        _UNKNOWN.inc()
    for report in (result.energy, result.inference.report if result.inference else None):
        if report is not None and report.joules is not None:
            _JOULES.labels(report.quality).inc(max(0.0, report.joules))


def show_studies(n_studies: Mapping[str, int], n_trials: Mapping[str, int], queue_length: int) -> None:
    """Shows how many studies and trials are in each state, and how many trials could run if there were slots."""
    for state, n in n_studies.items():
        _STUDIES.labels(state.lower()).set(n)
    for state, n in n_trials.items():
        _TRIALS.labels(state.lower()).set(n)
    _QUEUE.set(queue_length)


def show_slots(n_slots: int, n_busy: int) -> None:
    """Shows the slots of all workers."""
    _SLOTS.set(n_slots)
    _BUSY.set(n_busy)
    _IDLE.set(1 - n_busy / n_slots if n_slots else float("nan"))


def show_connection(is_connected: bool) -> None:
    """Shows whether there is a cluster; without one there are no slots."""
    _CONNECTED.set(is_connected)
    if not is_connected:
        show_slots(0, 0)


def show_certificate_end(end: datetime) -> None:
    """Shows when scheduler, workers and this process stop to trust each other."""
    _CERTIFICATE_END.set(end.timestamp())
