"""DeepShift's published formulas written down a second time, step by step, as an oracle and as a peer to measure."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rounded(torch.autograd.Function):
    """`rule(x)` with the gradient passed unchanged."""

    @staticmethod
    def forward(_ctx, x: Tensor, rule) -> Tensor:
        return rule(x)

    @staticmethod
    def backward(_ctx, grad: Tensor):
        return grad, None


class UnequalProduct(torch.autograd.Function):
    """power * sign, where the sign's gradient is not multiplied by the power."""

    @staticmethod
    def forward(ctx, power: Tensor, sign: Tensor) -> Tensor:
        ctx.save_for_backward(sign)
        return power * sign

    @staticmethod
    def backward(ctx, grad: Tensor):
        (sign,) = ctx.saved_tensors
        return grad * sign, grad


def floor_fixed(x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
    def rule(value: Tensor) -> Tensor:
        delta, bound = math.pow(2.0, -fraction_bits), math.pow(2.0, integer_bits - 1)
        return torch.clamp(torch.floor(value / delta) * delta, -bound, bound - 1)

    return Rounded.apply(x, rule)


def q_weight(weight: Tensor, bits: int) -> Tensor:
    """Clamps the latent in place, as the published code does, and rounds it."""
    low, high = 2.0 ** (1 - 2 ** (bits - 1)), 1.0
    with torch.no_grad():
        size = weight.abs().clamp(low, high)
        weight.copy_(torch.where(weight == 0, weight, size * weight.sign()))
    return Rounded.apply(weight, lambda w: 2.0 ** torch.round(torch.log(w.abs()) / math.log(2)) * w.sign())


def ps_weight(shift: Tensor, sign: Tensor, bits: int) -> Tensor:
    with torch.no_grad():
        shift.clamp_(2 - 2 ** (bits - 1), 0)
    power = 2 ** Rounded.apply(shift, torch.round)
    return UnequalProduct.apply(power, Rounded.apply(Rounded.apply(sign, torch.round), torch.sign))


class PublishedConv(nn.Module):
    """A convolution of DeepShift-Q (`weight`) or DeepShift-PS (`shift`, `sign`), computed the published way."""

    def __init__(self, conv: nn.Conv2d, bits: int, activation_bits: tuple[int, int]) -> None:
        super().__init__()
        for name, parameter in conv.named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().clone()))
        self.bias = getattr(self, "bias", None)
        self.geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self.bits, self.activation_bits = bits, activation_bits

    def forward(self, x: Tensor) -> Tensor:
        is_q = hasattr(self, "weight")
        weight = q_weight(self.weight, self.bits) if is_q else ps_weight(self.shift, self.sign, self.bits)
        bias = None if self.bias is None else floor_fixed(self.bias, *self.activation_bits)
        return F.conv2d(floor_fixed(x, *self.activation_bits), weight, bias, *self.geometry)


class PublishedLinear(PublishedConv):
    """A linear layer: Q rounds its input and adds the float bias afterwards, PS rounds nothing."""

    def __init__(self, linear: nn.Linear, bits: int, activation_bits: tuple[int, int]) -> None:
        nn.Module.__init__(self)
        for name, parameter in linear.named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().clone()))
        self.bits, self.activation_bits = bits, activation_bits

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "shift"):
            return F.linear(x, ps_weight(self.shift, self.sign, self.bits), self.bias)
        out = floor_fixed(x, *self.activation_bits).mm(q_weight(self.weight, self.bits).t())
        out += self.bias.unsqueeze(0).expand_as(out)
        return out
