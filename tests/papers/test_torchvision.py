"""The paper of 2026 on the networks that torchvision brings."""

from __future__ import annotations

import pytest

from tests.papers.repeated import FinalizedPreset, RepeatedPreset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1100)]


class TestMobileNetV2(RepeatedPreset):
    preset = "paper-2026-mobilenetv2"


class TestGoogLeNet(FinalizedPreset):
    preset = "paper-2026-googlenet"
