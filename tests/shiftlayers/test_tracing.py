from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shiftlayers.tracing import fan_in, trace


class Called(nn.Module):
    """Calls its layers out of order, one of them twice and one by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.twice, self.first, self.never = (nn.Linear(4, 4) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.first(x)))
        return self.upsample(input=self.last(x).view(-1, 1, 2, 2))


def traced(n_images: int = 1) -> dict[str, tuple[int, int, int]]:
    return {t.name: (t.n_inputs, t.n_outputs, t.macs) for t in trace(Called(), torch.zeros(n_images, 4))}


def test_layers_are_traced_in_the_order_of_their_first_calls():
    assert list(traced()) == ["first", "twice", "last", "upsample"]


def test_a_layer_that_is_called_twice_counts_twice():
    assert traced()["first"] == (4, 4, 16)
    assert traced()["twice"] == (8, 8, 32)


def test_every_image_of_a_batch_counts():
    assert traced(3)["first"] == (12, 12, 48)


def test_an_input_passed_by_keyword_counts():
    # Four input values, each multiplied with two channels of 2 x 2 weights; nine outputs of each channel.
    assert traced()["upsample"] == (4, 18, 32)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(5, 3), 5),
        (nn.Conv1d(4, 6, 3, groups=2), 6),
        (nn.Conv2d(4, 6, (3, 2)), 24),
        (nn.Conv3d(4, 6, 2), 32),
        (nn.ConvTranspose2d(4, 6, 3), 36),
    ],
    ids=str,
)
def test_fan_in_is_what_one_output_sums_over(layer, expected):
    assert fan_in(layer) == expected


def test_other_modules_have_no_fan_in():
    with pytest.raises(TypeError, match="fan_in needs a convolution or linear layer, got ReLU"):
        fan_in(nn.ReLU())


def test_a_network_that_raises_keeps_its_modes_and_has_no_hooks_left():
    model = Called().train()
    model.last.eval()

    with pytest.raises(RuntimeError):
        trace(model, torch.zeros(1, 5))

    assert [name for name, module in model.named_modules() if not module.training] == ["last"]
    assert not any(module._forward_hooks for module in model.modules())
