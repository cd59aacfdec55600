"""The part of the wire contract that is about energy; everybody else takes it from `worker.schema`."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from worker.wire import Frozen, Measurement, Method, Quality, Written

Flag = Literal[
    "short_window",
    "degraded",
    "source_disagreement",
    "counter_reset",
    "gpu_lost",
    "shared_gpu",
    "mig",
    "no_counter",
    "ci_fallback",
    "codecarbon_failed",
    "stale_idle",
    "process_died",
]


class SiteSpec(Written):
    """Where the energy is spent: every factor that turns joules and seconds into carbon and water.

    The carbon intensity is `carbon_grams_per_kwh` where that is given, else the answer of Electricity Maps for
    `electricity_maps_zone`, else CodeCarbon's table for `country` and `region`, else the world's average.

    Attributes:
        pue: power usage effectiveness, energy of the site per energy of its machines, at least 1. The default counts
            the machines alone; the average data centre has 1.56 (Uptime Institute, Global Data Center Survey 2024).
        carbon_grams_per_kwh: gCO2eq of a kilowatt-hour.
        country: ISO 3166 code of three letters, such as DEU.
        region: state, province or bidding zone, as CodeCarbon spells it: California, quebec, Beijing, SE3.
        electricity_maps_zone: such as DE; the token is read from ELECTRICITY_MAPS_TOKEN.
        wue_litres_per_kwh: water that the site evaporates per energy of its machines; 0.36 is the average of
            United States data centres in 2023 (Shehabi et al. 2024, LBNL-2001637, page 48).
        grid_water_litres_per_kwh: water that power stations consume per kilowatt-hour; 3.14 is the average of the
            United States (Reig et al. 2020, World Resources Institute; used by Li et al., arXiv 2304.03271).
        gpu_embodied_grams: gCO2eq of making one GPU; 150 kg, a lower bound (Luccioni, Viguier and Ligozat, arXiv
            2211.02001, section 4.1).
        host_embodied_grams: gCO2eq of making one server without GPUs; 2500 kg, of an HPE ProLiant DL345 Gen10 Plus
            (the same).
        lifetime_seconds: of use, over which those are shared out; six years at 85 % usage (the same).
    """

    pue: float = Field(1.0, ge=1)
    carbon_grams_per_kwh: float | None = Field(None, ge=0)
    country: str | None = Field(None, pattern="^[A-Z]{3}$")
    region: str | None = None
    electricity_maps_zone: str | None = None
    wue_litres_per_kwh: float = Field(0.36, ge=0)
    grid_water_litres_per_kwh: float = Field(3.14, ge=0)
    gpu_embodied_grams: float = Field(150e3, ge=0)
    host_embodied_grams: float = Field(2500e3, ge=0)
    lifetime_seconds: float = Field(0.85 * 6 * 365.25 * 86400, gt=0)


class GpuEnergy(Frozen):
    """What one GPU spent in a window, and how well that is known; None is unknown, pairs are of begin and end.

    Attributes:
        scope: what the counter covers: the GPU, or a module with its processor and memory.
        gross_joules: idle power included.
        uncertainty_joules: of `gross_joules`, for a coverage factor of 2: quantisation and gain of the sensor.
        net_joules: gross_joules - idle_watts * duration. Small networks may leave it within its own uncertainty.
        net_uncertainty_joules: likewise, that of the idle power included.
        idle_watts: with a context and no kernel running; `idle_sd_watts` is its deviation over seconds.
        idle_age_seconds: of the idle measurement when the window began.
        tick_seconds: between changes of the counter, of which the window held `n_ticks`.
        sampler_max_gap_seconds: longest time in the window that nobody looked.
        power_integral_joules: integral of the sampled power, to check the counter with.
        exclusive: whether no process but ours was on the GPU at both ends.
    """

    uuid: str
    name: str | None = None
    scope: Literal["gpu", "module"] = "gpu"
    method: Method = "none"
    quality: Quality = "none"
    gross_joules: float | None = None
    uncertainty_joules: float | None = None
    net_joules: float | None = None
    net_uncertainty_joules: float | None = None
    idle_watts: float | None = None
    idle_sd_watts: float | None = None
    idle_age_seconds: float | None = None
    mean_watts: float | None = None
    tick_seconds: float | None = None
    n_ticks: int | None = None
    sampler_max_gap_seconds: float | None = None
    power_integral_joules: float | None = None
    exclusive: bool | None = None
    mig: bool = False
    power_limit_watts: float | None = None
    temperature_celsius: tuple[float | None, float | None] | None = None
    sm_megahertz: tuple[float | None, float | None] | None = None
    driver: str | None = None


class HostEnergy(Frozen):
    """What the processor, or the memory, of the machine spent in a window; None is unknown.

    Attributes:
        share_joules: of this process and its children.
        host_joules: of the whole machine: never to be added up over workers.
    """

    method: Method
    quality: Quality
    share_joules: float | None
    host_joules: float | None = None


class Carbon(Frozen):
    """Emissions of a window, and the carbon intensity that they rest on.

    Attributes:
        grams: facility_joules / 3.6e6 * grams_per_kwh, in gCO2eq.
        uncertainty_grams: from that of the energy alone; that of the intensity is not known.
        kind: `average` for reports; a `marginal` intensity is for shifting load.
        year: that the figure is of.
    """

    grams: float | None = None
    uncertainty_grams: float | None = None
    basis: Literal["facility_joules"] = "facility_joules"
    grams_per_kwh: float
    kind: Literal["average", "marginal"] = "average"
    source: str
    year: int | None = None


class EnergyReport(Frozen):
    """Energy of one window of work, in joules, seconds, grams and litres; None is unknown.

    Attributes:
        joules: of the GPU where there is one, else this process's share of processor and memory; idle power included.
        method: where `joules` was read, and `quality` how well.
        device: whose joules these are, for people.
        boot_id: of the machine's kernel; with `host` it tells whether two host figures are of one machine.
        repeats: how often the same work was done in the window, of which `repeats_joules` are the energies if known.
        total_measured_joules: of the parts that were measured or integrated.
        total_with_estimates_joules: of all parts that are known.
        facility_joules: joules * pue; the only place where the PUE is applied.
        emissions_grams: the same as `carbon.grams`.
        water_litres: joules / 3.6e6 * (site + pue * grid), by the site's water intensities; always an estimate.
        embodied_grams: the device's share of its making, by seconds of its life; always an estimate.
        device_seconds: that the device was taken for: the duration on a GPU; on a processor the seconds that its cores
            worked for us, over their number.
        flags: what a reader must know, such as `short_window`.
    """

    schema_version: Literal["energy/1"] = "energy/1"
    joules: float | None
    method: Method
    quality: Quality
    device: str
    duration_seconds: float
    started_at: AwareDatetime | None = None
    host: str = ""
    boot_id: str | None = None
    repeats: int = 1
    gpu: GpuEnergy | None = None
    cpu: HostEnergy | None = None
    ram: HostEnergy | None = None
    total_measured_joules: float | None = None
    total_with_estimates_joules: float | None = None
    pue: float
    facility_joules: float | None = None
    carbon: Carbon
    emissions_grams: float | None
    water_litres: float | None = None
    embodied_grams: float | None = None
    device_seconds: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    repeats_joules: tuple[float, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def carbon_grams_per_kwh(self) -> float:
        """Carbon intensity that the emissions rest on."""
        return self.carbon.grams_per_kwh

    @property
    def carbon_source(self) -> str:
        """Where that figure comes from."""
        return self.carbon.source


class InferenceEnergy(Frozen):
    """Energy per image of a pass that was repeated until its window was long enough.

    Attributes:
        joules_per_image: None is unknown.
        uncertainty_joules_per_image: for a coverage factor of 2; None where only a model answered.
        report: of the whole window. It counts in the study's ledger, and not in the trial's `energy`.
    """

    joules_per_image: float | None
    uncertainty_joules_per_image: float | None
    n_images: int
    n_passes: int
    report: EnergyReport

    @classmethod
    def broken_off(cls, n_images: int, report: EnergyReport) -> InferenceEnergy:
        """That of passes which nobody counted any more: all that is known is what they spent."""
        return cls(
            joules_per_image=None, uncertainty_joules_per_image=None, n_images=n_images, n_passes=0, report=report
        )

    @property
    def measurement(self) -> Measurement:
        """The objective `inference_energy`."""
        known = self.joules_per_image is not None
        return Measurement(
            value=self.joules_per_image,
            unit="J / image",
            method=self.report.method if known else "none",
            quality=self.report.quality if known else "none",
        )


class GpuCheck(Frozen):
    """What the self-test found of one GPU over one second; None is unknown.

    Attributes:
        visible: whether CUDA_VISIBLE_DEVICES lets it through.
        uncertainty_watts: of `mean_watts`, for a coverage factor of 2.
    """

    uuid: str
    name: str | None
    visible: bool
    method: Method
    quality: Quality
    mean_watts: float | None
    uncertainty_watts: float | None
    tick_seconds: float | None
    driver: str | None
    flags: tuple[Flag, ...] = ()


class HostCheck(Frozen):
    """What the self-test found of processor or memory over one second, for this process alone; None is unknown."""

    method: Method
    quality: Quality
    mean_watts: float | None


class SelfTestReport(Frozen):
    """What a machine can measure, and how well.

    Attributes:
        device: that a trial would run on.
    """

    host: str
    device: str
    gpus: tuple[GpuCheck, ...]
    cpu: HostCheck
    ram: HostCheck
    host_flags: tuple[Flag, ...] = ()
    carbon: Carbon
    carbon_flags: tuple[Flag, ...] = ()
