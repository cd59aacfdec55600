"""What `greenshift worker --self-test` says: what this machine can measure, and how well."""

from __future__ import annotations

import typer

from worker.entry import self_test
from worker.schema import Flag, GpuCheck, HostCheck, SelfTestReport


def print_self_test(*, as_json: bool) -> None:
    """Measures for a few seconds and prints the report."""
    report = self_test()
    typer.echo(report.model_dump_json(indent=2) if as_json else "\n".join(lines(report)))


def lines(report: SelfTestReport) -> list[str]:
    """The report for people, a line a thing."""
    carbon = report.carbon
    year = f", {carbon.year}" if carbon.year is not None else ""
    return [
        f"{report.host}: trials run on {report.device}",
        *(_gpu(gpu) for gpu in report.gpus),
        *([] if report.gpus else ["GPU     none: NVML finds no GPU, or there is no driver"]),
        f"CPU     {_host(report.cpu)}{_flags(report.host_flags)}",
        f"memory  {_host(report.ram)}",
        f"carbon  {carbon.grams_per_kwh:.3g} gCO2eq/kWh, {carbon.source}{year}{_flags(report.carbon_flags)}",
    ]


def _gpu(gpu: GpuCheck) -> str:
    if gpu.mean_watts is None:
        figure = "energy unknown"
    else:
        spread = f" +/- {gpu.uncertainty_watts:.1f}" if gpu.uncertainty_watts is not None else ""
        figure = f"{gpu.mean_watts:.1f}{spread} W"
    tick = f", tick {gpu.tick_seconds * 1e3:.0f} ms" if gpu.tick_seconds is not None else ""
    hidden = "" if gpu.visible else ", hidden by CUDA_VISIBLE_DEVICES"
    return (
        f"GPU     {gpu.name or 'unnamed'} {gpu.uuid}: {figure}, {gpu.quality}, {gpu.method}{tick}{hidden}"
        f"{_flags(gpu.flags)}"
    )


def _host(part: HostCheck) -> str:
    if part.mean_watts is None:
        return "energy unknown"
    return f"{part.mean_watts:.1f} W for this process, {part.quality}, {part.method}"


def _flags(flags: tuple[Flag, ...]) -> str:
    return f" [{', '.join(flags)}]" if flags else ""
