from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.service.processes import have_ended
from tests.worker.distributions import install
from tests.worker.misbehaving import jump_once_begun
from worker import isolation, supervision, trial
from worker.energy.reading import Reading
from worker.energy.sources import NoSource
from worker.entry import describe_task, run_trial
from worker.errors import ConfigurationError
from worker.isolation import WarmChildren
from worker.schema import FailureKind, SiteSpec, TaskFidelity, TaskTrialSpec, TrialResult

CODE = """
import math, os, random, time
import numpy as np
import torch
from ConfigSpace import ConfigurationSpace
from tests.worker import misbehaving
from worker.tasks import Task, TaskObjective

SPACE = ConfigurationSpace({"x": (0.0, 1.0)})
LOSS = {"loss": TaskObjective(direction="minimize"), "time": TaskObjective(direction="minimize", unit="s")}
JSON = SPACE.to_serialized_dict()

def task(run, space=SPACE):
    return Task(run, space, LOSS)

def refuse(evaluation):
    raise RuntimeError("a bug in the task")

def wait(evaluation):
    while not evaluation.should_stop():
        time.sleep(0.001)
    evaluation.report(1, 0.5)

def draw(evaluation):
    return {"loss": random.random() + np.random.rand(), "time": torch.rand(())}

def tell(evaluation):
    raise LookupError((evaluation.device, evaluation.data_dir, evaluation.fidelity, evaluation.seed))

good = task(draw)
dict_space = task(draw, JSON)
lazy_space = task(draw, lambda: SPACE)
no_space = task(draw, 3)
lost_space = task(draw, lambda: 1 / 0)
odd_space = task(draw, {"hyperparameters": [np.float64, "x"]})
nan = task(lambda _: {"loss": math.nan, "time": 1})
infinite = task(lambda _: {"loss": 0, "time": np.float32("inf")})
missing = task(lambda _: {"loss": 0.1})
surplus = task(lambda _: {"loss": 0.1, "time": 1, "extra": 2})
nothing = task(lambda _: None)
text = task(lambda _: {"loss": "0.1", "time": 1})
several = task(lambda _: {"loss": np.ones(2), "time": 1})
diverging = task(lambda evaluation: evaluation.report(1, math.inf))
refusing = task(refuse)
waiting = task(wait)
sleeping = task(lambda _: misbehaving.sleep())
exiting = task(lambda _: os._exit(7))
whereabouts = task(tell)
"""
NAMES = [line.split(" = ")[0] for line in CODE.splitlines() if " = task(" in line]
ENTRY_POINTS = "\n".join(
    ["[greenshift.tasks]", *(f"{name} = my_tasks:{name}" for name in NAMES), "valley = tests.worker.valley:valley"]
)
AT_HALF = {"rate": 0.5, "start": 8.0}


class KilojouleCounter:
    """A counter that reads 1,000 J for every window."""

    method = "nvml_energy_delta"
    quality = "measured"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(1000.0)


@pytest.fixture(autouse=True)
def plugin(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path / "site", "my_tasks", CODE, ENTRY_POINTS)
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())


def make_spec(task: str = "valley", **changes) -> TaskTrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "task": task, "config": AT_HALF, "fidelity": 3.0}
    return TaskTrialSpec(**{**fields, "attempt": 2, **changes})


def test_an_evaluation_gives_the_tasks_objectives_with_unit_method_and_quality():
    result = run_trial(make_spec())

    assert result.failure is None
    origins = {n: (m.value, m.unit, m.method, m.quality) for n, m in result.objectives.items()}
    assert origins["height"] == (1.0, "m", "evaluation", "measured")
    assert origins["calm"] == (0.5, "", "evaluation", "estimated")
    assert set(origins) == {"height", "calm", "energy", "emissions", "water_litres", "embodied_grams"}
    assert origins["energy"] == (None, "J", "none", "none")
    assert (result.study_id, result.trial_id, result.attempt) == ("s", "t", 2)
    assert result.training_loss == (16.0, 4.0, 1.0)
    assert result.int8_deployment_energy is None
    assert TrialResult.model_validate_json(result.model_dump_json()) == result


def test_energy_is_measured_around_the_evaluation(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())

    objectives = run_trial(make_spec()).objectives

    assert (objectives["energy"].value, objectives["energy"].quality) == (1000.0, "measured")
    assert objectives["emissions"].value == pytest.approx(1000 / 3.6e6 * 475)
    assert objectives["emissions"].quality == objectives["water_litres"].quality == "estimated"


def test_without_a_fidelity_a_task_is_evaluated_at_its_maximum():
    assert run_trial(make_spec(fidelity=None)).objectives["height"].value == (8 * 0.5**9) ** 2


def test_what_an_evaluation_is_told_is_that_of_its_spec_and_worker(monkeypatch, tmp_path):
    spec = make_spec("whereabouts", fidelity=None, seed=3)

    assert "('cpu', None, 1.0, 3)" in run_trial(spec).failure.message
    assert f"PosixPath('{tmp_path}')" in run_trial(spec.model_copy(update={"data_dir": str(tmp_path)})).failure.message
    monkeypatch.setenv("GREENSHIFT_DATA_DIR", "/data")
    assert "PosixPath('/data')" in run_trial(spec).failure.message


def test_the_same_seed_draws_the_same_numbers_whatever_happened_before():
    def drawn(seed):
        objectives = run_trial(make_spec("good", seed=seed)).objectives
        return objectives["loss"].value, objectives["time"].value

    first = drawn(2**40)
    random.random(), np.random.rand(), torch.rand(())

    assert drawn(2**40) == first
    assert drawn(4) != first


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("hill", "configuration", "ConfigurationError: task must be an entry point of greenshift.tasks"),
        ("missing", "configuration", "ConfigurationError: task missing must return loss, time, got loss"),
        ("surplus", "configuration", "ConfigurationError: task surplus must return loss, time, got loss, time, extra"),
        ("nothing", "configuration", "ConfigurationError: task nothing must return loss, time, got NoneType"),
        ("text", "configuration", "ConfigurationError: objective loss of task text must be a number, got '0.1'"),
        ("several", "configuration", "objective loss of task several must be a number, got array([1., 1.])"),
        ("nan", "diverged", "DivergedError: objective loss of task nan is nan"),
        ("infinite", "diverged", "DivergedError: objective time of task infinite is inf"),
        ("diverging", "diverged", "DivergedError: the loss of step 1 is inf"),
        ("refusing", "crashed", "RuntimeError: a bug in the task"),
    ],
)
def test_an_evaluation_that_goes_wrong_says_how(task, kind, message):
    result = run_trial(make_spec(task))

    assert result.failure.kind is FailureKind(kind)
    assert message in result.failure.message
    assert result.objectives == {}
    assert (result.energy is None) is (task == "hill")


def test_steps_are_told_as_epochs_while_the_evaluation_goes_on():
    seen = []

    run_trial(make_spec(), on_epoch=seen.append)

    assert [(m.trial_id, m.attempt, m.epoch, m.training_loss) for m in seen] == [
        ("t", 2, 1, 16.0),
        ("t", 2, 2, 4.0),
        ("t", 2, 3, 1.0),
    ]
    assert all(m.seconds > 0 for m in seen)


def test_a_stop_ends_an_evaluation_at_its_next_step():
    seen = []

    result = run_trial(make_spec(fidelity=9.0), on_epoch=seen.append, should_stop=lambda: len(seen) == 2)

    assert (result.failure.kind, len(seen)) == (FailureKind.CANCELLED, 2)


def test_a_task_may_ask_whether_its_time_is_over():
    result = run_trial(make_spec("waiting", time_limit_seconds=0.05))

    assert result.failure.kind is FailureKind.TIME_LIMIT


def test_an_evaluation_goes_on_from_what_another_one_kept_and_adds_up_their_energies(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())
    places = [str(tmp_path / "new" / name) for name in ("a", "b")]

    first = run_trial(make_spec(trial_id="a", fidelity=2.0, checkpoint_to=places[0]))
    second = run_trial(make_spec(trial_id="b", fidelity=3.0, resume_from=places[0], checkpoint_to=places[1]))
    third = run_trial(make_spec(trial_id="c", fidelity=5.0, resume_from=places[1]))

    assert [len(r.training_loss) for r in (first, second, third)] == [2, 1, 2]
    assert third.objectives["height"].value == (8 * 0.5**5) ** 2
    assert [(leg.trial_id, leg.epochs, leg.joules) for leg in third.earlier_legs] == [
        ("a", 2, 1000.0),
        ("b", 1, 1000.0),
    ]
    assert [r.objectives["energy"].value for r in (first, second, third)] == [1000.0, 2000.0, 3000.0]
    assert third.energy.joules == 1000.0


def test_an_evaluation_starts_afresh_where_nothing_was_kept(tmp_path, caplog):
    result = run_trial(make_spec(resume_from=str(tmp_path / "gone"), checkpoint_to=None))

    assert (result.training_loss, result.earlier_legs) == ((16.0, 4.0, 1.0), ())
    assert "starts from the beginning" in caplog.text


def test_a_task_that_keeps_nothing_leaves_no_file(tmp_path):
    run_trial(make_spec("good", checkpoint_to=str(tmp_path / "kept")))

    assert not (tmp_path / "kept").exists()


def test_a_task_may_leave_what_it_made(tmp_path):
    run_trial(make_spec(model_path=str(tmp_path / "models" / "t")))

    assert (tmp_path / "models" / "t").read_text() == "1.0"


def test_a_description_holds_space_objectives_and_fidelity():
    description = describe_task("valley")

    assert [hp["name"] for hp in description.space["hyperparameters"]] == ["rate", "start"]
    assert {n: (o.direction, o.unit, o.quality) for n, o in description.objectives.items()} == {
        "height": ("minimize", "m", "measured"),
        "calm": ("maximize", "", "estimated"),
    }
    assert description.fidelity == TaskFidelity(min_fidelity=1, max_fidelity=9, eta=3)
    assert (description.name, description.device) == ("valley", "CPU and memory")


def test_a_description_is_refused_for_a_site_that_no_table_knows():
    with pytest.raises(ConfigurationError, match=r"site\.country .* got 'XYZ'"):
        describe_task("valley", site=SiteSpec(country="XYZ"))


def test_an_evaluation_that_fails_keeps_the_legs_that_it_went_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())
    url = str(tmp_path / "first")
    run_trial(make_spec(trial_id="first", checkpoint_to=url))

    result = run_trial(make_spec("refusing", resume_from=url))

    assert (result.failure.kind, result.energy.joules) == (FailureKind.CRASHED, 1000.0)
    assert [(leg.trial_id, leg.joules) for leg in result.earlier_legs] == [("first", 1000.0)]


@pytest.mark.parametrize("name", ["dict_space", "lazy_space"])
def test_a_space_may_be_a_dict_or_a_function(name):
    assert describe_task(name).space == describe_task("good").space


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no_space", "AttributeError"), ("lost_space", "ZeroDivisionError"), ("odd_space", "TypeError")],
)
def test_a_space_that_is_none_is_refused_in_one_line(name, reason):
    with pytest.raises(ConfigurationError, match=rf"^task {name}: its space is no ConfigSpace \({reason}: .*\)$"):
        describe_task(name)


@pytest.mark.slow
def test_a_task_in_a_process_of_its_own_cannot_bring_down_its_worker(monkeypatch, tmp_path):
    jump_once_begun(monkeypatch, tmp_path / "begun")
    monkeypatch.setattr(supervision, "KILL_SECONDS", 120.0)
    children = WarmChildren()
    monkeypatch.setattr(isolation, "_warm_children", lambda: children)

    good = run_trial(make_spec(), isolated=True)
    assert (good.failure, good.objectives["height"].value) == (None, 1.0)
    assert describe_task("valley", isolated=True) == describe_task("valley")
    with pytest.raises(ConfigurationError, match="got 'hill'"):
        describe_task("hill", isolated=True)
    (child,) = children.pids
    slept = run_trial(make_spec("sleeping", time_limit_seconds=600), isolated=True)
    (tmp_path / "begun").unlink()
    assert slept.failure.kind is FailureKind.TIME_LIMIT
    assert "process_died" not in slept.energy.flags
    gone = run_trial(make_spec("exiting"), isolated=True)
    assert (gone.failure.kind, gone.failure.message) == (
        FailureKind.CRASHED,
        "the process of the trial exited with code 7",
    )
    assert "process_died" in gone.energy.flags
    assert have_ended([child])
    children.close()
