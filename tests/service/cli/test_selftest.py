from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from service.cli import selftest as command
from service.cli.app import app
from worker.schema import Carbon, GpuCheck, HostCheck, SelfTestReport

GPU = GpuCheck(
    uuid="GPU-a",
    name="Fake GPU",
    visible=True,
    method="nvml_energy_timeline",
    quality="measured",
    mean_watts=60.04,
    uncertainty_watts=3.5,
    tick_seconds=0.1,
    driver="999",
)
REPORT = SelfTestReport(
    host="n1",
    device="Fake GPU",
    gpus=(
        GPU,
        GPU.model_copy(update={"mean_watts": None, "method": "none", "quality": "none"})
        .model_copy(update={"tick_seconds": None, "flags": ("mig",), "visible": False}),
    ),
    cpu=HostCheck(method="rapl", quality="measured", mean_watts=12.0),
    ram=HostCheck(method="none", quality="none", mean_watts=None),
    carbon=Carbon(grams_per_kwh=475.0, source="a test", year=2019),
    carbon_flags=("ci_fallback",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def report(monkeypatch):
    monkeypatch.setattr(command, "self_test", lambda: REPORT)


def test_the_self_test_is_a_line_a_thing():
    result = CliRunner().invoke(app, ["worker", "--self-test"])

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "n1: trials run on Fake GPU",
        "GPU     Fake GPU GPU-a: 60.0 +/- 3.5 W, measured, nvml_energy_timeline, tick 100 ms",
        "GPU     Fake GPU GPU-a: energy unknown, none, none, hidden by CUDA_VISIBLE_DEVICES [mig]",
        "CPU     12.0 W for this process, measured, rapl",
        "memory  energy unknown",
        "carbon  475 gCO2eq/kWh, a test, 2019 [ci_fallback]",
    ]


def test_a_machine_without_gpus_says_so(monkeypatch):
    monkeypatch.setattr(command, "self_test", lambda: REPORT.model_copy(update={"gpus": ()}))

    assert "GPU     none" in CliRunner().invoke(app, ["worker", "--self-test"]).output


def test_the_self_test_as_json_is_the_report():
    result = CliRunner().invoke(app, ["worker", "--self-test", "--json"])

    assert SelfTestReport.model_validate(json.loads(result.output)) == REPORT
