from __future__ import annotations

import pytest

from shiftlayers.config import QUANTIZER_NAMES
from tests.benchmarks.accuracy import QUICK, Run, measure

pytestmark = pytest.mark.slow


def validation_error(quantizer: str, weight_bits: int, *, rate: float = 0.1) -> float:
    """Of a small network trained on digits from scratch; chance is 0.9."""
    run = Run(quantizer, weight_bits, rate, seed=0, epochs=QUICK.epochs, judge="validation")
    return 1 - measure(run, QUICK).accuracy


@pytest.mark.parametrize(
    ("quantizer", "weight_bits"),
    [*((quantizer, 4) for quantizer in QUANTIZER_NAMES), ("deepshift-q", 2), ("deepshift-q", 3)],
)
def test_a_network_learns_from_scratch(quantizer, weight_bits):
    # Over ten seeds the largest error of any of these is 0.05.
    assert validation_error(quantizer, weight_bits) < 0.1


@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_biases_and_batch_normalisation_alone_do_not_learn_it(quantizer):
    # What the bound above means: with latents held still the smallest error over five seeds is 0.47.
    assert validation_error(quantizer, 4, rate=0.0) > 0.3
