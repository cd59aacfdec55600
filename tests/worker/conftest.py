"""One thread, one seed, no GPU and no data folder: every test sees the same machine."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_digits

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
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    images, labels = load_digits(return_X_y=True)
    small = (images.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    large = np.repeat(small.repeat(4, axis=2).repeat(4, axis=3), 3, axis=1).reshape(len(small), 3072)
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        part = slice(250 * i, 250 * (i + 1))
        content = {b"data": large[part], b"labels": labels[part].tolist()}
        (batches / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder
