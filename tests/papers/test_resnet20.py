"""The paper of 2024, and that of 2026 on the same network."""

from __future__ import annotations

import pytest

from tests.papers.repeated import FinalizedPreset, RepeatedPreset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1100)]


class TestPaper2024(FinalizedPreset):
    preset = "paper-2024"


class TestPaper2026(RepeatedPreset):
    preset = "paper-2026"
