"""What a shift layer is made of: the quantiser, its bits and how it rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

QuantizerName = Literal["deepshift-q", "deepshift-ps", "s3", "denseshift", "apot"]
RoundingName = Literal["nearest", "stochastic-log", "stochastic-linear"]

QUANTIZER_NAMES: tuple[str, ...] = get_args(QuantizerName)
ROUNDING_NAMES: tuple[str, ...] = get_args(RoundingName)
# 2**-126 and 2**127 are the smallest normal and the largest power of two in float32.
MIN_EXPONENT, MAX_EXPONENT = -126, 127
# Their latents choose by a threshold: there is nothing between two choices to draw from.
_STEPPED = ("s3", "denseshift")


@dataclass(frozen=True)
class ShiftConfig:
    """How weights and activations of a shift layer are rounded.

    Args:
        quantizer: `deepshift-q` rounds a float latent weight; `deepshift-ps` learns exponent and sign;
            `s3` learns sign, sparsity and exponent by thresholds; `denseshift` does so without zero; `apot` rounds
            a float latent to a sum of two powers of two.
        weight_bits: bits of one stored weight, 2..8.
        rounding: of weights; the stochastic ones are random in training only. `stochastic-log` is
            DeepShift's law (Bernoulli on the fraction of the exponent), `stochastic-linear` is unbiased in value.
            `s3` and `denseshift` have `nearest` only.
        activation_bits: (integer bits with the sign, fraction bits) of the fixed-point inputs and biases, each 1..32
            and 0..32; None leaves them float.
        per_channel_scale: each output channel has a power of two of its own that all its weights are multiplied by,
            chosen so that its largest weight fits the largest level; without it the levels of DeepShift are absolute,
            and the other quantisers have one such power for the whole layer.
        compat: `deepshift` computes as DeepShift's own code does, faults included (`shiftlayers.deepshift`): Q and PS
            only, without scale, with float activations nowhere but in PS's linear layers. Its latents must be kept in
            range by `clamp_after_step`.
        unsigned_activations: inputs have no sign, so that the same bits reach twice as far and what is negative
            becomes zero; for layers that follow a ReLU. `convert_to_shift` gives it to those alone.

    Raises:
        ValueError: a value outside the ranges above.
    """

    quantizer: QuantizerName = "deepshift-q"
    weight_bits: int = 4
    rounding: RoundingName = "nearest"
    activation_bits: tuple[int, int] | None = None
    per_channel_scale: bool = False
    compat: Literal["deepshift"] | None = None
    unsigned_activations: bool = False

    def __post_init__(self) -> None:
        if self.quantizer not in QUANTIZER_NAMES:
            raise ValueError(f"quantizer must be one of {QUANTIZER_NAMES}, got {self.quantizer!r}")
        if self.rounding not in ROUNDING_NAMES:
            raise ValueError(f"rounding must be one of {ROUNDING_NAMES}, got {self.rounding!r}")
        if self.quantizer in _STEPPED and self.rounding != "nearest":
            raise ValueError(f"rounding of {self.quantizer} must be 'nearest', got {self.rounding!r}")
        if self.compat is not None:
            self._check_compat()
        if not 2 <= self.weight_bits <= 8:
            raise ValueError(f"weight_bits must be 2..8, got {self.weight_bits}")
        if self.activation_bits is not None:
            integer, fraction = self.activation_bits
            if not (1 <= integer <= 32 and 0 <= fraction <= 32):
                raise ValueError(f"activation_bits must be (1..32, 0..32) or None, got {self.activation_bits}")
        elif self.unsigned_activations:
            raise ValueError("unsigned_activations needs activation_bits")

    def _check_compat(self) -> None:
        if self.compat != "deepshift":
            raise ValueError(f"compat must be 'deepshift' or None, got {self.compat!r}")
        if not self.quantizer.startswith("deepshift") or self.per_channel_scale or self.unsigned_activations:
            raise ValueError("compat 'deepshift' knows deepshift-q and deepshift-ps without per_channel_scale and "
                             f"with signed activations, got {self}")  # fmt: skip
        if self.activation_bits is None or self.rounding == "stochastic-linear":
            raise ValueError("compat 'deepshift' needs activation_bits, and rounding 'nearest' or 'stochastic-log'")

    @property
    def exponent_range(self) -> tuple[int, int]:
        """Smallest and largest exponent of one power of two in a weight, both included, before the channel's scale.

        b bits hold a sign and 2^(b-1) codes; DeepShift-PS and S3 spend one of them on zero. DeepShift's exponents
        end at zero (Elhoushi et al., arXiv 1905.13298), those of S3 and DenseShift begin there (Li et al., NeurIPS
        2021 and ICCV 2023), and all stay within the normal range of float32.
        """
        n_codes = 2 ** (self.weight_bits - 1)
        match self.quantizer:
            case "deepshift-q":
                return max(1 - n_codes, MIN_EXPONENT), 0
            case "deepshift-ps":
                return max(2 - n_codes, MIN_EXPONENT), 0
            case "s3":
                return 0, n_codes - 2
            case "denseshift":
                return 0, min(n_codes - 1, MAX_EXPONENT)
            case "apot":
                first, second = apot_terms(self.weight_bits)
                return min(first + second), 0

    @property
    def levels(self) -> tuple[float, ...]:
        """Magnitudes that a weight can have before its scale, ascending; at most 2^(weight_bits - 1)."""
        if self.quantizer == "apot":
            first, second = ((0.0, *(2.0**e for e in term)) for term in apot_terms(self.weight_bits))
            return tuple(sorted({a + b for a in first for b in second}))
        low, high = self.exponent_range
        zero = (0.0,) if self.quantizer in ("deepshift-ps", "s3") else ()
        return (*zero, *(2.0**e for e in range(low, high + 1)))


def apot_terms(weight_bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Exponents that the two terms of an APoT weight may have, zero besides (Li et al., ICLR 2020, equation 5).

    One bit is the sign; of m others the first term has ceil(m / 2), the second the rest. A term of k bits has
    2^k - 1 exponents, those of the first even and those of the second odd.
    """
    magnitude_bits = weight_bits - 1
    first, second = 2 ** ((magnitude_bits + 1) // 2) - 1, 2 ** (magnitude_bits // 2) - 1
    return tuple(-2 * i for i in range(first)), tuple(-1 - 2 * i for i in range(second))
