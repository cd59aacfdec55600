from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.nvml import FIRST_GPU, LIBRARY, SECOND_GPU, run_python
from worker.energy import cpu_model, sources
from worker.energy.cpu_model import CodeCarbonModel
from worker.energy.reading import NoSource, Reading
from worker.energy.sources import GpuAndHost, open_source
from worker.schema import HostEnergy

PROCESS_SCRIPT = """
import time
from worker.energy.gpu import open_gpu_source
from worker.energy.nvml import list_gpus
from worker.energy.visible import find_gpu

source = open_gpu_source(find_gpu(list_gpus()))
source._idle = None
source.begin()
time.sleep(1.0)
print(source.end().gpu.model_dump_json())
"""

NO_LIBRARY_SCRIPT = f"""
import json
from worker.energy import sources
from worker.energy.reading import NoSource
sources.open_host_source = NoSource
source = sources.open_source({FIRST_GPU!r})
source.begin()
reading = source.end()
print(json.dumps([source.method, reading.joules, reading.flags, reading.gpu.uuid]))
"""

MODEL_SCRIPT = """
import sys
calls = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        calls.append(event + repr(args[1:]))
sys.addaudithook(hook)
import json, os, time
from worker.energy.cpu_model import JOULES_PER_KWH, CodeCarbonModel

source = CodeCarbonModel()
readings, durations = [], []

def total():
    # Joules that CodeCarbon has counted in all, between windows as well.
    return (source._tracker._total_cpu_energy + source._tracker._total_ram_energy).kWh * JOULES_PER_KWH

before = total()
for seconds in (1.2, 0.0, 1.2):
    begun = time.monotonic()
    source.begin()
    while time.monotonic() < begun + seconds:
        sum(range(10_000))
    readings.append(source.end().joules)
    durations.append(time.monotonic() - begun)
print(json.dumps({"class": type(source).__name__, "method": source.method, "quality": source.quality,
                  "joules": readings, "seconds": durations, "total": total() - before,
                  "files": os.listdir(), "network": calls}))
"""


@pytest.fixture(scope="module")
def outcomes(fake_nvml, tmp_path_factory) -> dict[str, Any]:
    """What each script printed; they run beside each other."""
    broken = tmp_path_factory.mktemp("broken")
    # A library that cannot be loaded hides the real one, should this machine have it.
    (broken / LIBRARY).write_text("no library")
    visible = {"first": "0", "second": SECOND_GPU[:12]}
    with ThreadPoolExecutor(4) as pool:
        missing = pool.submit(run_python, NO_LIBRARY_SCRIPT, broken)
        folder = tmp_path_factory.mktemp("model")
        model = pool.submit(run_python, MODEL_SCRIPT, broken, folder)
        workers = {
            name: pool.submit(run_python, PROCESS_SCRIPT, fake_nvml, CUDA_VISIBLE_DEVICES=devices)
            for name, devices in visible.items()
        }
        found = {name: worker.result() for name, worker in workers.items()}
        return {**found, "no library": missing.result(), "model": model.result()}


@pytest.mark.parametrize(("worker", "uuid", "watts"), [("first", FIRST_GPU, 60), ("second", SECOND_GPU, 120)])
def test_two_worker_processes_at_once_each_read_the_gpu_that_is_theirs(outcomes, worker, uuid, watts):
    gpu = outcomes[worker]

    assert (gpu["uuid"], gpu["quality"], gpu["exclusive"]) == (uuid, "measured", True)
    # Wrong by the power of two ticks at most, whatever pauses a busy machine makes; the other GPU draws half or twice.
    assert gpu["mean_watts"] == pytest.approx(watts, rel=0.2)


def test_a_gpu_without_a_library_has_unknown_energy(outcomes):
    assert outcomes["no library"] == ["none", None, ["no_counter"], FIRST_GPU]


class Steps(NoSource):
    """A host whose calls are written down beside those of a GPU."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def begin(self) -> None:
        self.calls.append("host begins")

    def end(self) -> Reading:
        self.calls.append("host ends")
        part = HostEnergy(method="codecarbon", quality="estimated", share_joules=3.0)
        return Reading(3.0, ("codecarbon_failed",), cpu=part)


class StepsOfGpu:
    """A GPU whose calls are written down."""

    method, quality = "nvml_energy_timeline", "measured"

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def prepare(self) -> None:
        self.calls.append("prepare")

    def begin(self) -> None:
        self.calls.append("begin")

    def stop(self) -> None:
        self.calls.append("stop")

    def end(self) -> Reading:
        self.calls.append("end")
        return Reading(100.0)


def test_the_edges_of_the_gpu_lie_inside_those_of_its_host_and_waiting_outside_of_both():
    calls: list[str] = []
    source = GpuAndHost(FIRST_GPU, StepsOfGpu(calls), Steps(calls))

    source.begin()
    reading = source.end()

    assert calls == ["prepare", "host begins", "begin", "stop", "host ends", "end"]
    assert (reading.joules, reading.cpu.share_joules, reading.flags) == (100.0, 3.0, ("codecarbon_failed",))


def test_the_model_estimates_a_busy_second(outcomes):
    model = outcomes["model"]

    assert (model["class"], model["method"], model["quality"]) == ("CodeCarbonModel", "codecarbon", "estimated")
    assert model["joules"][0] > 0
    assert model["joules"][2] > 0


def test_the_model_never_calls_an_unknown_energy_zero(outcomes):
    assert outcomes["model"]["joules"][1] != 0


def test_the_model_estimates_a_plausible_power(outcomes):
    watts = outcomes["model"]["joules"][0] / outcomes["model"]["seconds"][0]

    assert 0.1 < watts < 1000


def test_the_model_writes_no_file(outcomes):
    assert outcomes["model"]["files"] == []


def test_the_model_uses_no_network(outcomes):
    assert outcomes["model"]["network"] == []


def test_the_model_counts_each_window_from_zero(outcomes):
    model = outcomes["model"]

    # Windows that counted on from those before them would be more than all together.
    assert sum(joules or 0.0 for joules in model["joules"]) <= 1.001 * model["total"]


class BrokenTracker:
    """A CodeCarbon tracker that fails at `fails`."""

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def start_task(self) -> None:
        if self.fails == "start":
            raise OSError("no such sensor")

    def stop_task(self, _task: str | None) -> None:
        if self.fails == "stop":
            raise OSError("no such sensor")


@pytest.mark.parametrize("fails", ["start", "stop", "nothing, but measures nothing"])
def test_trouble_of_the_model_is_a_flag_and_never_an_exception(monkeypatch, fails):
    monkeypatch.setattr(cpu_model, "_shared_tracker", lambda _pid: BrokenTracker(fails))
    source = CodeCarbonModel()

    source.begin()

    assert source.end() == Reading(None, ("codecarbon_failed",))


def fail(*_args) -> None:
    raise OSError("no such sensor")


def test_without_counters_and_model_there_is_no_source(monkeypatch):
    monkeypatch.setattr(sources, "RaplSource", fail)
    monkeypatch.setattr(cpu_model, "_shared_tracker", fail)

    assert isinstance(open_source(None), NoSource)


def test_counters_of_the_processor_come_before_the_model(monkeypatch):
    counters = NoSource()
    monkeypatch.setattr(sources, "RaplSource", lambda: counters)

    assert open_source(None) is counters


def test_no_source_is_always_unknown():
    source = NoSource()
    source.begin()

    assert source.end().joules is None
    assert (source.method, source.quality) == ("none", "none")
