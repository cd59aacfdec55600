from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shiftlayers import compose_power_of_two, round_to_levels, round_to_power_of_two

ROUNDINGS = ["nearest", "stochastic-log", "stochastic-linear"]
LOW, HIGH = -15, 0
finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
# The magnitudes of APoT at four bits.
LEVELS = (0.0, 0.0625, 0.25, 0.5, 0.5625, 0.75, 1.0, 1.5)
exponent_ranges = st.tuples(st.integers(-126, 127), st.integers(-126, 127)).map(sorted)


def gradient_of(x: Tensor, outgoing: Tensor, function, *args) -> Tensor:
    x = x.clone().requires_grad_()
    function(x, *args).backward(outgoing)
    assert x.grad is not None
    return x.grad


# Powers of two


def test_every_mantissa_of_a_binade_rounds_up_from_the_square_root_of_two():
    weights = torch.arange(0x3F800000, 0x40000000, dtype=torch.int32).view(torch.float32)

    rounded = round_to_power_of_two(weights, -126, 127)

    assert torch.equal(rounded, torch.where(weights.double() >= math.sqrt(2), 2.0, 1.0))


def test_random_floats_round_as_the_float64_logarithm_says():
    generator = np.random.default_rng(0)
    weights = (generator.choice([-1, 1], 200_000) * np.exp2(generator.uniform(-20, 5, 200_000))).astype(np.float32)

    rounded = round_to_power_of_two(torch.from_numpy(weights), LOW, HIGH)

    exponents = np.clip(np.rint(np.log2(np.abs(weights.astype(np.float64)))), LOW, HIGH)
    assert np.array_equal(rounded.numpy(), (np.sign(weights) * np.exp2(exponents)).astype(np.float32))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_zero_stays_zero(rounding):
    assert torch.equal(round_to_power_of_two(torch.zeros(5), LOW, HIGH, rounding), torch.zeros(5))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nan_stays_nan(rounding):
    assert round_to_power_of_two(torch.full((5,), math.nan), LOW, HIGH, rounding).isnan().all()


def test_negative_weights_round_like_positive_ones():
    weights = torch.rand(1000)

    assert torch.equal(round_to_power_of_two(-weights, LOW, HIGH), -round_to_power_of_two(weights, LOW, HIGH))


def test_exponents_are_clamped_to_the_range():
    rounded = round_to_power_of_two(torch.tensor([1e-9, 1e-45, 0.2, 3.0, 1e38, math.inf]), -3, 0)

    assert rounded.tolist() == [0.125, 0.125, 0.25, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept(dtype):
    rounded = round_to_power_of_two(torch.full((2, 3), 0.3, dtype=dtype), LOW, HIGH)

    assert rounded.dtype == dtype
    assert rounded.tolist() == [[0.25] * 3] * 2


@given(finite_floats, exponent_ranges, st.sampled_from(ROUNDINGS))
def test_result_is_zero_or_a_signed_power_of_two_in_range(weight, exponents, rounding):
    low, high = exponents

    rounded = round_to_power_of_two(torch.tensor([weight]), low, high, rounding).item()

    if weight == 0:
        assert rounded == 0
    else:
        mantissa, exponent = math.frexp(rounded)
        assert abs(mantissa) == 0.5
        assert low <= exponent - 1 <= high
        assert math.copysign(1, rounded) == math.copysign(1, weight)


@given(finite_floats, exponent_ranges, st.sampled_from(ROUNDINGS))
def test_rounding_to_powers_is_idempotent(weight, exponents, rounding):
    once = round_to_power_of_two(torch.tensor([weight]), *exponents, rounding)

    assert torch.equal(round_to_power_of_two(once, *exponents, rounding), once)


@given(st.floats(2.0**-10, 1.0, width=32), st.sampled_from(ROUNDINGS))
def test_rounding_moves_to_a_neighbouring_power(weight, rounding):
    rounded = round_to_power_of_two(torch.tensor([weight]), LOW, 1, rounding).item()

    assert 0.5 * weight < rounded < 2 * weight


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_gradient_is_identity_also_where_clamped(rounding):
    weights = torch.tensor([1e-6, 0.3, 100.0, -1e-6, 0.0])
    outgoing = torch.tensor([1.0, -2.0, 3.0, 4.0, 5.0])

    assert torch.equal(gradient_of(weights, outgoing, round_to_power_of_two, -3, 0, rounding), outgoing)


def test_stochastic_linear_rounding_is_unbiased():
    weight = 0.7 * 2**-2

    mean = round_to_power_of_two(torch.full((1_000_000,), weight), LOW, HIGH, "stochastic-linear").mean().item()

    assert mean == pytest.approx(weight, rel=0.005)


def test_stochastic_log_rounding_follows_the_fraction_of_the_exponent():
    mean = round_to_power_of_two(torch.full((1_000_000,), 0.75), LOW, HIGH, "stochastic-log").mean().item()

    assert mean == pytest.approx(0.7925, abs=0.002)


def test_weights_of_any_memory_layout_round_alike():
    weights = torch.randn(4, 6)

    assert torch.equal(
        round_to_power_of_two(weights.t(), LOW, HIGH), round_to_power_of_two(weights.t().contiguous(), LOW, HIGH)
    )


@pytest.mark.parametrize(("low", "high"), [(-127, 0), (0, 128), (1, 0)])
def test_exponents_outside_normal_floats_are_refused(low, high):
    with pytest.raises(ValueError, match=f"-126 <= low <= high <= 127, got {low}..{high}"):
        round_to_power_of_two(torch.ones(1), low, high)
    with pytest.raises(ValueError, match=f"-126 <= low <= high <= 127, got {low}..{high}"):
        compose_power_of_two(torch.ones(1), torch.ones(1), low, high)


# Shift and sign


def test_weight_is_sign_times_two_to_the_shift():
    shift = torch.tensor([-2.0, -1.4, -1.6, 0.0, -20.0, 3.0])
    sign = torch.tensor([1.0, -1.0, 0.8, -0.6, 1.0, -1.0])

    weight = compose_power_of_two(shift, sign, -14, 0)

    assert weight.tolist() == [0.25, -0.5, 0.25, -1.0, 2.0**-14, -1.0]


def test_weight_is_zero_where_the_sign_is_at_most_one_half():
    sign = torch.tensor([0.5, -0.5, 0.499, 0.0, 0.501, -0.501])

    assert compose_power_of_two(torch.zeros(6), sign, -14, 0).tolist() == [0, 0, 0, 0, 1, -1]


def test_gradients_of_shift_and_sign_are_deepshifts():
    shift = torch.tensor([-2.0, -1.0, -30.0, -1.0]).requires_grad_()
    sign = torch.tensor([1.0, -1.0, 1.0, 0.2]).requires_grad_()
    outgoing = torch.tensor([1.0, 2.0, 3.0, 4.0])

    weight = compose_power_of_two(shift, sign, -3, 0)
    weight.backward(outgoing)

    assert weight.tolist() == [0.25, -0.5, 0.125, 0]
    torch.testing.assert_close(shift.grad, outgoing * weight.detach() * math.log(2))
    assert torch.equal(sign.grad, outgoing)


@given(st.floats(-200, 200, width=32), st.floats(-5, 5, width=32), exponent_ranges, st.sampled_from(ROUNDINGS))
def test_composed_weight_is_zero_or_a_signed_power_of_two_in_range(shift, sign, exponents, rounding):
    low, high = exponents

    weight = compose_power_of_two(torch.tensor([shift]), torch.tensor([sign]), low, high, rounding).item()

    assert weight == 0 or (abs(math.frexp(weight)[0]) == 0.5 and low <= math.frexp(weight)[1] - 1 <= high)
    assert weight * sign >= 0


@pytest.mark.parametrize(
    ("rounding", "expected"), [("stochastic-log", 0.75 * 0.5 + 0.25), ("stochastic-linear", 2**-0.75)]
)
def test_composed_exponents_round_up_by_the_law_of_their_rounding(rounding, expected):
    shift = torch.full((1_000_000,), -0.75)

    mean = compose_power_of_two(shift, torch.ones_like(shift), -14, 0, rounding).mean().item()

    assert mean == pytest.approx(expected, rel=0.005)


def test_stochastic_sign_is_zero_as_often_as_its_distance_from_one():
    sign = torch.full((1_000_000,), -0.3)

    mean = compose_power_of_two(torch.zeros_like(sign), sign, -14, 0, "stochastic-linear").mean().item()

    assert mean == pytest.approx(-0.3, abs=0.003)


@pytest.mark.parametrize(("shift", "sign"), [(math.nan, 1.0), (-1.0, math.nan)])
def test_nan_latents_give_nan_weights(shift, sign):
    assert compose_power_of_two(torch.tensor([shift]), torch.tensor([sign]), -14, 0).isnan().all()


def test_shift_and_sign_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        compose_power_of_two(torch.ones(2), torch.ones(3), -14, 0)


# Levels


def level_tables() -> st.SearchStrategy[tuple[float, ...]]:
    """Multiples of 1/64, so that float32 is exact."""
    return st.sets(st.integers(0, 128), min_size=2, max_size=9).map(lambda steps: tuple(i / 64 for i in sorted(steps)))


@given(level_tables(), st.integers(-300, 300))
def test_weight_goes_to_the_nearest_level_and_a_tie_upwards(levels, steps):
    weight = steps / 128

    rounded = round_to_levels(torch.tensor([weight]), levels).item()

    nearest = min(levels, key=lambda level: (abs(level - abs(weight)), -level))
    assert rounded == math.copysign(nearest, weight)


@given(st.floats(-3, 3, width=32))
def test_weight_goes_to_the_nearest_level_of_apot_whatever_its_mantissa(weight):
    rounded = round_to_levels(torch.tensor([weight]), LEVELS).item()

    assert abs(rounded) in LEVELS
    assert abs(abs(weight) - abs(rounded)) == min(abs(abs(weight) - level) for level in LEVELS)


@given(finite_floats, level_tables(), st.sampled_from(ROUNDINGS))
def test_level_is_a_neighbour_of_the_weight_and_has_its_sign(weight, levels, rounding):
    rounded = round_to_levels(torch.tensor([weight]), levels, rounding).item()

    magnitude = min(max(abs(weight), levels[0]), levels[-1])
    below = max(level for level in levels if level <= magnitude)
    above = min(level for level in levels if level >= magnitude)
    assert abs(rounded) in (below, above)
    assert math.copysign(1, rounded) == math.copysign(1, weight)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_weight_on_a_level_stays_there_under_every_rounding(rounding):
    weights = torch.tensor(LEVELS + tuple(-level for level in LEVELS)).repeat(1000)

    assert torch.equal(round_to_levels(weights, LEVELS, rounding), weights)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_weights_beyond_the_top_level_are_clamped_to_it(rounding):
    weights = torch.tensor([1.5001, 100.0, math.inf, -2.0, -math.inf])

    assert round_to_levels(weights, LEVELS, rounding).tolist() == [1.5, 1.5, 1.5, -1.5, -1.5]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_levels_keep_nan(rounding):
    assert round_to_levels(torch.full((3,), math.nan), LEVELS, rounding).isnan().all()


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_gradient_of_levels_is_identity_also_where_clamped(rounding):
    weights, outgoing = torch.tensor([0.0, 0.3, -7.0, 0.01]), torch.tensor([1.0, -2.0, 3.0, 4.0])

    assert torch.equal(gradient_of(weights, outgoing, round_to_levels, LEVELS, rounding), outgoing)


@pytest.mark.parametrize("weight", [0.01, 0.3, -0.3, 0.6, -1.2])
def test_linear_rounding_to_levels_is_unbiased(weight):
    mean = round_to_levels(torch.full((1_000_000,), weight), LEVELS, "stochastic-linear").double().mean().item()

    assert mean == pytest.approx(weight, abs=0.001)


def test_logarithmic_rounding_to_levels_is_unbiased_in_the_logarithm():
    rounded = round_to_levels(torch.full((1_000_000,), 0.3), LEVELS, "stochastic-log")

    assert rounded.double().log2().mean().item() == pytest.approx(math.log2(0.3), abs=0.002)


@pytest.mark.parametrize(("weight", "level"), [(0.03, 0.0), (0.0313, 0.0625), (0.03125, 0.0625), (0.0, 0.0)])
def test_logarithmic_rounding_is_to_the_nearest_below_the_first_positive_level(weight, level):
    rounded = round_to_levels(torch.full((1000,), weight), LEVELS, "stochastic-log")

    assert torch.equal(rounded, torch.full((1000,), level))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_levels_keep_dtype_and_shape(dtype):
    rounded = round_to_levels(torch.full((2, 3), 0.3, dtype=dtype), LEVELS)

    assert rounded.dtype == dtype
    assert rounded.tolist() == [[0.25] * 3] * 2
