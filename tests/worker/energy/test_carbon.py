from __future__ import annotations

import pytest

from worker.energy.carbon import CarbonModel


def test_grams_are_joules_times_intensity():
    assert CarbonModel(grams_per_kwh=380.95).grams(2472.4) == pytest.approx(0.2616, abs=5e-5)


def test_a_kilowatt_hour_emits_the_intensity():
    assert CarbonModel(grams_per_kwh=400.0).grams(3.6e6) == pytest.approx(400.0)


def test_power_usage_effectiveness_multiplies_once():
    assert CarbonModel(grams_per_kwh=400.0, pue=1.25).grams(3.6e6) == pytest.approx(500.0)


def test_unknown_energy_has_unknown_emissions():
    assert CarbonModel().grams(None) is None


def test_no_energy_has_no_emissions():
    assert CarbonModel().grams(0.0) == 0.0
