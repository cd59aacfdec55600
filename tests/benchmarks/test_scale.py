from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.bench_scale import memory_while_recording, reach


@pytest.mark.filterwarnings("ignore")
def test_a_small_run_completes_every_trial_and_is_measured(tmp_path: Path) -> None:
    run = reach(tmp_path, n_trials=6, n_workers=3, trial_seconds=0.05, optimizer="random")
    assert run.n_trials == 6
    assert 0 < run.loop_seconds <= run.all_seconds
    assert run.cluster_seconds > 0
    assert 0 < run.busy_share < 1
    assert run.peak_bytes > 0 and run.database_bytes > 0


def test_memory_is_looked_at_after_each_share_of_the_trials(tmp_path: Path) -> None:
    assert [n for n, _ in memory_while_recording(tmp_path, 100, n_looks=2)] == [50, 100]
