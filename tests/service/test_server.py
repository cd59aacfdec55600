from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.access import Access
from service.assembly import pin
from service.errors import ConflictError, InputError
from service.schema import Study, StudySpec, StudyState, TrialState
from service.server import open_study, run_study
from service.study_run import StudyRun, as_yaml, document_of
from tests.service.fakes import FACTS, FakeDispatcher, completed, full_trial, study_spec, trial


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_study(study_spec(), tmp_path / "out"),
        pytest.raises(ConflictError, match="being used by another run"),
        open_study(study_spec(), tmp_path / "out"),
    ):
        pass


def test_a_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with open_study(study_spec(), tmp_path / "out") as (study, store):
            store.add_trial(trial(study_id=study.study_id)) if not store.trials(study.study_id) else None

    assert not (tmp_path / "out" / ".lock").exists()


def test_a_study_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_study(study_spec(), tmp_path / "out"):
        raise ZeroDivisionError

    assert not (tmp_path / "out").exists()


def test_files_of_others_stay_where_a_study_never_began(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with open_study(study_spec(), tmp_path):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_study_of_others_that_never_began_here_stays(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("# mine\n")
    with pytest.raises(ZeroDivisionError), open_study(study_spec(), tmp_path):
        raise ZeroDivisionError

    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]
    assert (tmp_path / "study.yaml").read_text() == "# mine\n"


def test_what_an_interrupted_study_was_given_anew_is_in_its_file(tmp_path: Path) -> None:
    with open_study(study_spec(), tmp_path) as (study, store):
        store.add_trial(trial(study_id=study.study_id))
    with pytest.raises(KeyboardInterrupt), open_study(study_spec(budget={"n_trials": 99}), tmp_path):
        raise KeyboardInterrupt

    assert StudySpec.load(tmp_path / "study.yaml").budget.n_trials == 99


def test_another_study_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    with open_study(study_spec(), tmp_path) as (study, store):
        store.add_trial(trial(study_id=study.study_id))

    with pytest.raises(ConflictError, match="its seed differ"), open_study(study_spec(seed=3), tmp_path):
        pass


def test_another_budget_wakes_a_finished_study(tmp_path: Path) -> None:
    with open_study(study_spec(), tmp_path) as (study, store):
        store.add_trial(trial(study_id=study.study_id))
        store.set_study_state(study.study_id, StudyState.COMPLETED)

    with open_study(study_spec(budget={"n_trials": 99}), tmp_path) as (study, _):
        assert study.state is StudyState.WAITING
        assert study.spec.budget.n_trials == 99


def test_a_study_that_goes_on_may_allow_more_lost_workers(tmp_path: Path) -> None:
    for limit in (10, 50):
        with open_study(study_spec(max_lost_workers=limit), tmp_path) as (study, store):
            assert store.study(study.study_id).spec.max_lost_workers == limit
            if not store.trials(study.study_id):
                store.add_trial(trial(study_id=study.study_id))


def test_a_finished_study_may_keep_fewer_models_without_being_run_again(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with open_study(study_spec(), tmp_path) as (study, store):
        for one in (full_trial("a", 0.1, 1.0), full_trial("b", 0.2, 2.0), full_trial("default", 0.3, 3.0)):
            waiting = one.model_copy(update={"study_id": study.study_id, "state": TrialState.WAITING, "result": None})
            store.add_trial(waiting.model_copy(update={"is_default": one.trial_id == "default"}))
            result = one.result.model_copy(update={"study_id": study.study_id})
            store.start_attempt(waiting)
            store.finish_attempt(result, TrialState.COMPLETED)
            (tmp_path / "models" / f"{one.trial_id}.safetensors").touch()
        store.set_study_state(study.study_id, StudyState.COMPLETED)

    run = run_study(study_spec(keep_models="front"), tmp_path, scheduler=Access("tcp://127.0.0.1:1"))

    assert run.study.spec.keep_models == "front"
    assert {path.stem for path in (tmp_path / "models").iterdir()} == {"a", "default"}
    assert StudySpec.load(tmp_path / "study.yaml").keep_models == "front"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_path_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match=r"out: .* is no folder"), open_study(study_spec(), tmp_path / name):
        pass


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"x" * 5000)

    with pytest.raises(InputError, match="no store of studies"), open_study(study_spec(), tmp_path):
        pass

    assert (tmp_path / "study.sqlite").read_bytes() == b"x" * 5000


@pytest.mark.parametrize(
    ("objectives", "device_of_trials", "pinned"),
    [
        ({"error": "minimize", "energy": "minimize"}, None, "fake"),
        ({"error": "minimize", "latency": "minimize"}, "H100", "H100"),
        ({"error": "minimize", "deployment_energy": "minimize"}, "H100", None),
    ],
)
def test_a_study_that_measures_energy_stays_on_one_model_of_device(
    objectives: dict[str, str], device_of_trials: str | None, pinned: str | None, tmp_path: Path
) -> None:
    dispatcher = FakeDispatcher()
    with open_study(study_spec(objectives=objectives), tmp_path) as (study, store):
        if device_of_trials is not None:
            result = completed("1", study_id=study.study_id)
            assert result.energy is not None
            energy = result.energy.model_copy(update={"device": device_of_trials})
            store.add_trial(trial("1", study_id=study.study_id))
            store.start_attempt(store.trial(study.study_id, "1"))
            store.finish_attempt(result.model_copy(update={"energy": energy}), TrialState.COMPLETED)
        pin(study, store, dispatcher, FACTS)
    assert dispatcher.pinned == pinned


def test_a_study_can_be_named_as_to_a_client(tmp_path: Path) -> None:
    spec, out = study_spec(keep_models="none"), tmp_path / "out"
    with open_study(spec, out) as (study, store):
        store.add_trial(trial(study_id=study.study_id))
        store.set_study_state(study.study_id, StudyState.COMPLETED)
    file = tmp_path / "toy.yaml"
    file.write_text(as_yaml(document_of(spec)))
    for named in (spec, document_of(spec), file, str(file)):
        assert run_study(named, str(out)).study.study_id == study.study_id
    with pytest.raises(ConflictError, match="holds another study"):
        run_study("digits", out)
    with pytest.raises(InputError, match="nonsense"):
        run_study("nonsense", out)


def test_what_a_study_names_and_is_not_there_is_said_before_it_begins(tmp_path: Path) -> None:
    spec, begun = study_spec(warm_start=str(tmp_path / "nowhere")), list[Study]()
    with pytest.raises(InputError, match="nowhere"):
        run_study(spec, tmp_path / "out", on_open=begun.append)
    assert begun == []


def test_a_run_is_a_line_in_a_terminal() -> None:
    spec = study_spec()
    study = Study(study_id="s", spec=spec, state=StudyState.RUNNING, created_at=datetime(2026, 1, 2, tzinfo=UTC))
    run = StudyRun(study, [full_trial("00001", 0.1, 3.0), trial()])
    assert repr(run) == str(run) == "StudyRun('toy', RUNNING: 2 trials, 1 on the front)"
