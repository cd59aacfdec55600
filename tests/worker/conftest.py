"""One thread, one seed, no GPU and no data folder: every test sees the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.worker.data.originals import write_cifar10
from worker import data

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    if "gpu" not in request.keywords:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("GREENSHIFT_DATA_DIR", raising=False)


@pytest.fixture(autouse=True, scope="package")
def forgotten_data() -> Iterator[None]:
    yield
    data._load.cache_clear()


@pytest.fixture(scope="session")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in CIFAR-10's own format, 250 images in each of six files, drawn from handwritten digits."""
    folder = tmp_path_factory.mktemp("data")
    write_cifar10(folder)
    return folder
