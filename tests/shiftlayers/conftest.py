"""One thread, one seed: every test sees the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# The first call of an operator may take longer than Hypothesis allows one example.
settings.register_profile("torch", deadline=None)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="package")
def no_deadline() -> Iterator[None]:
    before = settings.get_current_profile_name()
    settings.load_profile("torch")
    yield
    settings.load_profile(before)
