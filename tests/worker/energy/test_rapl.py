from __future__ import annotations

from pathlib import Path

import pytest

from worker.energy.processes import CpuSeconds
from worker.energy.rapl import RaplSource, find_domains

RANGE_JOULES = 262_143.0


class Cpu:
    """Processor seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = CpuSeconds(own=100.0, host=1000.0)

    def __call__(self) -> CpuSeconds:
        return self.seconds


def domain(root: Path, folder: str, name: str, joules: float) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{int(RANGE_JOULES * 1e6)}\n")
    count(path, joules)
    return path


def count(path: Path, joules: float) -> None:
    (path / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


@pytest.fixture
def tree(tmp_path) -> dict[str, Path]:
    """Two packages with their parts, and domains that would count things twice."""
    folders = {
        "intel-rapl:0": ("package-0", 1000.0),
        "intel-rapl:0:0": ("core", 500.0),
        "intel-rapl:0:1": ("dram", 200.0),
        "intel-rapl:1": ("package-1", 2000.0),
        "intel-rapl:1:0": ("dram", 300.0),
        "intel-rapl:2": ("psys", 9000.0),
        "intel-rapl-mmio:0": ("package-0", 1000.0),
    }
    return {folder: domain(tmp_path, folder, name, joules) for folder, (name, joules) in folders.items()}


def test_packages_and_memories_are_found_once(tree, tmp_path):
    found = [(path.name, kind) for path, kind in find_domains(tmp_path)]

    assert found == [
        ("intel-rapl:0", "package"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "package"),
        ("intel-rapl:1:0", "dram"),
    ]


def test_a_process_has_its_share_of_the_host_by_processor_seconds(tree, tmp_path):
    cpu = Cpu()
    source = RaplSource(tmp_path, cpu)

    source.begin()
    count(tree["intel-rapl:0"], 1060.0)
    count(tree["intel-rapl:1"], 2040.0)
    count(tree["intel-rapl:0:1"], 220.0)
    count(tree["intel-rapl:2"], 9999.0)
    cpu.seconds = CpuSeconds(own=103.0, host=1012.0)
    reading = source.end()

    assert (reading.cpu.host_joules, reading.cpu.share_joules) == (pytest.approx(100.0), pytest.approx(25.0))
    assert (reading.ram.host_joules, reading.ram.share_joules) == (pytest.approx(20.0), pytest.approx(5.0))
    assert (reading.joules, reading.flags) == (pytest.approx(30.0), ())
    assert (source.method, source.quality, reading.cpu.method) == ("rapl", "measured", "rapl")


def test_a_counter_that_wraps_goes_on(tree, tmp_path):
    cpu = Cpu()
    count(tree["intel-rapl:0"], RANGE_JOULES - 10.0)
    source = RaplSource(tmp_path, cpu)

    source.begin()
    count(tree["intel-rapl:0"], 5.0)
    source._update_quietly()
    count(tree["intel-rapl:0"], 25.0)
    cpu.seconds = CpuSeconds(own=101.0, host=1001.0)

    assert source.end().cpu.host_joules == pytest.approx(35.0)


def test_each_window_counts_from_its_own_beginning(tree, tmp_path):
    cpu = Cpu()
    source = RaplSource(tmp_path, cpu)
    source.begin()
    count(tree["intel-rapl:0"], 1500.0)
    source.end()

    source.begin()
    count(tree["intel-rapl:0"], 1510.0)
    cpu.seconds = CpuSeconds(own=110.0, host=1010.0)

    assert source.end().joules == pytest.approx(10.0)


def test_without_a_memory_counter_memory_is_unknown(tmp_path):
    domain(tmp_path, "intel-rapl:0", "package-0", 0.0)
    cpu = Cpu()
    source = RaplSource(tmp_path, cpu)
    source.begin()
    cpu.seconds = CpuSeconds(own=101.0, host=1001.0)

    reading = source.end()

    assert reading.ram is None
    assert reading.joules == 0.0


def test_a_host_that_did_nothing_has_nothing_to_share_out(tree, tmp_path):
    source = RaplSource(tmp_path, Cpu())
    source.begin()

    reading = source.end()

    assert (reading.joules, reading.flags) == (None, ("no_counter",))


def test_a_counter_that_vanishes_leaves_the_window_unknown(tree, tmp_path):
    source = RaplSource(tmp_path, Cpu())
    source.begin()
    (tree["intel-rapl:0"] / "energy_uj").unlink()

    ended = source.end()
    source.begin()

    assert (ended.joules, ended.flags) == (None, ("no_counter",))
    assert source.end().joules is None


@pytest.mark.parametrize("trouble", ["no folder", "no package", "no permission", "no number"])
def test_counters_that_cannot_be_read_are_an_error_at_once(tmp_path, trouble):
    if trouble != "no folder":
        path = domain(tmp_path, "intel-rapl:0", "psys" if trouble == "no package" else "package-0", 1.0)
        if trouble == "no permission":
            # Root may read every file, so the counter is made a folder.
            (path / "energy_uj").unlink()
            (path / "energy_uj").mkdir()
        if trouble == "no number":
            (path / "energy_uj").write_text("none")

    with pytest.raises((OSError, ValueError)):
        RaplSource(tmp_path)
