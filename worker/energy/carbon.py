"""Grams of CO2 equivalent from joules: the carbon intensity of a site's electricity, and its one formula."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version

import requests
from codecarbon.core.emissions import Emissions
from codecarbon.core.units import Energy
from codecarbon.external.geography import GeoMetadata
from codecarbon.input import DataSource

from worker.errors import ConfigurationError
from worker.schema import Flag, SiteSpec

logger = logging.getLogger(__name__)
JOULES_PER_KWH = 3.6e6
ELECTRICITY_MAPS_URL = "https://api.electricitymaps.com/v3/carbon-intensity/latest"
TIMEOUT_SECONDS = 3.0
# Intensities are published by the hour.
KEPT_SECONDS = 600.0
_NORDIC = {"SWE": ("SE1", "SE2", "SE3", "SE4"), "NOR": ("NO1", "NO2", "NO3", "NO4", "NO5"), "FIN": ("FI",)}


@dataclass(frozen=True)
class CarbonModel:
    """What one joule at the device means for the climate.

    Attributes:
        grams_per_kwh: average carbon intensity of the electricity.
        source: where that figure comes from.
        pue: power usage effectiveness of the site, at least 1; applied here and nowhere else.
        year: that the figure is of, or None.
        flags: `ci_fallback` where another source was asked for and did not answer.
    """

    grams_per_kwh: float = 475.0
    source: str = "world average, IEA 2019"
    pue: float = 1.0
    year: int | None = 2019
    flags: tuple[Flag, ...] = ()

    def facility_joules(self, joules: float | None) -> float | None:
        """Energy of the site for `joules` at the device."""
        return None if joules is None else joules * self.pue

    def grams(self, joules: float | None) -> float | None:
        """Emissions of `joules` at the device, in gCO2eq; None where the energy is unknown."""
        facility = self.facility_joules(joules)
        return None if facility is None else facility / JOULES_PER_KWH * self.grams_per_kwh


def carbon_model(site: SiteSpec, environment: Mapping[str, str] = os.environ) -> CarbonModel:
    """The carbon intensity of `site`: its own figure, else Electricity Maps, else a table, else the world's average.

    Only a zone of Electricity Maps makes it use the network. Where that does not answer in time, the table stands in
    and the flag `ci_fallback` says so.

    Args:
        site: where the energy is spent.
        environment: holds ELECTRICITY_MAPS_TOKEN.

    Raises:
        ConfigurationError: a country or region that is not in CodeCarbon's table.
    """
    if site.carbon_grams_per_kwh is not None:
        return CarbonModel(site.carbon_grams_per_kwh, "given by the study", site.pue, year=None)
    table = _from_table(site)
    if site.electricity_maps_zone is None:
        return table
    token = environment.get("ELECTRICITY_MAPS_TOKEN", "")
    try:
        grams = _latest(site.electricity_maps_zone, token, int(time.monotonic() / KEPT_SECONDS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("Electricity Maps does not answer for %s: %r", site.electricity_maps_zone, error)
        return replace(table, flags=("ci_fallback",))
    return CarbonModel(grams, f"Electricity Maps, {site.electricity_maps_zone}", site.pue, year=None)


def check_site(site: SiteSpec) -> None:
    """Refuses a site whose carbon intensity no trial could find; never uses the network.

    Raises:
        ConfigurationError: a country or region that is not in CodeCarbon's table.
    """
    carbon_model(site.model_copy(update={"electricity_maps_zone": None}))


@lru_cache(maxsize=8)
def _latest(zone: str, token: str, _period: int) -> float:
    """Average lifecycle intensity of the current hour, in gCO2eq/kWh; failures are not remembered."""
    if not token:
        raise ValueError("ELECTRICITY_MAPS_TOKEN is not set")
    answer = requests.get(
        ELECTRICITY_MAPS_URL, params={"zone": zone}, headers={"auth-token": token}, timeout=TIMEOUT_SECONDS
    )
    answer.raise_for_status()
    return float(answer.json()["carbonIntensity"])


def _from_table(site: SiteSpec) -> CarbonModel:
    if site.country is None:
        if site.region is not None:
            raise ConfigurationError(f"site.region needs site.country, got region {site.region!r} alone")
        return CarbonModel(pue=site.pue)
    data = DataSource()
    countries = data.get_global_energy_mix_data()
    if site.country not in countries:
        raise ConfigurationError(
            f"site.country must be an ISO 3166 code of three letters in CodeCarbon's table, got {site.country!r}"
        )
    place, year = site.country, int(countries[site.country]["year"])
    if site.region is not None:
        place, year = f"{site.country}, {site.region}", 2023
        if not _has_region(data, site.country, site.region):
            raise ConfigurationError(f"site.region is not in CodeCarbon's table of {site.country}, got {site.region!r}")
    # CodeCarbon keeps the names of states and provinces in lower case.
    region = site.region if site.country in _NORDIC or site.region is None else site.region.lower()
    geo = GeoMetadata(country_iso_code=site.country, country_name=place, region=region)
    kilograms = Emissions(data).get_private_infra_emissions(Energy.from_energy(kWh=1.0), geo)
    return CarbonModel(kilograms * 1e3, f"CodeCarbon {version('codecarbon')}, {place}", site.pue, year)


def _has_region(data: DataSource, country: str, region: str) -> bool:
    """Whether CodeCarbon knows the region; it would take the country's figure for any other without a word."""
    if country in _NORDIC:
        return region.upper() in _NORDIC[country]
    if country == "CHN":
        provinces = data.get_china_provincial_emissions_data()["data"].values()
        return any(region.lower() in province["names"] for province in provinces)
    if country == "USA":
        return region.lower() in data.get_country_emissions_data("usa") and not region.startswith("_")
    return country == "CAN" and region.lower() in data.get_country_energy_mix_data("can")
