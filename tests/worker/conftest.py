"""One thread, one seed, no GPU and no data folder: every test sees the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.worker.data.originals import write_cifar10
from worker import data

torch.set_num_threads(1)
# The first call of an operator may take longer than Hypothesis allows one example.
settings.register_profile("torch", deadline=None)


@pytest.fixture(autouse=True)
def same_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    if "gpu" not in request.keywords:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("GREENSHIFT_DATA_DIR", raising=False)


@pytest.fixture(autouse=True, scope="package")
def no_deadline() -> Iterator[None]:
    before = settings.get_current_profile_name()
    settings.load_profile("torch")
    yield
    settings.load_profile(before)
    data._load.cache_clear()


@pytest.fixture(scope="session")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in CIFAR-10's own format, 250 images in each of six files, drawn from handwritten digits."""
    folder = tmp_path_factory.mktemp("data")
    write_cifar10(folder)
    return folder
