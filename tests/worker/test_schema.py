from __future__ import annotations

import subprocess
import sys
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.schema import (
    Carbon,
    EnergyReport,
    Failure,
    FailureKind,
    GpuEnergy,
    LayerSummary,
    Measurement,
    Recipe,
    SiteSpec,
    TaskDescription,
    TaskFacts,
    TaskTrialSpec,
    TrialResult,
    TrialSpec,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
maybe_finite = st.none() | finite
methods = st.sampled_from(["nvml_energy_delta", "codecarbon", "analytic", "evaluation", "none"])
qualities = st.sampled_from(["measured", "integrated", "estimated", "none"])
recipes = st.builds(
    Recipe,
    quantizer=st.sampled_from(["deepshift-q", "deepshift-ps"]),
    weight_bits=st.integers(2, 8),
    activation_integer_bits=st.integers(1, 32),
    activation_fraction_bits=st.integers(0, 32),
    rounding=st.sampled_from(["nearest", "stochastic-log", "stochastic-linear"]),
    optimizer=st.sampled_from(["sgd", "ranger"]),
    learning_rate=st.floats(0, 10, exclude_min=True),
    momentum=st.floats(0, 1, exclude_max=True),
    weight_decay=st.floats(0, 1),
    batch_size=st.integers(1, 5000),
    test_batch_size=st.integers(1, 5000),
)
specs = st.builds(
    TrialSpec,
    recipe=recipes,
    attempt=st.integers(1, 9),
    shift_depth=st.integers(0, 99),
    epochs=st.integers(1, 99),
    seed=st.integers(0, 2**63),
)
energy_reports = st.builds(
    EnergyReport,
    joules=maybe_finite,
    emissions_grams=maybe_finite,
    method=methods,
    quality=qualities,
    duration_seconds=finite,
    pue=finite,
    gpu=st.none()
    | st.builds(GpuEnergy, gross_joules=maybe_finite, temperature_celsius=st.none() | st.tuples(finite, finite)),
    carbon=st.builds(Carbon, grams=maybe_finite, grams_per_kwh=finite, year=st.none() | st.integers(1990, 2090)),
    started_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
results = st.builds(
    TrialResult,
    objectives=st.dictionaries(
        st.text(max_size=9),
        st.builds(Measurement, value=maybe_finite, method=methods, quality=qualities),
        max_size=4,
    ),
    energy=st.none() | energy_reports,
    training_loss=st.lists(finite, max_size=5).map(tuple),
    layers=st.lists(
        st.builds(LayerSummary, exponents=st.dictionaries(st.integers(-150, 127), st.integers(1, 2**40))), max_size=2
    ).map(tuple),
    duration_seconds=finite,
    failure=st.none() | st.builds(Failure, kind=st.sampled_from(FailureKind)),
)


@given(specs)
def test_a_spec_survives_json(spec):
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec


@given(results)
def test_a_result_survives_json(result):
    assert TrialResult.model_validate_json(result.model_dump_json()) == result


def test_a_result_from_before_workers_told_their_layers_has_none():
    document = TrialResult(study_id="s", trial_id="1", attempt=1).model_dump(mode="json")
    del document["layers"]
    assert TrialResult.model_validate(document).layers == ()


def test_task_facts_survive_json():
    facts = TaskFacts(
        n_layers=10, image_shape=(1, 8, 8), n_classes=10, n_train=8, n_validation=2, n_test=2, device="CPU"
    )

    assert TaskFacts.model_validate_json(facts.model_dump_json()) == facts


@pytest.mark.parametrize(
    "model",
    [
        Recipe,
        TrialSpec,
        TaskTrialSpec,
        Measurement,
        EnergyReport,
        Failure,
        TrialResult,
        TaskFacts,
        TaskDescription,
        SiteSpec,
    ],
)
def test_an_unknown_key_is_refused(model):
    with pytest.raises(ValidationError, match=r"surprise\n\s+Extra inputs are not permitted"):
        model.model_validate({"surprise": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantizer", "bitnet"),
        ("weight_bits", 1),
        ("weight_bits", 9),
        ("activation_integer_bits", 0),
        ("activation_integer_bits", 33),
        ("activation_fraction_bits", -1),
        ("activation_fraction_bits", 33),
        ("rounding", "floor"),
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -0.1),
        ("batch_size", 0),
        ("test_batch_size", 0),
    ],
)
def test_a_recipe_outside_its_ranges_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        Recipe.model_validate({field: value})


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().batch_size = 3


def test_the_default_recipe_is_the_papers_default_network():
    assert Recipe().model_dump() == {
        "quantizer": "deepshift-ps",
        "weight_bits": 5,
        "activation_integer_bits": 16,
        "activation_fraction_bits": 16,
        "rounding": "nearest",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "latent_learning_rate": None,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "label_smoothing": 0.0,
        "gradient_clip_norm": None,
        "channels_last": False,
        "precision": "float32",
        "compile": False,
        "batch_size": 128,
        "test_batch_size": 1000,
        "augmentation": None,
    }


@pytest.mark.parametrize("module", ["worker", "worker.schema", "worker.entry", "worker.errors"])
def test_importing_the_contract_loads_no_torch(module):
    script = f"import sys, {module}; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy')])"

    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=240)

    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "names"),
    [("none", ()), ("flip", ("flip",)), ("flip+crop", ("flip", "crop")), (["translate"], ("translate",)), (None, None)],
)
def test_augmentation_is_given_by_names_or_by_a_string_of_a_search_space(given, names):
    recipe = Recipe(augmentation=given)

    assert recipe.augmentation == names
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("given", ["", "rotate", "flip+rotate", ["rotate"]])
def test_an_unknown_augmentation_is_refused(given):
    with pytest.raises(ValidationError, match="augmentation"):
        Recipe(augmentation=given)
