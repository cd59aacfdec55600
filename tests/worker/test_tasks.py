from __future__ import annotations

import math

import pytest

from tests.worker.distributions import install
from tests.worker.valley import slide, valley
from worker.errors import ConfigurationError, DivergedError, StoppedError
from worker.schema import SPENT_OBJECTIVES, TaskObjective
from worker.tasks import Evaluation, Task, find_task

LOSS = TaskObjective(direction="minimize")
ENTRY_POINTS = """[greenshift.tasks]
valley = tests.worker.valley:valley
function = tests.worker.valley:slide
gone = tests.worker.valley:gone
broken = broken_task:task
"""


@pytest.fixture
def plugin(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, "broken_task", "raise ValueError('no\\nlicence')", ENTRY_POINTS)


def test_a_task_is_found_by_its_name(plugin):
    assert find_task("valley") is valley


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hill", r"^task must be an entry point of greenshift.tasks \(broken, function, gone, valley\), got 'hill'$"),
        ("Vally", r", valley\), got 'Vally' \(did you mean valley\?\)$"),
        ("function", "^greenshift.tasks 'function' must be a Task, got function$"),
        ("gone", "^greenshift.tasks 'gone': tests.worker.valley:gone cannot be loaded: AttributeError: .*gone"),
        ("broken", "^greenshift.tasks 'broken': broken_task:task cannot be loaded: ValueError: no licence$"),
    ],
)
def test_what_is_no_task_is_refused_in_one_line(plugin, name, message):
    with pytest.raises(ConfigurationError, match=message):
        find_task(name)


def test_without_any_task_installed_the_message_says_so():
    with pytest.raises(ConfigurationError, match="none is installed"):
        find_task("valley")


@pytest.mark.parametrize("name", SPENT_OBJECTIVES)
def test_what_a_worker_measures_is_no_objective_of_a_task(name):
    with pytest.raises(ValueError, match=f"got {name!r}"):
        Task(slide, {}, {name: LOSS})


@pytest.mark.parametrize("name", ["", "Loss", "my loss", "2nd", "loss,time"])
def test_an_objective_needs_a_name_that_tables_can_hold(name):
    with pytest.raises(ValueError, match="names of a-z"):
        Task(slide, {}, {name: LOSS})


def test_a_task_needs_an_objective():
    with pytest.raises(ValueError, match="at least one"):
        Task(slide, {}, {})


def test_a_task_can_be_tried_without_anything_around_it():
    evaluation = Evaluation({"rate": 0.5, "start": 8.0}, fidelity=3)

    assert slide(evaluation) == {"height": 1.0, "calm": 0.5}
    assert evaluation.losses == [16.0, 4.0, 1.0]
    assert evaluation.kept == b"3 1.0"


def test_a_task_can_go_on_from_what_it_kept():
    evaluation = Evaluation({"rate": 0.5, "start": 8.0}, fidelity=3, earlier=b"2 2.0")

    assert slide(evaluation) == {"height": 1.0, "calm": 0.5}
    assert evaluation.losses == [1.0]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_diverged(loss):
    with pytest.raises(DivergedError, match=f"the loss of step 2 is {loss}"):
        Evaluation({}).report(2, loss)


def test_a_report_ends_an_evaluation_that_is_to_stop():
    evaluation = Evaluation({}, should_stop=lambda: True)

    with pytest.raises(StoppedError, match="stopped in step 4"):
        evaluation.report(4, 1.0)
    assert evaluation.losses == [1.0]
