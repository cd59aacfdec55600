from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.nvml import FIRST_GPU, LIBRARY, SECOND_GPU, run_python
from worker.energy import sources
from worker.energy.sources import CodeCarbonModel, NoSource, Reading, open_source

COUNTER_SCRIPT = f"""
import json, os, time
from dataclasses import astuple
from pathlib import Path
from worker.energy.sources import NvmlCounter, open_source

def window(uuid, during=lambda: None):
    source = open_source(uuid)
    source.begin()
    during()
    return [type(source).__name__, *astuple(source.end())]

def with_file(variable, at):
    path = Path(os.environ["WORKING"]) / variable
    os.environ[variable] = str(path)
    source = NvmlCounter({FIRST_GPU!r})
    if at == "begin":
        path.touch()
    source.begin()
    path.touch()
    reading = astuple(source.end())
    path.unlink()
    source.begin()
    again = astuple(source.end())
    return [*reading, *again]

def with_code(variable, code):
    os.environ[variable] = str(code)
    result = window({FIRST_GPU!r})
    del os.environ[variable]
    return result

out = {{}}
out["init error"] = with_code("FNVML_INIT_RC", 9)
out["not supported"] = with_code("FNVML_E_RC", 3)
out["lost"] = with_file("FNVML_LOST_FILE", "end")
out["lost before"] = with_file("FNVML_LOST_FILE", "begin")
out["reset"] = with_file("FNVML_RESET_FILE", "end")
out["unknown gpu"] = window("GPU-00000000-0000-4000-8000-000000000000")
second = NvmlCounter({SECOND_GPU!r})
second.begin()
out["first"] = window({FIRST_GPU!r}, lambda: time.sleep(2))
out["second"] = ["NvmlCounter", *astuple(second.end())]
print(json.dumps(out))
"""

NO_LIBRARY_SCRIPT = f"""
import json
from dataclasses import astuple
from worker.energy.sources import open_source
source = open_source({FIRST_GPU!r})
source.begin()
print(json.dumps([type(source).__name__, *astuple(source.end())]))
"""

MODEL_SCRIPT = """
import sys
calls = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        calls.append(event + repr(args[1:]))
sys.addaudithook(hook)
import json, os, time
from worker.energy.sources import open_source

source = open_source(None)
readings = []
for seconds in (1.2, 0.0, 1.2):
    source.begin()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(10_000))
    readings.append(source.end().joules)
print(json.dumps({"class": type(source).__name__, "method": source.method, "quality": source.quality,
                  "joules": readings, "files": os.listdir(), "network": calls}))
"""


@pytest.fixture(scope="module")
def outcomes(fake_nvml, tmp_path_factory) -> dict[str, Any]:
    """What each script printed; they run beside each other."""
    empty, broken = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("broken")
    # A library that cannot be loaded hides the real one, should this machine have it.
    (broken / LIBRARY).write_text("no library")
    with ThreadPoolExecutor(2) as pool:
        counter = pool.submit(run_python, COUNTER_SCRIPT, fake_nvml, empty, WORKING=str(empty))
        missing = pool.submit(run_python, NO_LIBRARY_SCRIPT, broken)
        folder = tmp_path_factory.mktemp("model")
        model = pool.submit(run_python, MODEL_SCRIPT, broken, folder)
        return {**counter.result(), "no library": missing.result(), "model": model.result()}


def test_a_constant_power_gives_its_exact_energy(outcomes):
    name, joules, flags = outcomes["first"]

    assert (name, flags) == ("NvmlCounter", [])
    assert joules == pytest.approx(120, rel=0.1)


def test_the_gpu_is_found_by_its_uuid(outcomes):
    _, joules, flags = outcomes["second"]

    assert flags == []
    assert joules == pytest.approx(240, rel=0.1)
    assert joules / outcomes["first"][1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("case", ["not supported", "init error", "no library", "unknown gpu"])
def test_a_gpu_without_a_counter_has_unknown_energy(outcomes, case):
    assert outcomes[case] == ["NoSource", None, ["no_counter"]]


def test_a_gpu_lost_within_the_window_leaves_it_unknown(outcomes):
    assert outcomes["lost"][:2] == [None, ["gpu_lost"]]


def test_a_gpu_lost_before_the_window_leaves_it_unknown(outcomes):
    assert outcomes["lost before"][:2] == [None, ["counter_unreadable"]]


def test_a_counter_that_started_again_leaves_the_window_unknown(outcomes):
    assert outcomes["reset"][:2] == [None, ["counter_reset"]]


@pytest.mark.parametrize("case", ["lost", "lost before", "reset"])
def test_the_window_after_a_failed_one_is_measured(outcomes, case):
    joules, flags = outcomes[case][2:]

    assert joules >= 0
    assert flags == []


def test_the_model_estimates_a_busy_second(outcomes):
    model = outcomes["model"]

    assert (model["class"], model["method"], model["quality"]) == ("CodeCarbonModel", "codecarbon", "estimated")
    assert model["joules"][0] > 0
    assert model["joules"][2] > 0


def test_the_model_never_calls_an_unknown_energy_zero(outcomes):
    assert outcomes["model"]["joules"][1] != 0


def test_the_model_estimates_a_plausible_power(outcomes):
    watts = outcomes["model"]["joules"][0] / 1.2

    assert 0.1 < watts < 1000


def test_the_model_writes_no_file(outcomes):
    assert outcomes["model"]["files"] == []


def test_the_model_uses_no_network(outcomes):
    assert outcomes["model"]["network"] == []


def test_the_model_counts_each_window_from_zero(outcomes):
    first, _, third = outcomes["model"]["joules"]

    assert 0.2 < third / first < 1.9


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
    monkeypatch.setattr(sources, "_shared_tracker", lambda: BrokenTracker(fails))
    source = CodeCarbonModel()

    source.begin()

    assert source.end() == Reading(None, ("codecarbon_failed",))


def test_a_model_that_cannot_start_is_no_source(monkeypatch):
    def fail():
        raise OSError("no such sensor")

    monkeypatch.setattr(sources, "_shared_tracker", fail)

    assert isinstance(open_source(None), NoSource)


def test_no_source_is_always_unknown():
    source = NoSource()
    source.begin()

    assert source.end().joules is None
    assert (source.method, source.quality) == ("none", "none")
