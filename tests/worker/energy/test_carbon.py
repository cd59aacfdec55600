from __future__ import annotations

import pytest
import requests
from pydantic import ValidationError

from worker.energy import carbon
from worker.energy.carbon import CarbonModel, carbon_model, check_site
from worker.errors import ConfigurationError
from worker.schema import SiteSpec


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


# The intensity of a site


def test_without_a_place_it_is_the_worlds_average():
    assert carbon_model(SiteSpec()) == CarbonModel(475.0, "world average, IEA 2019", 1.0, 2019)


def test_a_figure_of_its_own_comes_first():
    site = SiteSpec(carbon_grams_per_kwh=12.5, country="DEU", electricity_maps_zone="DE", pue=1.3)

    model = carbon_model(site)

    assert (model.grams_per_kwh, model.pue, model.flags) == (12.5, 1.3, ())


@pytest.mark.parametrize(
    ("country", "region", "grams", "year"),
    [
        ("DEU", None, 380.95, 2023),
        ("FRA", None, 56.04, 2023),
        ("USA", None, 369.0, 2023),
        ("USA", "California", 179.0, 2023),
        ("CAN", "quebec", 3.9, 2023),
        ("CHN", "Beijing", 555.4, 2023),
        ("SWE", "SE3", 27.0, 2023),
    ],
)
def test_a_place_is_looked_up_in_the_table(country, region, grams, year):
    model = carbon_model(SiteSpec(country=country, region=region))

    assert model.grams_per_kwh == pytest.approx(grams, rel=0.01)
    assert country in model.source


@pytest.mark.parametrize(
    ("country", "region", "message"),
    [
        ("XYZ", None, "site.country must be .* got 'XYZ'"),
        ("USA", "Atlantis", "site.region is not in .* of USA, got 'Atlantis'"),
        ("CAN", "Atlantis", "got 'Atlantis'"),
        ("CHN", "Atlantis", "got 'Atlantis'"),
        ("SWE", "SE9", "got 'SE9'"),
        ("DEU", "Hessen", "got 'Hessen'"),
        (None, "Hessen", "site.region needs site.country"),
    ],
)
def test_an_unknown_place_is_an_error_that_names_it(country, region, message):
    with pytest.raises(ConfigurationError, match=message):
        carbon_model(SiteSpec(country=country, region=region))


@pytest.mark.parametrize("code", ["DE", "deu", "GERMANY"])
def test_a_code_that_has_not_three_capitals_is_refused(code):
    with pytest.raises(ValidationError, match="country"):
        SiteSpec(country=code)


class Answer:
    """What Electricity Maps says."""

    def __init__(self, body: object, *, is_error: bool = False) -> None:
        self.body, self.is_error = body, is_error

    def raise_for_status(self) -> None:
        if self.is_error:
            raise requests.HTTPError("401")

    def json(self) -> object:
        return self.body


TOKEN = {"ELECTRICITY_MAPS_TOKEN": "secret"}


@pytest.fixture
def no_memory():
    carbon._latest.cache_clear()
    yield
    carbon._latest.cache_clear()


def test_electricity_maps_is_asked_once_with_a_token_and_a_time_out(monkeypatch, no_memory):
    calls = []

    def get(url, **options):
        calls.append((url, options))
        return Answer({"carbonIntensity": 301})

    monkeypatch.setattr(requests, "get", get)
    site = SiteSpec(electricity_maps_zone="DE", pue=1.1)

    models = [carbon_model(site, TOKEN) for _ in range(2)]

    assert [(m.grams_per_kwh, m.source, m.pue, m.flags) for m in models] == [
        (301.0, "Electricity Maps, DE", 1.1, ())
    ] * 2
    [(url, options)] = calls
    assert url.startswith("https://api.electricitymaps.com/")
    assert options == {"params": {"zone": "DE"}, "headers": {"auth-token": "secret"}, "timeout": 3.0}


@pytest.mark.parametrize("trouble", ["time-out", "refused", "no figure", "no token"])
def test_where_electricity_maps_does_not_answer_the_table_stands_in_and_says_so(monkeypatch, no_memory, trouble):
    def get(_url, **_options):
        if trouble == "time-out":
            raise requests.Timeout
        return Answer({"error": "no"}, is_error=trouble == "refused")

    monkeypatch.setattr(requests, "get", get)
    site = SiteSpec(electricity_maps_zone="DE", country="DEU")

    model = carbon_model(site, {} if trouble == "no token" else TOKEN)

    assert (model.grams_per_kwh, model.flags) == (pytest.approx(380.95), ("ci_fallback",))


def test_no_network_is_used_unless_a_zone_is_asked_for(monkeypatch, no_memory):
    def get(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(requests, "get", get)

    for site in (SiteSpec(), SiteSpec(country="DEU"), SiteSpec(carbon_grams_per_kwh=1.0, electricity_maps_zone="DE")):
        assert carbon_model(site, TOKEN).flags == ()


# Checked before any trial


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"country": "XYZ"}, r"site\.country .* got 'XYZ'"),
        ({"country": "DEU", "region": "Atlantis"}, r"site\.region .* got 'Atlantis'"),
        ({"region": "California"}, r"site\.region needs site\.country"),
        ({"country": "XYZ", "electricity_maps_zone": "DE"}, r"site\.country .* got 'XYZ'"),
    ],
)
def test_a_place_that_no_table_knows_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        check_site(SiteSpec(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"country": "SWE", "region": "SE3"},
        {"electricity_maps_zone": "DE"},
        {"carbon_grams_per_kwh": 5.0, "country": "XYZ"},
    ],
)
def test_a_check_of_a_place_never_uses_the_network(monkeypatch, changes):
    def get(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setenv("ELECTRICITY_MAPS_TOKEN", "secret")

    check_site(SiteSpec(**changes))
