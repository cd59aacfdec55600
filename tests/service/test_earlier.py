from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.earlier import front_in_files, front_in_store
from service.errors import InputError
from service.report.tables import hyperparameters_of, write_csv
from service.schema import Study
from service.store import Store
from tests.service.fakes import CONFIG, completed, study_spec
from tests.service.served import finish, recorded

SPEC = study_spec()
AS_TEXT = {name: str(value) for name, value in CONFIG.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a run leaves, its report excepted."""
    with Store(tmp_path / "study.sqlite") as store:
        study = recorded(store)
        finish(store, study, completed("low", error=0.05, deployment_energy=1.0), fidelity=3.0, is_full=False)
        trials = store.trials(study.study_id)
        write_csv(tmp_path / "trials.csv", study.spec, trials, hyperparameters_of(trials))
        on_front = [t for t in trials if t.trial_id in ("00001", "00002")]
        write_csv(tmp_path / "front.csv", study.spec, on_front, hyperparameters_of(on_front))
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder / "study.sqlite") as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    return store.studies()[0]


def test_the_front_of_a_study_comes_by_its_first_objective(store: Store, study: Study) -> None:
    assert front_in_store(store, study.study_id) == {"00001": CONFIG, "00002": CONFIG}
    assert list(front_in_store(store, study.study_id)) == ["00001", "00002"]


def test_a_study_that_is_not_there_or_has_found_nothing_is_refused(store: Store) -> None:
    new = store.create_study(SPEC)
    for study_id, said in (("x", "there is no study 'x'"), (new.study_id, f"study {new.study_id} has no front yet")):
        with pytest.raises(InputError, match=f"^warm_start: {said}$"):
            front_in_store(store, study_id)


def test_a_folder_gives_what_its_store_holds(folder: Path) -> None:
    assert front_in_files(str(folder), SPEC) == {"00001": CONFIG, "00002": CONFIG}


@pytest.mark.parametrize("name", ["front.csv", "trials.csv", ""])
def test_a_table_gives_the_same_trials_as_text(folder: Path, name: str) -> None:
    (folder / "study.sqlite").unlink()
    found = front_in_files(str(folder / name), SPEC)
    assert list(found.items()) == [("00001", AS_TEXT), ("00002", AS_TEXT)]


def test_the_rows_of_a_table_are_judged_by_the_objectives_of_the_new_study(folder: Path) -> None:
    backwards = study_spec(objectives={"error": "maximize", "deployment_energy": "maximize"})
    assert list(front_in_files(str(folder / "trials.csv"), backwards)) == ["00003"]


def test_figures_of_two_methods_are_not_compared(folder: Path) -> None:
    table = folder / "trials.csv"
    lines = table.read_text().splitlines()
    measured = next(line for line in lines if line.startswith("00003")).replace("analytic", "measured-by-hand")
    table.write_text("\n".join([*lines, measured.replace("00003", "00009").replace("0.4", "0.0001")]))
    assert list(front_in_files(str(table), SPEC)) == ["00001", "00002"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing", None, "must be a folder of `greenshift run`, a front.csv or a trials.csv, got "),
        ("front.csv", "", "holds no COMPLETED trial with a config and known error, deployment_energy"),
        ("front.csv", "a,b\n1,2\n", "holds no COMPLETED trial"),
        ("front.csv", "state,error,deployment_energy,config.x\nCOMPLETED,low,1,2\n", "holds no COMPLETED trial"),
        ("front.csv", "state,error,deployment_energy,config.x\nCOMPLETED,nan,1,2\n", "holds no COMPLETED trial"),
    ],
)
def test_what_is_no_front_is_refused_in_one_line(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"^warm_start: .*{said}") as caught:
        front_in_files(str(tmp_path / name), SPEC)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_whose_study_has_found_nothing_is_refused(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"name": "young"}
    with Store(tmp_path / "study.sqlite") as store:
        store.create_study(study_spec(**changes))
    with pytest.raises(InputError, match="has no front yet"):
        front_in_files(str(tmp_path), SPEC)
