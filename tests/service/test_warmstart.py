from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.access import Access
from service.earlier import Configs, front_in_store
from service.errors import InputError
from service.schema import StudyState
from service.server import run_study
from service.store import Store
from service.warmstart import needs_front
from tests.service.fakes import CONFIG, FakeDispatcher, study_spec
from tests.service.running import by_id, coordinator_of, new_study
from tests.service.served import recorded

EARLIER: Configs = {
    "00007": {"weight_bits": 2, "optimizer": "adam"},
    "00003": {"weight_bits": 4, "learning_rate": "0.02", "shift_depth": 3},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


@pytest.mark.parametrize("optimizer", ["greenshift", "smac-default", "random"])
def test_a_study_begins_with_its_initial_configs_and_then_an_earlier_front(store: Store, optimizer: str) -> None:
    study = new_study(
        store, optimizer=optimizer, warm_start="e", initial_configs=[{"weight_bits": 5}], budget={"n_trials": 6}
    )
    coordinator_of(study, store, FakeDispatcher(1), earlier=EARLIER).run()
    configs = [by_id(store, study)[f"0000{i}"].config for i in (1, 2, 3)]
    assert [config["weight_bits"] for config in configs] == [5, 2, 4]
    assert "momentum" not in configs[1]
    # The depth is this study's fidelity; what a config leaves out is the default.
    assert (configs[2]["learning_rate"], configs[2]["quantizer"], "shift_depth" in configs[2]) == (
        0.02,
        "deepshift-ps",
        False,
    )


def test_what_an_earlier_study_finds_later_changes_nothing(store: Store) -> None:
    study = new_study(store, warm_start="e", budget={"n_trials": 3})
    assert needs_front(study, store)
    dispatcher = FakeDispatcher(1, holds=True)
    first = coordinator_of(study, store, dispatcher, earlier=EARLIER)
    first.stop()
    first.run()
    assert not needs_front(study, store)
    coordinator_of(study, store, FakeDispatcher(1)).run()
    configs = [by_id(store, study)[name].config["weight_bits"] for name in ("00001", "00002")]
    assert configs == [2, 4]
    assert [e.kind for e in store.events(study.study_id)].count("warm_start_found") == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weight_bits": 9}, "weight_bits must be 2..5, got 9"),
        ({"weight_bits": "many"}, "weight_bits must be 2..5, got 'many'"),
        ({"optimizer": "lion"}, "optimizer must be sgd or adam or radam or rmsprop, got 'lion'"),
        ({"colour": "red"}, "colour is no hyperparameter of the space, which has activation_fraction_bits, "),
        ({"shift_depth": "11"}, "shift_depth must be 1..10, got '11'"),
    ],
)
def test_configs_that_do_not_fit_are_left_out_with_a_warning_and_refused_where_none_fits(
    store: Store, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any], said: str
) -> None:
    study = new_study(store, warm_start="e", fidelity=None, budget={"n_trials": 2})
    with pytest.raises(InputError, match=rf"^warm_start: none of 1 configs of e .*: trial 00009: {said}") as caught:
        coordinator_of(study, store, earlier={"00009": wrong})
    assert len(str(caught.value).splitlines()) == 1
    assert needs_front(study, store)
    coordinator_of(study, store, earlier={"00009": wrong, "00003": {"weight_bits": 4}}).run()
    assert by_id(store, study)["00001"].config["weight_bits"] == 4
    assert f"warm_start: left out trial 00009: {said}" in caplog.text


def test_a_value_that_a_study_fixes_fits_where_it_is_the_same(store: Store) -> None:
    study = new_study(store, warm_start="e", fixed={"weight_bits": 4, "schedule": "constant"}, budget={"n_trials": 2})
    coordinator_of(study, store, earlier={"a": {"weight_bits": 5}, "b": {"weight_bits": "4", "batch_size": 32}}).run()
    config = by_id(store, study)["00001"].config
    assert (config["weight_bits"], config["batch_size"], config["schedule"]) == (4, 32, "constant")


def test_a_study_of_a_service_begins_with_the_front_of_another_in_its_store(store: Store) -> None:
    earlier = recorded(store)
    study = new_study(store, warm_start=earlier.study_id, budget={"n_trials": 3})
    coordinator_of(study, store, FakeDispatcher(1), earlier=front_in_store(store, earlier.study_id)).run()
    config = by_id(store, study)["00001"].config
    assert {name: config[name] for name in CONFIG} == CONFIG


def test_a_run_says_before_it_starts_workers_that_there_is_nothing_to_begin_with(tmp_path: Path) -> None:
    spec = study_spec(warm_start=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"^warm_start: must be a folder of `greenshift run`"):
        run_study(spec, tmp_path / "out", scheduler=Access("tcp://127.0.0.1:1"))
    assert not (tmp_path / "out").exists()


def test_a_study_that_names_no_other_begins_with_none(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 2})
    assert not needs_front(study, store)
    assert coordinator_of(study, store, FakeDispatcher(1), earlier=EARLIER).run() is StudyState.COMPLETED
    assert store.warm_start(study.study_id) is None
