"""Whole trials as far as their energy goes: the site, the network, files, and failures."""

from __future__ import annotations

import pytest
import requests

from worker import trial
from worker.energy.reading import NoSource, Reading
from worker.entry import run_trial
from worker.schema import FailureKind, Method, Quality, Recipe, SiteSpec, TrialSpec


class KilojouleCounter:
    """A counter that reads 1,000 J for every window."""

    method: Method = "nvml_energy_delta"
    quality: Quality = "measured"

    def begin(self) -> None:
        pass

    def end(self) -> Reading:
        return Reading(1000.0)


def make_spec(**changes) -> TrialSpec:
    fields = {"study_id": "s", "trial_id": "t", "dataset": "digits", "network": "resnet8", "recipe": Recipe()}
    return TrialSpec(**{**fields, "shift_depth": 0, "epochs": 1, **changes})


def test_the_site_of_a_trial_turns_its_joules_into_carbon_and_water(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())
    site = SiteSpec(pue=1.5, carbon_grams_per_kwh=400.0, wue_litres_per_kwh=1.0, grid_water_litres_per_kwh=2.0)

    result = run_trial(make_spec(site=site))

    kwh = 1000.0 / 3.6e6
    assert result.energy.emissions_grams == pytest.approx(kwh * 1.5 * 400)
    assert result.objectives["emissions"].value == result.energy.emissions_grams
    assert result.energy.water_litres == pytest.approx(kwh * (1.0 + 1.5 * 2.0))
    assert result.energy.embodied_grams > 0


def test_a_country_that_does_not_exist_fails_the_trial_by_its_name(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())

    result = run_trial(make_spec(site=SiteSpec(country="XYZ")))

    assert result.failure.kind is FailureKind.CONFIGURATION
    assert "got 'XYZ'" in result.failure.message


def test_a_diverging_trial_keeps_what_it_spent(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())

    result = run_trial(make_spec(recipe=Recipe(learning_rate=1e30)))

    assert result.failure.kind is FailureKind.DIVERGED
    assert result.energy.joules == 1000.0


def test_a_trial_uses_no_network_and_leaves_no_file(monkeypatch, tmp_path):
    def get(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(requests, "get", get)
    monkeypatch.chdir(tmp_path)

    result = run_trial(make_spec())

    assert result.failure is None
    assert result.energy.carbon_grams_per_kwh == 475.0
    assert list(tmp_path.iterdir()) == []


def test_water_and_embodied_carbon_are_objectives_only_when_asked(monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: KilojouleCounter())

    unasked = run_trial(make_spec())
    asked = run_trial(make_spec(extra_objectives=("water_litres", "embodied_grams")))

    assert not {"water_litres", "embodied_grams"} & set(unasked.objectives)
    water, embodied = asked.objectives["water_litres"], asked.objectives["embodied_grams"]
    assert (water.value, water.quality) == (asked.energy.water_litres, "estimated")
    assert (embodied.value, embodied.unit) == (asked.energy.embodied_grams, "gCO2eq")
