"""Timings side by side: every round runs everything once, in an order drawn anew."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from rich.progress import track


def interleaved(runs: Mapping[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each run, a list of one entry a round; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    generator = random.Random(0)
    for number in track(range(n_rounds + 1), "measuring", transient=True):
        generator.shuffle(order)
        for name in order:
            started = time.process_time()
            runs[name]()
            if number:
                seconds[name].append(time.process_time() - started)
    return seconds
