"""What an image costs on shift-and-add hardware, for every network that a study may convert another into."""

from __future__ import annotations

from typing import Literal

from worker.wire import Frozen


class DeploymentTable(Frozen):
    """`deployment_energy` without building a network, so that a search can compute it rather than model it.

    The figures are those of `shiftlayers.estimate_cost`. Of sequences the entry d is of the last d layers converted.

    Attributes:
        rest_joules: of the layers that stay floating-point, of batch normalisation and all else.
        macs: products in the converted layers.
        n_weights: weights and biases of the converted layers.
        n_activations: values that the converted layers read and write.
        int8_joules: of the whole network with those layers in 8-bit integers; it may end earlier, where the network has
            layers that can only become shift layers.
        n_terms: powers of two in a weight, by the name of the quantizer, of 2, 3, ... weight bits.
        joules_per_term: of a shift and an add of activations of 1, 2, ... bits.
        joules_per_bit: of moving one bit through the on-chip buffer.
    """

    rest_joules: tuple[float, ...]
    macs: tuple[int, ...]
    n_weights: tuple[int, ...]
    n_activations: tuple[int, ...]
    int8_joules: tuple[float, ...]
    n_terms: dict[str, tuple[int, ...]]
    joules_per_term: tuple[float, ...]
    joules_per_bit: float

    def joules(
        self,
        family: Literal["shift", "int8", "float"],
        depth: int,
        *,
        quantizer: str,
        weight_bits: int,
        activation_bits: int,
    ) -> float:
        """J / image of the network with its last `depth` layers converted.

        Args:
            family: what they are converted into; of other families than shift the rest is ignored.
            depth: 0 or more.
            quantizer: of the weights.
            weight_bits: 2 or more.
            activation_bits: integer and fraction bits together.

        Raises:
            IndexError: a depth that the network does not have.
        """
        if family == "int8":
            return self.int8_joules[depth]
        if family == "float":
            return self.rest_joules[0]
        n_terms = self.n_terms[quantizer][weight_bits - 2]
        compute = self.macs[depth] * n_terms * self.joules_per_term[activation_bits - 1]
        bits = self.n_weights[depth] * weight_bits + self.n_activations[depth] * activation_bits
        return self.rest_joules[depth] + compute + bits * self.joules_per_bit
