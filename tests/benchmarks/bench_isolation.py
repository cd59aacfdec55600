"""What a process of its own costs a trial: seconds to start, per trial, and from a stop to its result."""

from __future__ import annotations

import statistics
import time

import torch

from worker.entry import run_trial
from worker.schema import Recipe, TrialSpec

SPEC = TrialSpec(
    study_id="bench",
    trial_id="1",
    dataset="digits",
    network="resnet8",
    recipe=Recipe(),
    shift_depth=1,
    epochs=1,
)


def main() -> None:
    """Prints every figure."""
    torch.set_num_threads(1)
    for name, seconds in measure_trial_overhead().items():
        print(f"{name:52} {seconds:6.3f} s")
    print(f"{'from a stop to the result, median of 5':52} {measure_stop():6.3f} s")


def measure_trial_overhead(n_rounds: int = 9) -> dict[str, float]:
    """Seconds around the energy window of a trial, isolated and in this process, one after the other in each round.

    What lies around the window is the same work in both, so their difference is what isolation costs.
    """
    started = time.perf_counter()
    _around_the_window(isolated=True)
    first = time.perf_counter() - started
    _around_the_window(isolated=False)
    there, here = [], []
    for _ in range(n_rounds):
        there.append(_around_the_window(isolated=True))
        here.append(_around_the_window(isolated=False))
    return {
        "first trial, with the start of its process": first,
        "around the window of an isolated trial, median": statistics.median(there),
        "around the window of one in this process, median": statistics.median(here),
        "isolation costs a trial after the first": statistics.median(there) - statistics.median(here),
    }


def measure_stop(n_rounds: int = 5) -> float:
    """Median seconds from the moment a stop is asked for, within an epoch, to the cancelled result."""
    return statistics.median(_stop_seconds() for _ in range(n_rounds))


def _stop_seconds() -> float:
    asked: list[float] = []
    run_trial(
        SPEC.model_copy(update={"epochs": 1000}),
        on_epoch=lambda _: asked.append(time.perf_counter()),
        should_stop=lambda: bool(asked),
        isolated=True,
    )
    return time.perf_counter() - asked[0]


def _around_the_window(*, isolated: bool) -> float:
    result = run_trial(SPEC, isolated=isolated)
    assert result.energy is not None, result.failure
    return result.duration_seconds - result.energy.duration_seconds


if __name__ == "__main__":
    main()
