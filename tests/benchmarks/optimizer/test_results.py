from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.optimizer import results, runner
from tests.benchmarks.optimizer.results import Outcome, Run, append, outcome_of, path_of, read
from tests.benchmarks.optimizer.runner import carry_out
from tests.benchmarks.optimizer.searcher import OF_OUR_CODE
from tests.benchmarks.optimizer.simulate import Trace

RUN = Run("momf-park", "random", 1, 100, 10)
OUTCOME = Outcome((0.25, 0.5), 10, 10, 0.0, 1.0, 2.0, 0.5)


def test_what_was_appended_is_read(tmp_path):
    append(tmp_path / "a.jsonl", RUN, OUTCOME)
    append(tmp_path / "a.jsonl", replace(RUN, seed=101), OUTCOME)
    assert list(read(tmp_path / "a.jsonl")) == [(RUN, OUTCOME), (replace(RUN, seed=101), OUTCOME)]


def test_a_line_that_an_interruption_left_half_is_no_run_and_spoils_no_other(tmp_path):
    path = tmp_path / "a.jsonl"
    append(path, RUN, OUTCOME)
    with path.open("a") as file:
        file.write('{"run": {"prob')
    append(path, replace(RUN, seed=101), OUTCOME)
    assert [run.seed for run, _ in read(path)] == [100, 101]


@pytest.mark.parametrize("name", OF_OUR_CODE)
def test_runs_of_ours_count_for_the_code_that_made_them(tmp_path, monkeypatch, name):
    ours = replace(RUN, optimizer=name)
    append(tmp_path / "a.jsonl", ours, outcome_of(trace_of_ten(), ours))
    assert [run for run, _ in read(tmp_path / "a.jsonl")] == [ours]
    monkeypatch.setattr(results, "code_of", lambda _optimizer: "another")
    assert list(read(tmp_path / "a.jsonl")) == []


def test_hypervolumes_are_kept_in_steps_of_five():
    outcome = outcome_of(trace_of_ten(), RUN)
    assert outcome.hypervolume == (0.2, 0.4)
    assert [outcome.at(5), outcome.at(10)] == [0.2, 0.4]


def trace_of_ten() -> Trace:
    return Trace(spent=[0.0, 4.0, 10.0], hypervolume=[0.0, 0.2, 0.4], ask_seconds=[0.1], tell_seconds=[0.1])


def test_peers_are_kept_in_the_repository_ours_and_development_beside_it():
    assert path_of(replace(RUN, seed=0)).parent == results.COMMITTED
    assert path_of(RUN).parent == results.UNTRACKED
    for ours in OF_OUR_CODE:
        assert path_of(replace(RUN, seed=0, optimizer=ours)).parent == results.UNTRACKED


def test_a_run_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "path_of", lambda _run: tmp_path / "random.jsonl")
    append(tmp_path / "random.jsonl", RUN, OUTCOME)
    other = replace(RUN, seed=101)
    carried = carry_out([RUN, other], n_processes=1)
    assert carried[RUN] == OUTCOME
    assert carried[other].n_trials == 10
    assert dict(read(tmp_path / "random.jsonl")) == carried


def test_the_same_seed_gives_the_same_run():
    first, second = (runner.measure(RUN) for _ in range(2))
    assert first.hypervolume == second.hypervolume
