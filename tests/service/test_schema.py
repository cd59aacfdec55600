from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.documents import read_document
from service.errors import InputError
from service.schema import Budget, Fidelity, StudySpec, preset_names
from tests.service.fakes import full_trial, study_document, study_spec

PAPER_LIKE = Fidelity(min_fidelity=3, max_fidelity=10, together={"epochs": (3, 9)})


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_under_its_own_name(name: str) -> None:
    assert StudySpec.load(name).name == name


def test_seven_presets_come_with_the_program() -> None:
    papers = ["paper-2024", "paper-2026", "paper-2026-googlenet", "paper-2026-mobilenetv2"]
    assert preset_names() == ["cifar10-resnet20", "digits", "fashion-mnist", *papers]


FIDELITY = {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 10}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, ["colour", "unknown key", "network"]),
        ({"fidelity": FIDELITY | {"colour": 1}}, ["fidelity.colour", "unknown key", "min_fidelity"]),
        (
            {"budget": {"n_trails": 3}},
            ["budget.n_trails: unknown key (did you mean n_trials?); allowed are n_trials, wall_seconds"],
        ),
        ({"objectives": {"error": "minimize", "speed": "maximize"}}, ["speed", "'error'", "deployment_energy"]),
        ({"objectives": {"error": "minimize"}}, ["objectives", "at least 2", "error"]),
        ({"objectives": {"error": "down", "energy": "minimize"}}, ["objectives.error", "down", "'minimize'"]),
        ({"fidelity": FIDELITY | {"min_fidelity": 11}}, ["fidelity", "min_fidelity", "11", "at most", "10"]),
        ({"fidelity": FIDELITY | {"eta": 1}}, ["fidelity.eta: must be at least 2, got 1"]),
        ({"fidelity": FIDELITY | {"name": "width"}}, ["fidelity.name", "width", "'shift_depth'"]),
        ({"fidelity": FIDELITY | {"together": {"shift_depth": [1, 2]}}}, ["together", "shift_depth"]),
        ({"fidelity": FIDELITY | {"together": {"epochs": [0, 2]}}}, ["together", "epochs", "at least 1", "0..2"]),
        ({"budget": {}}, ["budget", "n_trials", "wall_seconds"]),
        ({"budget": {"n_trials": 0}}, ["budget.n_trials: must be at least 1, got 0"]),
        ({"budget": {"n_trials": True}}, ["budget.n_trials: must be a whole number, got True"]),
        ({"budget": {"wall_seconds": False}}, ["budget.wall_seconds: must be a number, got False"]),
        ({"seed": True}, ["seed: must be a whole number, got True"]),
        ({"budget": {"n_trials": "many"}}, ["budget.n_trials: must be a whole number, got 'many'"]),
        ({"budget": {"energy_joules": -1}}, ["budget.energy_joules: must be above 0, got -1"]),
        ({"seed": -1}, ["seed: must be at least 0, got -1"]),
        ({"space": "wide"}, ["space", "wide", "dsnn", "paper"]),
        ({"optimizer": "grid"}, ["optimizer", "grid", "'random'"]),
        ({"family": "int4"}, ["family: must be 'shift', 'int8', 'float' or 'search', got 'int4' (did you mean int8?)"]),
        ({"name": 3}, ["name: must be text, got 3"]),
        ({"keep_models": "some"}, ["keep_models", "some", "'front'"]),
        ({"baselines": ["shiftcnn"]}, ["baselines.0", "shiftcnn", "deepshift-recommended"]),
        (
            {"fixed": {"schedul": "constant"}},
            ["fixed.schedul: unknown key (did you mean schedule?); allowed are activation_"],
        ),
        (
            {"fixed": {"schedule": "constantly"}},
            ["fixed.schedule: must be 'cosine'", "got 'constantly' (did you mean constant?)"],
        ),
        ({"fixed": {"batch_size": [16, 32]}}, ["fixed.batch_size: must be a word or a number, got [16, 32]"]),
        ({"ranges": {"weight_bits": [2]}}, ["ranges.weight_bits", "missing"]),
        ({"ranges": {"weight_bits": ["a", 2]}}, ["ranges.weight_bits.0: must be a number, got 'a'"]),
        ({"ranges": {"weight_bits": 2}}, ["ranges.weight_bits: must be a list, got 2"]),
        ({"budget": 4}, ["budget: must be a mapping of keys to values, got 4"]),
        ({"budget": {"wall_seconds": float("inf")}}, ["budget.wall_seconds: must be a finite number, got inf"]),
        ({"budget": {"n_trials": 10**12}}, ["budget.n_trials: must be at most 1000000000, got 1000000000000"]),
        ({"n_seeds": 10**6}, ["n_seeds: must be at most 1000, got 1000000"]),
        ({"seed": 2**31}, ["seed: must be below 2147483648, got 2147483648"]),
        ({"fidelity": FIDELITY | {"together": {"epochs": [1, 1e9]}}}, ["epochs must be at most 1000000, got 1..1e+09"]),
        ({"continue_promoted": "maybe"}, ["continue_promoted: must be true or false, got 'maybe'"]),
        ({"constraints": ["eror <= 0.2"]}, ["constraints: ", "got 'eror' (did you mean error?)"]),
    ],
)
def test_bad_input_is_refused_with_key_value_and_what_is_allowed(changes: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        StudySpec.load(study_document(**changes))
    message = str(caught.value)
    assert [word for word in said if word not in message] == []
    assert len(message.splitlines()) == 1


def test_a_missing_key_is_named() -> None:
    document = study_document()
    del document["dataset"]
    with pytest.raises(InputError, match=r"^dataset: missing$"):
        StudySpec.load(document)


def test_all_faults_of_a_study_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        StudySpec.load(study_document(rangs={}, fixed={"schedul": "step", "weight_bits": 9}, seed="one"))
    keys = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert keys == ["seed", "fixed.schedul", "fixed.weight_bits", "rangs"]


def test_many_faults_are_six_lines_of_which_the_last_counts_the_others() -> None:
    with pytest.raises(InputError) as caught:
        StudySpec.load(study_document(**{f"key{i}": i for i in range(20)}))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [*(f"key{i}" for i in range(5)), "and 15 further faults"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "must hold a mapping"),
        ("just words", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("a: [1,\nb: }", "is no YAML"),
        ("seed: 1\nname: x\nseed: 2\n", "key 'seed' is given twice, in lines 1 and 3"),
        ("budget: {n_trials: 1, n_trials: 2}", "key 'n_trials' is given twice, in lines 1 and 1"),
        ("budget:\n  n_trials: 1\n  n_trials: 1\n", "key 'n_trials' is given twice, in lines 2 and 3"),
    ],
)
def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        StudySpec.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget: {n_trials: yes}", "budget.n_trials: must be a whole number, got 'yes'"),
        ("budget: {n_trials: true}", "budget.n_trials: must be a whole number, got True"),
        ("ranges: {epochs: [no, 5]}", "ranges.epochs.0: must be a number, got 'no'"),
        ("ranges: {epochs: [true, 5]}", "ranges.epochs.0: must be a number, got True"),
        (
            "fidelity: {min_fidelity: 1, max_fidelity: 2, together: {epochs: [true, 9]}}",
            "fidelity.together.epochs.0: must be a number, got True",
        ),
        ("site: {pue: on}", "site.pue: must be a number, got 'on'"),
        ("site: {pue: true}", "site.pue: must be a number, got True"),
        ("fixed: {learning_rate: true}", "fixed.learning_rate: must be a number, got True"),
        ("fixed: {learning_rate: yes}", "fixed.learning_rate: must be a number, got 'yes'"),
    ],
)
def test_yes_and_true_are_no_numbers(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\n{text}\n")
    with pytest.raises(InputError) as caught:
        StudySpec.load(path)
    assert said in str(caught.value)


def test_true_and_false_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("a: true\nb: [False, TRUE, truly, NO]\n")
    assert read_document(str(path)) == {"a": True, "b": [False, True, "truly", "NO"]}


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\x89PNG\r\n\x00\xff\xfe")
    with pytest.raises(InputError):
        StudySpec.load(path)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"cifar10-resnet20, digits, fashion-mnist, .*'nonsense'"):
        StudySpec.load("nonsense")


def test_the_preset_that_was_meant_is_guessed() -> None:
    with pytest.raises(InputError, match=r", got 'fashion_mnist' \(did you mean fashion-mnist\?\)$"):
        StudySpec.load("fashion_mnist")


def test_a_file_is_read_like_a_dict(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(study_spec().model_dump_json())
    assert StudySpec.load(path) == study_spec()


def test_together_follows_the_named_knob_in_whole_numbers() -> None:
    assert PAPER_LIKE.values(10 / 3) == {"shift_depth": 3, "epochs": 3}


def test_the_ends_of_a_fidelity_are_exact() -> None:
    assert PAPER_LIKE.values(3) == {"shift_depth": 3, "epochs": 3}
    assert PAPER_LIKE.values(10) == {"shift_depth": 10, "epochs": 9}


def test_a_fidelity_of_one_value_means_the_upper_end() -> None:
    fidelity = Fidelity(min_fidelity=4, max_fidelity=4, together={"epochs": (2, 6)})
    assert fidelity.values(4) == {"shift_depth": 4, "epochs": 6}


@given(st.floats(3, 10), st.floats(3, 10))
def test_more_fidelity_is_never_less_of_a_knob(a: float, b: float) -> None:
    lower, higher = PAPER_LIKE.values(min(a, b)), PAPER_LIKE.values(max(a, b))
    assert all(lower[knob] <= higher[knob] for knob in PAPER_LIKE.knobs)


@given(st.floats(0.01, 50), st.floats(0.01, 50))
def test_a_knob_is_at_least_one(a: float, b: float) -> None:
    fidelity = Fidelity(min_fidelity=min(a, b), max_fidelity=max(a, b))
    assert fidelity.values(min(a, b))["shift_depth"] >= 1


objectives = st.dictionaries(
    st.sampled_from(["error", "energy", "emissions", "deployment_energy"]),
    st.sampled_from(["minimize", "maximize"]),
    min_size=2,
    max_size=3,
)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_json(name: str) -> None:
    spec = StudySpec.load(name)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


@given(objectives, st.integers(0, 2**31 - 1), st.floats(0.1, 1e9), st.sampled_from(["dsnn", "paper"]))
def test_a_study_survives_json(names: dict[str, str], seed: int, joules: float, space: str) -> None:
    spec = study_spec(objectives=names, seed=seed, budget={"energy_joules": joules}, space=space)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_order_of_objectives_survives_json() -> None:
    spec = study_spec(objectives={"energy": "minimize", "error": "minimize"})
    assert list(StudySpec.model_validate_json(spec.model_dump_json()).objectives) == ["energy", "error"]


def test_a_trial_survives_json() -> None:
    trial = full_trial("00001", 0.25, 7.4e-7)
    assert type(trial).model_validate_json(trial.model_dump_json()) == trial


def test_an_unmeasured_objective_is_none() -> None:
    assert full_trial("00001", 0.25, 1e-7).value("energy") is None


def test_a_budget_may_set_any_one_limit() -> None:
    assert Budget(wall_seconds=3).n_trials is None


@pytest.mark.parametrize(
    ("fidelity", "at", "share"),
    [
        (Fidelity(name="epochs", min_fidelity=1, max_fidelity=10), 5, 0.5),
        (Fidelity(name="shift_depth", min_fidelity=1, max_fidelity=10), 5, 0.8),
        (
            Fidelity(name="shift_depth", min_fidelity=1, max_fidelity=9, together={"epochs": (1, 9)}),
            3,
            0.6 / 3 + 0.4 / 9,
        ),
        (Fidelity(name=None, min_fidelity=2, max_fidelity=8), 4, 0.5),
    ],
)
def test_a_fidelity_expects_what_its_knobs_save(fidelity: Fidelity, at: float, share: float) -> None:
    assert fidelity.expected_cost(at) / fidelity.expected_cost(fidelity.max_fidelity) == pytest.approx(share)
