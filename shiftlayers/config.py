"""What a shift layer is made of: the quantiser, its bits and how it rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

QuantizerName = Literal["deepshift-q", "deepshift-ps"]
RoundingName = Literal["nearest", "stochastic-log", "stochastic-linear"]

QUANTIZER_NAMES: tuple[str, ...] = get_args(QuantizerName)
ROUNDING_NAMES: tuple[str, ...] = get_args(RoundingName)
# 2**-126 is the smallest normal float32: a smaller exponent could not be composed from its bits.
MIN_EXPONENT = -126


@dataclass(frozen=True)
class ShiftConfig:
    """How weights and activations of a shift layer are rounded.

    Args:
        quantizer: `deepshift-q` rounds a float latent weight; `deepshift-ps` learns exponent and sign.
        weight_bits: bits of one stored weight, 2..8.
        rounding: of weights; the stochastic ones are random in training only. `stochastic-log` is
            DeepShift's law (Bernoulli on the fraction of the exponent), `stochastic-linear` is unbiased in value.
        activation_bits: (integer bits with the sign, fraction bits) of the signed fixed-point inputs
            and biases, each 1..32 and 0..32; None leaves them float.

    Raises:
        ValueError: a value outside the ranges above.
    """

    quantizer: QuantizerName = "deepshift-q"
    weight_bits: int = 4
    rounding: RoundingName = "nearest"
    activation_bits: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.quantizer not in QUANTIZER_NAMES:
            raise ValueError(f"quantizer must be one of {QUANTIZER_NAMES}, got {self.quantizer!r}")
        if self.rounding not in ROUNDING_NAMES:
            raise ValueError(f"rounding must be one of {ROUNDING_NAMES}, got {self.rounding!r}")
        if not 2 <= self.weight_bits <= 8:
            raise ValueError(f"weight_bits must be 2..8, got {self.weight_bits}")
        if self.activation_bits is not None:
            integer, fraction = self.activation_bits
            if not (1 <= integer <= 32 and 0 <= fraction <= 32):
                raise ValueError(f"activation_bits must be (1..32, 0..32) or None, got {self.activation_bits}")

    @property
    def exponent_range(self) -> tuple[int, int]:
        """Smallest and largest exponent of a weight, both included.

        `deepshift-q` has 2^(b-1) exponents and no zero; `deepshift-ps` spends one code on zero
        (Elhoushi et al., DeepShift, arXiv 1905.13298). Exponents end at -126, float32's normal range.
        """
        n_exponents = 2 ** (self.weight_bits - 1) - (self.quantizer == "deepshift-ps")
        return max(1 - n_exponents, MIN_EXPONENT), 0
