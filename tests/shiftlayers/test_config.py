from __future__ import annotations

import dataclasses
import re

import pytest

from shiftlayers import ShiftConfig
from shiftlayers.config import QUANTIZER_NAMES, apot_terms


@pytest.mark.parametrize(
    ("quantizer", "weight_bits", "lowest"),
    [
        ("deepshift-q", 2, -1),
        ("deepshift-q", 3, -3),
        ("deepshift-q", 4, -7),
        ("deepshift-q", 5, -15),
        ("deepshift-q", 8, -126),
        ("deepshift-ps", 2, 0),
        ("deepshift-ps", 3, -2),
        ("deepshift-ps", 4, -6),
        ("deepshift-ps", 5, -14),
        ("deepshift-ps", 8, -126),
    ],
)
def test_exponent_range_is_deepshifts(quantizer, weight_bits, lowest):
    assert ShiftConfig(quantizer, weight_bits).exponent_range == (lowest, 0)


@pytest.mark.parametrize(
    ("quantizer", "weight_bits", "highest"),
    [
        ("s3", 2, 0),
        ("s3", 3, 2),
        ("s3", 4, 6),
        ("s3", 8, 126),
        ("denseshift", 2, 1),
        ("denseshift", 3, 3),
        ("denseshift", 4, 7),
        ("denseshift", 8, 127),
    ],
)
def test_exponents_of_s3_and_denseshift_begin_at_zero(quantizer, weight_bits, highest):
    assert ShiftConfig(quantizer, weight_bits).exponent_range == (0, highest)


@pytest.mark.parametrize(
    ("weight_bits", "first", "second"),
    [
        (2, (0,), ()),
        (3, (0,), (-1,)),
        (4, (0, -2, -4), (-1,)),
        (5, (0, -2, -4), (-1, -3, -5)),
    ],
)
def test_terms_of_apot_have_even_and_odd_exponents(weight_bits, first, second):
    assert apot_terms(weight_bits) == (first, second)
    assert ShiftConfig("apot", weight_bits).exponent_range == (min(first + second), 0)


@pytest.mark.parametrize("weight_bits", range(2, 9))
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_every_exponent_is_that_of_a_normal_float(quantizer, weight_bits):
    low, high = ShiftConfig(quantizer, weight_bits).exponent_range

    assert -126 <= low <= high <= 127


@pytest.mark.parametrize("rounding", ["stochastic-log", "stochastic-linear"])
@pytest.mark.parametrize("quantizer", ["s3", "denseshift"])
def test_quantisers_that_choose_by_thresholds_refuse_stochastic_rounding(quantizer, rounding):
    with pytest.raises(ValueError, match=f"^rounding of {quantizer} must be 'nearest', got '{rounding}'$"):
        ShiftConfig(quantizer, rounding=rounding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"quantizer": "inq"},
            "quantizer must be one of ('deepshift-q', 'deepshift-ps', 's3', 'denseshift', 'apot'), got 'inq'",
        ),
        (
            {"rounding": "floor"},
            "rounding must be one of ('nearest', 'stochastic-log', 'stochastic-linear'), got 'floor'",
        ),
        ({"weight_bits": 1}, "weight_bits must be 2..8, got 1"),
        ({"weight_bits": 9}, "weight_bits must be 2..8, got 9"),
        ({"activation_bits": (0, 4)}, "activation_bits must be (1..32, 0..32) or None, got (0, 4)"),
        ({"activation_bits": (33, 4)}, "activation_bits must be (1..32, 0..32) or None, got (33, 4)"),
        ({"activation_bits": (4, -1)}, "activation_bits must be (1..32, 0..32) or None, got (4, -1)"),
        ({"activation_bits": (4, 33)}, "activation_bits must be (1..32, 0..32) or None, got (4, 33)"),
        ({"unsigned_activations": True}, "unsigned_activations needs activation_bits"),
    ],
)
def test_an_invalid_value_is_refused_with_its_range(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ShiftConfig(**arguments)


@pytest.mark.parametrize("activation_bits", [None, (1, 0), (32, 32)])
def test_the_ends_of_the_activation_ranges_are_allowed(activation_bits):
    assert ShiftConfig(activation_bits=activation_bits).activation_bits == activation_bits


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ShiftConfig().weight_bits = 3
