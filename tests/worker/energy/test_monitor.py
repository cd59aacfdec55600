"""The ladder of a GPU's energy against the closed-form truth of a fake GPU, in this process and in simulated time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.in_process import monitor_of, square_wave, true_joules
from tests.fakes.nvml import FIRST_GPU, SECOND_GPU
from tests.fakes.simulated import SimulatedTime
from tests.service.processes import wait_until
from worker.energy.gpu import GpuSource
from worker.energy.monitor import GpuMonitor
from worker.energy.nvml import open_gpu
from worker.energy.reading import Reading
from worker.errors import UnreadableError

# Every return code of NVML 13; 0 is success.
ERROR_CODES = [*range(1, 31), 999]
# Of the fake's constant power, between two changes of its counter.
TICK_JOULES = 60 * 0.1


def read(
    simulated: SimulatedTime, source: GpuSource, seconds: float = 0.3, during: Callable[[], object] = lambda: None
) -> Reading:
    source.begin()
    simulated.sleep(seconds / 2)
    during()
    simulated.sleep(seconds / 2)
    return source.end()


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.55, 0.9, 0.999, 1.2, 1.55, 1.97])
def test_a_second_of_a_square_wave_is_within_five_percent(nvml, simulated, phase):
    square_wave(nvml)
    source = GpuSource(monitor_of(simulated))
    simulated.sleep(phase)
    source.prepare()

    source.begin()
    started = simulated.clock()
    simulated.sleep(1.0)
    reading = source.end()

    assert (reading.method, reading.quality) == ("nvml_energy_timeline", "measured")
    assert reading.joules == pytest.approx(true_joules(started, started + 1.0), rel=0.05)
    assert reading.gpu.power_integral_joules == pytest.approx(reading.joules, rel=0.1)
    assert reading.gpu.tick_seconds == pytest.approx(0.1, rel=0.01)
    assert reading.gpu.n_ticks in (9, 10, 11)


def test_a_window_of_two_ticks_is_far_better_than_a_plain_difference(simulated):
    reading = read(simulated, GpuSource(monitor_of(simulated)), 0.25)

    assert reading.joules == pytest.approx(60 * 0.25, rel=0.05)
    assert reading.flags == ("short_window",)


@pytest.mark.slow
def test_windows_of_several_threads_may_overlap_and_each_has_its_own_energy(nvml):
    """In real time, with the thread that looks."""
    monitor = GpuMonitor(lambda: open_gpu(FIRST_GPU), linger_seconds=0.0)
    monitor.prepare()

    def window(seconds: float) -> tuple[float, float, float]:
        source = GpuSource(monitor)
        before = time.time()
        source.begin()
        started = time.time()
        time.sleep(seconds)
        ended = time.time()
        joules = source.end().joules
        return 60 * (ended - started), joules, 60 * (time.time() - before)

    with ThreadPoolExecutor(3) as pool:
        windows = list(pool.map(window, (0.3, 0.6, 0.9)))

    # However long a busy machine pauses, an edge is wrong by no more than the power of one tick.
    for least, joules, most in windows:
        assert least - 2 * TICK_JOULES <= joules <= most + 2 * TICK_JOULES
    assert monitor.n_open == 0


def test_windows_may_overlap_and_each_has_its_own_energy(simulated):
    monitor = monitor_of(simulated)
    first, second = GpuSource(monitor), GpuSource(monitor)

    first.begin()
    simulated.sleep(0.33)
    second.begin()
    simulated.sleep(0.47)
    joules_of_first = first.end().joules
    simulated.sleep(0.2)
    gpu = second.end().gpu

    assert joules_of_first / 60 == pytest.approx(0.8, rel=0.1)
    assert gpu.mean_watts == pytest.approx(60, rel=0.01)
    assert monitor.n_open == 0


def test_two_gpus_are_told_apart(simulated):
    sources = [GpuSource(monitor_of(simulated, uuid)) for uuid in (FIRST_GPU, SECOND_GPU)]

    for source in sources:
        source.begin()
    simulated.sleep(0.5)
    first, second = (source.end().gpu.mean_watts for source in sources)

    assert (first, second) == (pytest.approx(60, rel=0.02), pytest.approx(120, rel=0.02))


def test_a_window_within_a_tick_is_unknown_and_not_zero(nvml, simulated):
    nvml.setenv("FNVML_UPDATE_MS", "200")

    reading = read(simulated, GpuSource(monitor_of(simulated)), 0.03)

    assert (reading.joules, reading.method, reading.quality) == (None, "none", "none")
    assert reading.flags == ("short_window",)


def test_a_counter_too_slow_for_a_timeline_gives_its_plain_difference(nvml, simulated):
    nvml.setenv("FNVML_UPDATE_MS", "1000")
    nvml.setattr("worker.energy.monitor.PROBE_SECONDS", 0.02)

    reading = read(simulated, GpuSource(monitor_of(simulated)), 1.2)

    assert (reading.method, reading.quality) == ("nvml_energy_delta", "measured")
    assert reading.joules == pytest.approx(90, abs=31)


@pytest.mark.parametrize("code", ERROR_CODES)
def test_without_a_counter_power_is_integrated_and_without_power_nothing_is_known(nvml, simulated, code):
    nvml.setenv("FNVML_E_RC", str(code))
    by_power = read(simulated, GpuSource(monitor_of(simulated)), 0.04)
    nvml.setenv("FNVML_FV_RC", str(code))
    nvml.setenv("FNVML_P_RC", str(code))
    unknown = read(simulated, GpuSource(monitor_of(simulated)), 0.0)

    if code == 15 or code == 16:
        assert by_power.joules is None
        assert unknown.flags[0] == "gpu_lost"
    else:
        assert (by_power.method, by_power.quality) == ("nvml_power_integral", "integrated")
        assert by_power.gpu.mean_watts == pytest.approx(60)
        assert unknown.flags == ("no_counter", "short_window")
    assert (unknown.joules, unknown.method, unknown.quality) == (None, "none", "none")


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_library_that_does_not_start_is_unreadable(nvml, code):
    nvml.setenv("FNVML_INIT_RC", str(code))

    with pytest.raises(UnreadableError):
        open_gpu(FIRST_GPU)


def test_the_older_power_figure_stands_in_for_the_instantaneous_one(nvml, simulated):
    nvml.setenv("FNVML_E_RC", "3")
    nvml.setenv("FNVML_FV_RC", "3")

    reading = read(simulated, GpuSource(monitor_of(simulated)), 0.1)

    assert reading.method == "nvml_power_integral"
    assert reading.gpu.mean_watts == pytest.approx(60)


def test_integrated_power_of_a_square_wave_is_within_five_percent(nvml, simulated):
    square_wave(nvml)
    nvml.setenv("FNVML_E_RC", "3")
    source = GpuSource(monitor_of(simulated))
    simulated.sleep(0.4)

    source.begin()
    started = simulated.clock()
    simulated.sleep(1.0)

    assert source.end().joules == pytest.approx(true_joules(started, started + 1.0), rel=0.05)


@pytest.mark.parametrize(("variable", "flag"), [("FNVML_LOST_FILE", "gpu_lost"), ("FNVML_RESET_FILE", "counter_reset")])
def test_trouble_within_a_window_voids_it_and_the_next_one_is_measured(nvml, simulated, tmp_path, variable, flag):
    file = tmp_path / "trouble"
    nvml.setenv(variable, str(file))
    source = GpuSource(monitor_of(simulated, linger_seconds=0.5))

    broken = read(simulated, source, 0.3, file.touch)
    file.unlink()
    simulated.sleep(0.05)
    whole = read(simulated, source, 0.5)

    assert broken.joules is None
    assert broken.flags[0] == flag
    assert whole.gpu.mean_watts == pytest.approx(60, rel=0.1)


def test_a_gpu_lost_before_the_window_leaves_it_unknown(nvml, simulated, tmp_path):
    source = GpuSource(monitor_of(simulated))
    nvml.setenv("FNVML_LOST_FILE", str(tmp_path))

    reading = read(simulated, source, 0.05)

    assert reading.joules is None
    assert reading.flags[0] == "gpu_lost"


def test_a_counter_that_stands_still_is_none_and_power_takes_over(nvml, simulated):
    nvml.setenv("FNVML_E_FROZEN", "1")
    source = GpuSource(monitor_of(simulated))

    first, second = read(simulated, source, 1.05), read(simulated, source, 0.1)

    assert (first.joules, first.flags[0]) == (None, "no_counter")
    assert second.method == "nvml_power_integral"


def test_a_counter_and_a_power_that_disagree_are_both_kept(nvml, simulated):
    nvml.setenv("FNVML_E_SCALE", "1.5")

    reading = read(simulated, GpuSource(monitor_of(simulated)), 1.1)

    assert "source_disagreement" in reading.flags
    assert reading.joules == pytest.approx(60 * 1.5 * 1.1, rel=0.05)
    assert reading.gpu.power_integral_joules == pytest.approx(60 * 1.1, rel=0.05)


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_sampler_that_could_not_look_degrades_the_window(simulated, seconds):
    # What a call that holds the interpreter for long does to the thread.
    reading = read(simulated, GpuSource(monitor_of(simulated)), 0.8, lambda: simulated.stall(seconds))

    assert (reading.method, "degraded" in reading.flags) == ("nvml_energy_timeline", True)
    assert reading.gpu.sampler_max_gap_seconds == pytest.approx(seconds, abs=0.02)
    assert reading.gpu.mean_watts == pytest.approx(60, rel=0.01)


def test_a_window_whose_beginning_nobody_has_seen_has_its_plain_difference(simulated):
    source = GpuSource(monitor_of(simulated))

    source.begin()
    simulated.stall(3.0)
    simulated.sleep(0.8)
    reading = source.end()

    assert (reading.method, "degraded" in reading.flags) == ("nvml_energy_delta", True)
    assert reading.joules == pytest.approx(60 * 3.8, abs=TICK_JOULES)


def test_a_slice_of_a_gpu_has_no_energy_of_its_own(nvml, simulated):
    nvml.setenv("FNVML_MIG", "1")

    for uuid in (FIRST_GPU, FIRST_GPU.replace("GPU-", "MIG-"), f"MIG-{FIRST_GPU}/1/0"):
        reading = read(simulated, GpuSource(monitor_of(simulated, uuid)), 0.0)
        assert reading.joules is None
        assert "mig" in reading.flags
        assert (reading.gpu.uuid, reading.gpu.mig) == (FIRST_GPU, True)


def test_a_gpu_that_others_use_too_has_no_energy_of_ours(nvml, simulated):
    nvml.setattr("worker.energy.processes._numbers_are_ours", lambda: True)
    source = GpuSource(monitor_of(simulated))
    nvml.setenv("FNVML_PIDS", f"{os.getpid()},1999999999")

    reading = read(simulated, source, 0.15)

    assert reading.joules is None
    assert "shared_gpu" in reading.flags
    assert reading.gpu.exclusive is False


def test_our_own_process_is_nobody_else(nvml, simulated):
    nvml.setattr("worker.energy.processes._numbers_are_ours", lambda: True)
    nvml.setenv("FNVML_PIDS", str(os.getpid()))

    reading = read(simulated, GpuSource(monitor_of(simulated)), 0.2)

    assert reading.gpu.exclusive is True
    assert reading.joules is not None


def test_the_state_at_both_ends_is_reported(simulated):
    gpu = read(simulated, GpuSource(monitor_of(simulated)), 0.2).gpu

    assert (gpu.power_limit_watts, gpu.temperature_celsius, gpu.sm_megahertz) == (700.0, (41.0, 41.0), (1980.0, 1980.0))
    assert (gpu.name, gpu.driver, gpu.uuid) == ("Fake GPU (simulated)", "999.00.fake", FIRST_GPU)


def test_an_unknown_gpu_is_unreadable(nvml):
    with pytest.raises(UnreadableError, match="Not Found"):
        open_gpu("GPU-00000000-0000-4000-8000-000000000000")


def test_the_thread_ends_with_the_last_window(nvml):
    monitor = GpuMonitor(lambda: open_gpu(FIRST_GPU), linger_seconds=0.0)
    window = monitor.open_window()
    assert monitor._poller._thread.is_alive()

    monitor.close_window(window)

    wait_until(lambda: monitor._poller._thread is None)
