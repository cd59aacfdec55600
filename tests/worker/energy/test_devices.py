from __future__ import annotations

from types import SimpleNamespace

import torch

from tests.fakes.nvml import SECOND_GPU
from worker.energy.devices import describe, gpu_uuid, pick_device, synchronize

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_the_cpu_is_picked_where_there_is_no_gpu():
    assert pick_device() == CPU


def test_the_first_visible_gpu_is_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert pick_device() == GPU


def test_the_cpu_is_described_with_its_memory():
    assert describe(CPU) == "CPU and memory"


def test_the_uuid_is_spelt_as_nvml_spells_it(monkeypatch):
    properties = SimpleNamespace(uuid="fa4e0001-0000-4000-8000-000000000000")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)

    assert gpu_uuid(GPU) == "GPU-fa4e0001-0000-4000-8000-000000000000"


def test_without_torchs_uuid_the_environment_tells(monkeypatch, nvml):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace())

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_uuid(GPU) == SECOND_GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_uuid(GPU) == "unknown"


def test_only_a_gpu_is_waited_for(monkeypatch):
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)

    synchronize(CPU)
    synchronize(GPU)

    assert waited == [GPU]
