from __future__ import annotations

import pytest

from worker.energy.footprint import embodied_grams, water_litres
from worker.schema import SiteSpec

SITE = SiteSpec(
    pue=1.2,
    wue_litres_per_kwh=0.5,
    grid_water_litres_per_kwh=3.0,
    gpu_embodied_grams=150e3,
    host_embodied_grams=2500e3,
    lifetime_seconds=1e8,
)


def test_water_of_a_kilowatt_hour_by_hand():
    # At the site 0.5 L, at power stations 1.2 * 3 L.
    assert water_litres(3.6e6, SITE) == pytest.approx(4.1)


def test_the_embodied_share_by_hand():
    # A thousand of 1e8 seconds of 150 kg, and of 2500 kg.
    assert embodied_grams(1000.0, SITE, is_gpu=True) == pytest.approx(1.5)
    assert embodied_grams(1000.0, SITE, is_gpu=False) == pytest.approx(25.0)


def test_an_hour_is_that_of_the_source():
    # "approximately 0.056 kg of CO2eq for each hour of server time and 0.003 kg [...] for each hour of GPU time".
    assert embodied_grams(3600.0, SiteSpec(), is_gpu=False) == pytest.approx(56, rel=0.01)
    assert embodied_grams(3600.0, SiteSpec(), is_gpu=True) == pytest.approx(3.36, rel=0.01)


def test_the_unknown_stays_unknown():
    assert water_litres(None, SITE) is None
    assert embodied_grams(None, SITE, is_gpu=True) is None
