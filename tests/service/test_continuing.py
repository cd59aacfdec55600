from __future__ import annotations

import pytest

from service.assembly import make_coordinator
from service.baselines import baselines
from service.checkpoints import checkpoint_url, remove_checkpoints
from service.coordinator import Coordinator
from service.dispatch import InlineDispatcher, Task
from service.errors import InputError
from service.schema import StudySpec, StudyState, Trial, TrialState
from service.store import Store
from tests.service.fakes import FACTS
from worker import trial as worker_trial
from worker.energy.sources import NoSource
from worker.schema import TrialSpec

pytestmark = pytest.mark.slow

STUDY = {
    "name": "continuing",
    "dataset": "digits",
    "network": "resnet8",
    "objectives": {"error": "minimize", "deployment_energy": "minimize"},
    "fidelity": {
        "name": "epochs",
        "min_fidelity": 1,
        "max_fidelity": 4,
        "eta": 2,
        "together": {"shift_depth": [4, 10], "data_fraction": [0.05, 0.1]},
    },
    "budget": {"n_trials": 12},
    # Hyperband promotes much, whatever comes of it.
    "optimizer": "smac-default",
    "continue_promoted": True,
}


class Recording(InlineDispatcher):
    """Runs trials in this process and keeps their specs."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: dict[str, TrialSpec] = {}

    def submit(self, spec, done, *rest):
        self.specs[spec.trial_id] = spec
        super().submit(spec, done, *rest)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that has run to its end: its trials and the specs that they were sent as."""
    folder = tmp_path_factory.mktemp("study")
    patch = pytest.MonkeyPatch()
    patch.setattr(worker_trial, "open_source", lambda _uuid: NoSource())
    spec = StudySpec.load(STUDY)
    dispatcher = Recording()
    with Store(folder / "study.sqlite") as store:
        study = store.create_study(spec)
        facts = dispatcher.inspect(Task(spec.dataset, spec.network))
        checkpoints = str(folder / "checkpoints")
        coordinator = make_coordinator(study, store, dispatcher, facts, checkpoints=checkpoints)
        state = coordinator.run()
        trials = store.trials(study.study_id)
    patch.undo()
    return state, {t.trial_id: t for t in trials}, dispatcher.specs, folder


def promoted(trials: dict[str, Trial]) -> list[Trial]:
    return [t for t in trials.values() if t.promoted_from is not None]


def test_a_promoted_trial_goes_on_from_the_one_below(finished):
    state, trials, specs, _ = finished

    assert state is StudyState.COMPLETED
    assert len(promoted(trials)) >= 2
    for trial in promoted(trials):
        assert specs[trial.trial_id].resume_from == specs[trial.promoted_from].checkpoint_to is not None
        assert trial.result.earlier_legs[-1].trial_id == trial.promoted_from


def test_the_epochs_trained_are_the_differences_of_the_rungs_exactly(finished):
    _, trials, _, _ = finished
    completed = [t for t in trials.values() if t.state is TrialState.COMPLETED]

    trained = sum(len(t.result.training_loss) for t in completed)
    differences = sum(t.epochs - (trials[t.promoted_from].epochs if t.promoted_from else 0) for t in completed)

    assert trained == differences < sum(t.epochs for t in completed)


def test_every_seed_goes_on_from_its_own_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_trial, "open_source", lambda _uuid: NoSource())
    spec = StudySpec.load({**STUDY, "n_seeds": 2})
    dispatcher = Recording()
    with Store(tmp_path / "study.sqlite") as store:
        study = store.create_study(spec)
        facts = dispatcher.inspect(Task(spec.dataset, spec.network))
        make_coordinator(study, store, dispatcher, facts, checkpoints=str(tmp_path / "checkpoints")).run()
        trials = {t.trial_id: t for t in store.trials(study.study_id)}
        n_epochs = {name: len(store.epochs(study.study_id, name)) for name in trials}

    assert n_epochs == {name: len(trial.result.training_loss) for name, trial in trials.items()}
    assert promoted(trials)
    for trial in promoted(trials):
        below = trials[trial.promoted_from]
        assert len(trial.result.by_seed) == 2
        assert len(trial.result.training_loss) == 2 * (trial.epochs - below.epochs)
        assert [leg.trial_id for leg in trial.result.earlier_legs] == 2 * [below.trial_id]
    assert [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()] == []


def test_knobs_that_go_together_are_those_of_the_trial(finished):
    _, trials, specs, _ = finished

    for trial in trials.values():
        spec = specs[trial.trial_id]
        assert (spec.epochs, spec.shift_depth, spec.data_fraction) == (
            trial.epochs,
            trial.shift_depth,
            trial.data_fraction,
        )
    searched = [t for t in trials.values() if not t.is_default]
    assert {t.data_fraction for t in searched if t.epochs == 1} == {0.05}
    assert {t.shift_depth for t in searched if t.epochs == 4} == {10}


def test_trials_at_full_fidelity_leave_no_checkpoint_and_a_finished_study_none_at_all(finished):
    _, trials, specs, folder = finished

    assert all(specs[t.trial_id].checkpoint_to is None for t in trials.values() if t.is_full)
    assert not list((folder / "checkpoints").rglob("*.pt"))


def test_a_study_that_does_not_ask_for_it_leaves_no_checkpoints(tmp_path):
    spec = StudySpec.load({**STUDY, "continue_promoted": False})
    with Store(tmp_path / "study.sqlite") as store:
        study = store.create_study(spec)
        coordinator: Coordinator = make_coordinator(study, store, Recording(), FACTS, checkpoints=str(tmp_path))
        (default,) = baselines(study, FACTS)
        trial = default.model_copy(update={"is_full": False, "promoted_from": "00001", "attempt": 1})

        sent = coordinator._outputs.spec(trial)

    assert sent.resume_from is None and sent.checkpoint_to is None


def test_a_study_without_epochs_in_its_fidelity_cannot_continue():
    fidelity = {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 9}

    with pytest.raises(InputError, match="continue_promoted needs epochs in fidelity"):
        StudySpec.load({**STUDY, "fidelity": fidelity})


@pytest.mark.parametrize(
    ("fidelity", "message"),
    [
        ({"name": "data_fraction", "min_fidelity": 0.1, "max_fidelity": 2}, "data_fraction must be at most 1"),
        (
            {"name": "epochs", "min_fidelity": 1, "max_fidelity": 9, "together": {"data_fraction": [0, 1]}},
            "data_fraction must be above 0",
        ),
    ],
)
def test_a_share_of_the_data_beyond_all_of_it_is_refused(fidelity, message):
    with pytest.raises(InputError, match=message):
        StudySpec.load({**STUDY, "fidelity": fidelity, "continue_promoted": False})


@pytest.mark.parametrize("folder", ["/shared/x", "/shared/x/", "s3://bucket/x"])
def test_checkpoints_lie_under_their_study(folder):
    assert checkpoint_url(folder, "s1", "00001") == f"{folder.rstrip('/')}/s1/00001.pt"


def test_removing_checkpoints_leaves_those_of_other_studies(tmp_path):
    for study in ("one", "two"):
        (tmp_path / study).mkdir()
        (tmp_path / study / "00001.pt").touch()

    remove_checkpoints(str(tmp_path), "one")
    remove_checkpoints(str(tmp_path), "gone")

    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_site_and_weights_of_a_study_are_those_of_its_trials(tmp_path):
    spec = StudySpec.load({**STUDY, "site": {"pue": 1.4, "country": "SWE"}, "weights": "/models/resnet8.pt"})
    with Store(tmp_path / "study.sqlite") as store:
        study = store.create_study(spec)
        coordinator: Coordinator = make_coordinator(study, store, Recording(), FACTS)

        sent = coordinator._outputs.spec(baselines(study, FACTS)[0].model_copy(update={"attempt": 1}))

    assert (sent.site.pue, sent.site.country, sent.weights_path) == (1.4, "SWE", "/models/resnet8.pt")
