from __future__ import annotations

import math

import pytest
from prometheus_client import REGISTRY

from service import telemetry
from tests.service.fakes import completed, energy_report, failed
from worker.schema import InferenceEnergy


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_every_attempt_is_counted_by_its_outcome() -> None:
    before = [sample("greenshift_results_total", outcome=outcome) for outcome in ("completed", "diverged")]
    for result in (completed("1"), completed("2"), failed("3")):
        telemetry.count_result(result)
    after = [sample("greenshift_results_total", outcome=outcome) for outcome in ("completed", "diverged")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1]


def test_energy_is_added_up_by_quality_and_what_is_unknown_counts_apart() -> None:
    names = (("greenshift_energy_joules_total", {"quality": "estimated"}), ("greenshift_energy_unknown_total", {}))
    before = [sample(name, **labels) for name, labels in names]
    for result in (completed("1", joules=2.5), completed("2", joules=4.0), completed("3", joules=None), failed("4")):
        telemetry.count_result(result)
    after = [sample(name, **labels) for name, labels in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [6.5, 2]


def test_passes_repeated_for_an_inference_are_energy_too() -> None:
    inference = InferenceEnergy(
        joules_per_image=0.1, uncertainty_joules_per_image=None, n_images=70, n_passes=1, report=energy_report(7.0)
    )
    before = sample("greenshift_energy_joules_total", quality="estimated")
    telemetry.count_result(completed("1", joules=2.5).model_copy(update={"inference": inference}))
    assert sample("greenshift_energy_joules_total", quality="estimated") - before == 9.5


@pytest.mark.parametrize(("n_slots", "n_busy", "idle"), [(4, 1, 0.75), (2, 2, 0.0), (3, 0, 1.0)])
def test_the_idle_share_is_that_of_the_slots(n_slots: int, n_busy: int, idle: float) -> None:
    telemetry.show_slots(n_slots, n_busy)
    assert sample("greenshift_slots_idle_ratio") == idle


def test_without_a_cluster_there_are_no_slots_and_no_idle_share() -> None:
    telemetry.show_slots(4, 1)
    telemetry.show_connection(False)
    assert (sample("greenshift_slots"), sample("greenshift_cluster_connected")) == (0, 0)
    assert math.isnan(sample("greenshift_slots_idle_ratio"))
