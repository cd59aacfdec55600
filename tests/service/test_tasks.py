from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace

from service.assembly import make_coordinator, settle, task_of
from service.dispatch import InlineDispatcher, OwnTask
from service.errors import ConflictError, InputError
from service.ledger import Ledger
from service.report.files import write_files
from service.schema import Fidelity, Study, StudySpec, StudyState, Trial, TrialState
from service.server import finalize_study, open_study
from service.space import build_space
from service.store import Store
from service.study_run import StudyRun
from service.tasks import completed
from tests.service.fakes import study_spec, trial
from tests.worker.distributions import write
from tests.worker.valley import SPACE, valley
from worker import trial as worker_trial
from worker.energy.sources import NoSource
from worker.schema import SiteSpec, TaskDescription, TaskFidelity, TaskObjective

# Hyperband promotes whatever a trial takes; here low fidelities take no less than the highest.
SHORT = {"name": "toy", "task": "valley", "budget": {"n_trials": 12}, "optimizer": "smac-default"}
VALLEY = TaskDescription(
    name="valley",
    space=SPACE.to_serialized_dict(),
    objectives=dict(valley.objectives),
    fidelity=valley.fidelity,
    device="CPU and memory",
)
WHOLE = Fidelity(name=None, min_fidelity=1, max_fidelity=9)
N_STEPS = 4
DEFAULT_HEIGHT = (8 * 0.5**N_STEPS) ** 2


def short(**changes: Any) -> StudySpec:
    return StudySpec.load(SHORT | changes)


def space_of(*names: str) -> dict[str, Any]:
    return ConfigurationSpace(dict.fromkeys(names, (0.0, 1.0))).to_serialized_dict()


# A study that leaves things to its task


def test_a_study_of_a_task_need_not_say_what_the_task_says() -> None:
    spec = completed(short(), VALLEY)

    assert spec.objectives == {"height": "minimize", "calm": "maximize"}
    assert (spec.space, spec.fidelity, spec.gaps) == (VALLEY.space, WHOLE, frozenset())
    assert (spec.subject, spec.dataset, spec.network) == ("task valley", None, None)


@pytest.mark.parametrize(
    ("changes", "gaps"),
    [
        ({}, {"space", "objectives", "fidelity"}),
        ({"fidelity": None}, {"space", "objectives"}),
        ({"objectives": {"height": "minimize", "energy": "minimize"}}, {"space", "fidelity"}),
        ({"space": VALLEY.space}, {"objectives", "fidelity"}),
    ],
    ids=["nothing", "fidelity", "objectives", "space"],
)
def test_what_a_study_leaves_open_stays_open_in_json(changes: dict[str, Any], gaps: set[str]) -> None:
    spec = short(**changes)
    again = StudySpec.model_validate_json(spec.model_dump_json())

    assert (again, again.gaps) == (spec, gaps)
    with Store(None) as store:
        assert store.studies() == []
        assert store.study(store.create_study(spec).study_id).spec.gaps == gaps
    assert StudySpec.model_validate_json(completed(again, VALLEY).model_dump_json()) == completed(spec, VALLEY)


def test_a_network_leaves_nothing_open() -> None:
    assert study_spec().gaps == frozenset()


def test_a_study_may_evaluate_in_full_what_has_a_fidelity() -> None:
    assert completed(short(fidelity=None), VALLEY).fidelity is None


def test_a_study_may_choose_objectives_and_fidelity() -> None:
    objectives = {"energy": "minimize", "height": "minimize"}
    fidelity = {"min_fidelity": 2, "max_fidelity": 4, "eta": 2}

    spec = completed(short(objectives=objectives, fidelity=fidelity), VALLEY)

    assert list(spec.objectives) == ["energy", "height"]
    assert spec.fidelity == Fidelity(name=None, min_fidelity=2, max_fidelity=4, eta=2)


def test_a_task_without_fidelity_is_evaluated_in_full() -> None:
    assert completed(short(), VALLEY.model_copy(update={"fidelity": None})).fidelity is None


def test_the_fidelity_of_a_task_is_no_knob_of_ours() -> None:
    assert (WHOLE.knobs, WHOLE.values(3.5)) == ((), {})


def test_the_space_of_a_task_is_taken_as_it_is_and_seeded() -> None:
    spaces = [build_space(completed(short(seed=seed), VALLEY), 0) for seed in (1, 1, 2)]

    assert set(spaces[0]) == {"rate", "start"}
    first, again, other = (space.sample_configuration(5) for space in spaces)
    assert first == again != other


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "digits"}, "dataset: must be left out, because the study names a task; got 'digits'"),
        ({"network": "resnet8"}, "network: must be left out, because the study names a task; got 'resnet8'"),
        ({"family": "int8"}, "family: must be left out, because the study names a task; got 'int8'"),
        ({"n_seeds": 2}, "n_seeds: must be left out, because the study names a task; got 2"),
        ({"fixed": {"weight_bits": 3}, "weights": "w"},
         "fixed: must be left out, because the study names a task; got {'weight_bits': 3}\n"
         "weights: must be left out, because the study names a task; got 'w'"),
        ({"space": "dsnn"}, "space: of a task must be left out or a ConfigSpace JSON object, got 'dsnn'"),
        ({"fidelity": {"name": "epochs", "min_fidelity": 1, "max_fidelity": 2}},
         "fidelity: that of a task has no name and nothing together with it, got epochs"),
        ({"fidelity": {"min_fidelity": 1, "max_fidelity": 2, "together": {"epochs": [1, 2]}}},
         "fidelity: that of a task has no name and nothing together with it, got epochs"),
        ({"fidelity": None, "continue_promoted": True},
         "continue_promoted needs a fidelity, else no trial is promoted"),
        ({"objectives": {"height": "minimize", "seed": "minimize"}},
         "objectives.seed: a column of tables that an objective of a task must not be called like, got 'seed'"),
        ({"objectives": {"height": "down", "calm": "maximize"}},
         "objectives.height: must be 'minimize' or 'maximize', got 'down'"),
        ({"task": None, "dataset": "digits"}, "network: missing\nobjectives: missing\nfidelity: missing"),
        ({"task": None, "dataset": None, "network": "resnet8", "fidelity": None,
          "objectives": {"error": "minimize", "energy": "minimize"}}, "dataset: must be a name, got None"),
    ],
)  # fmt: skip
def test_a_study_of_a_task_and_of_a_network_at_once_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        short(**changes)
    assert str(caught.value) == message


def test_the_fidelity_of_a_network_needs_a_name() -> None:
    with pytest.raises(InputError, match=r"^fidelity\.name: must be shift_depth, epochs, data_fraction, got None$"):
        study_spec(fidelity={"name": None, "min_fidelity": 1, "max_fidelity": 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": {"error": "minimize", "calm": "maximize"}},
         "objectives: task valley has height, calm, energy, emissions, water_litres, embodied_grams, got 'error'"),
        ({"objectives": {"height": "minimize", "calm": "minimize"}},
         "objectives.calm: must be maximize, as task valley says, got 'minimize'"),
        ({"objectives": {"height": "minimize", "energy": "maximize"}},
         "objectives.energy: must be minimize, as task valley says, got 'maximize'"),
        ({"space": space_of("rate", "end")},
         "space: task valley has the hyperparameters rate, start, got end, rate"),
    ],
)  # fmt: skip
def test_what_a_task_does_not_have_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        completed(short(**changes), VALLEY)
    assert str(caught.value) == message


def described(**changes: Any) -> TaskDescription:
    return TaskDescription.model_validate(VALLEY.model_dump() | changes)


LOSS = TaskObjective(direction="minimize")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": {"loss": LOSS}},
            r"^objectives: task valley has 1; name two or three of loss, energy, emissions",
        ),
        (
            {"objectives": dict.fromkeys("abcd", LOSS)},
            r"^objectives: task valley has 4; name two or three of a, b, c, d",
        ),
        ({"objectives": {"loss": LOSS, "loss_quality": LOSS}}, r"^objectives\.loss_quality: a column of tables"),
        ({"fidelity": TaskFidelity(min_fidelity=3, max_fidelity=2)}, "^fidelity: min_fidelity must be at most"),
    ],
)
def test_a_task_that_cannot_be_searched_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        completed(short(), described(**changes))


def test_a_fidelity_that_the_task_lacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"^fidelity: task valley has none"):
        completed(short(fidelity={"min_fidelity": 1, "max_fidelity": 2}), described(fidelity=None))


def test_a_promotion_that_goes_on_needs_a_task_with_fidelity() -> None:
    with pytest.raises(InputError, match="continue_promoted needs a fidelity"):
        completed(short(continue_promoted=True), described(fidelity=None))


def test_a_broken_space_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^space: no ConfigSpace JSON object"):
        build_space(completed(short(), described(space={"hyperparameters": 3})), 0)


# Going on


def test_a_study_goes_on_as_its_task_was_when_it_began(tmp_path: Path) -> None:
    with open_study(short(), tmp_path) as (study, store):
        study = settle(study, store, VALLEY)
        store.add_trial(trial(study_id=study.study_id))

    with open_study(short(), tmp_path) as (study, store):
        assert settle(study, store, described(fidelity=TaskFidelity(min_fidelity=1, max_fidelity=99))) == study
        assert study.spec == completed(short(), VALLEY)
        assert [e.kind for e in store.events(study.study_id)].count("spec_changed") == 1
    with open_study(completed(short(), VALLEY), tmp_path):
        pass


def test_the_store_keeps_what_workers_know_of_a_task() -> None:
    with Store(None) as store:
        study = store.create_study(short())
        store.record_facts(study.study_id, VALLEY)

        assert store.facts(study.study_id) == VALLEY


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": "hill"}, "task"),
        ({"fidelity": None}, "fidelity"),
        ({"objectives": {"height": "minimize", "energy": "minimize"}}, "objectives"),
    ],
)
def test_another_study_of_a_task_is_refused(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    with open_study(short(), tmp_path) as (study, store):
        study = settle(study, store, VALLEY)
        store.add_trial(trial(study_id=study.study_id))

    with pytest.raises(ConflictError, match=f"its {key} differ"), open_study(short(**changes), tmp_path):
        pass


def test_a_study_of_a_task_has_no_test_split_to_be_judged_by(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        store.create_study(short())

    with pytest.raises(InputError, match="is of task valley; only networks are judged by a test split"):
        finalize_study(tmp_path)


# A whole study in this process


@dataclass(frozen=True)
class Finished:
    """A study of a task that has run to its end."""

    study: Study
    trials: list[Trial]
    folder: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("study")
    write(folder / "site", "unused", "", "[greenshift.tasks]\nvalley = tests.worker.valley:valley\n")
    with pytest.MonkeyPatch.context() as patch, Store(folder / "study.sqlite") as store:
        patch.syspath_prepend(str(folder / "site"))
        patch.setattr(worker_trial, "open_source", lambda _uuid: NoSource())
        dispatcher = InlineDispatcher()
        fidelity = {"min_fidelity": 1, "max_fidelity": N_STEPS, "eta": 2}
        study = store.create_study(short(continue_promoted=True, fidelity=fidelity, initial_configs=[{"rate": 0.25}]))
        facts = dispatcher.inspect(task_of(study.spec))
        study = settle(study, store, facts)
        options = {"models_dir": str(folder / "models"), "checkpoints": str(folder / "checkpoints")}
        assert make_coordinator(study, store, dispatcher, facts, **options).run() is StudyState.COMPLETED
        found = Finished(store.study(study.study_id), store.trials(study.study_id), folder)
        ledger = Ledger.from_events(store.events(study.study_id))
        write_files(folder, StudyRun(found.study, found.trials, ledger))
        return found


def test_a_worker_is_asked_about_the_task() -> None:
    assert task_of(short(site={"country": "SWE"})) == OwnTask("valley", SiteSpec(country="SWE"))


def test_every_trial_is_evaluated_at_its_fidelity_also_where_it_goes_on(finished: Finished) -> None:
    assert len(finished.trials) == 12
    assert {t.state for t in finished.trials} == {TrialState.COMPLETED}
    assert len({t.fidelity for t in finished.trials}) > 1
    for t in finished.trials:
        left = t.config["start"] * (1 - t.config["rate"]) ** round(t.fidelity)
        assert (t.value("height"), t.value("calm")) == pytest.approx((left**2, 1 - t.config["rate"]))
        assert (t.shift_depth, t.epochs) == (None, None)


def test_promoted_trials_go_on_from_what_the_one_below_kept(finished: Finished) -> None:
    trials = {t.trial_id: t for t in finished.trials}
    promoted = [t for t in finished.trials if t.promoted_from is not None]

    assert promoted
    for t in promoted:
        assert t.result.earlier_legs[-1].trial_id == t.promoted_from
        assert len(t.result.training_loss) == round(t.fidelity) - round(trials[t.promoted_from].fidelity)


def test_the_default_is_that_of_the_space_at_full_fidelity(finished: Finished) -> None:
    (default,) = [t for t in finished.trials if t.is_default]

    assert (default.trial_id, default.config) == ("default", {"rate": 0.5, "start": 8.0})
    assert (default.fidelity, default.is_full, default.value("height")) == (N_STEPS, True, DEFAULT_HEIGHT)


def test_configs_that_the_study_names_come_first(finished: Finished) -> None:
    assert finished.trials[1].config == {"rate": 0.25, "start": 8.0}


def test_what_full_evaluations_made_is_kept(finished: Finished) -> None:
    full = {t.trial_id for t in finished.trials if t.is_full}

    assert {path.name for path in (finished.folder / "models").iterdir()} == full


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_the_tasks_objectives_and_nothing_of_networks(finished: Finished) -> None:
    (default,) = [row for row in rows(finished.folder / "trials.csv") if row["trial_id"] == "default"]

    assert (float(default["height"]), default["calm"]) == (DEFAULT_HEIGHT, "0.5")
    assert (default["height_quality"], default["calm_quality"]) == ("measured", "estimated")
    assert (default["config.rate"], default["config.start"]) == ("0.5", "8.0")
    assert {default[name] for name in ("shift_depth", "epochs", "error", "deployment_energy", "energy")} == {""}


def test_the_front_trades_the_tasks_objectives_in_their_directions(finished: Finished) -> None:
    full = [t for t in finished.trials if t.is_full and not t.is_default]

    def beats(a: Trial, b: Trial) -> bool:
        ours, theirs = (a.value("height"), -a.value("calm")), (b.value("height"), -b.value("calm"))
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))

    expected = {t.trial_id for t in full if not any(beats(other, t) for other in full)}
    assert {row["trial_id"] for row in rows(finished.folder / "front.csv")} == expected


def test_the_report_speaks_of_the_task_and_not_of_networks(finished: Finished) -> None:
    page = (finished.folder / "report.html").read_text().split("</style>")[1]
    text = re.sub(r"<[^>]*>", " ", page)

    assert "task valley, study" in text
    assert "Which configurations of task valley trade" in " ".join(text.split())
    assert "rate 0.5, start 8" in text
    assert "250 mm" in text
    assert [word for word in ("network", " shift", "Shifts", "8-bit", "None", "quantiser") if word in text] == []
