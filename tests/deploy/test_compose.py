"""Compose and monitoring: valid, and in step with the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import service.telemetry  # noqa: F401 - registers what it counts
from service.cli.app import COMMANDS

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
MONITORING = DEPLOY / "monitoring"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def problems(path: Path) -> str:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_compose_keeps_to_its_schema_and_a_planted_fault_is_found(document: dict[str, Any], tmp_path: Path) -> None:
    assert problems(COMPOSE) == ""
    document = json.loads(json.dumps(document))
    document["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"][0]["count"] = [1]
    faulty = tmp_path / "compose.yaml"
    faulty.write_text(yaml.safe_dump(document))
    assert "count" in problems(faulty)


def test_compose_is_what_docker_understands() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("NO DOCKER COMPOSE: whether it understands the file is NOT TESTED")
    subprocess.run([docker, "compose", "--file", str(COMPOSE), "config", "--quiet"], check=True)


def test_every_file_that_compose_mounts_is_there(document: dict[str, Any]) -> None:
    volumes = [v for each in document["services"].values() for v in each.get("volumes", ())]
    sources = [volume.partition(":")[0] for volume in volumes if volume.startswith(".")]
    assert sources
    assert [source for source in sources if not (COMPOSE.parent / source).exists()] == []


def test_every_service_is_held_to_little_and_looked_at(document: dict[str, Any]) -> None:
    for name, each in document["services"].items():
        assert "no-new-privileges:true" in each["security_opt"], name
        assert "privileged" not in each and "latest" not in each["image"], name
        if not each["image"].startswith("greenshift-") and name != "certs":
            assert "healthcheck" in each, name
        for port in each.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_workers_reach_neither_the_database_nor_the_front(document: dict[str, Any]) -> None:
    assert document["services"]["worker"]["networks"] == ["cluster"]
    assert document["networks"]["cluster"]["internal"] and document["networks"]["database"]["internal"]


def test_commands_in_compose_are_commands_of_the_program(document: dict[str, Any]) -> None:
    assert document["services"]["coordinator"]["command"][0] in COMMANDS
    assert document["services"]["worker"]["command"][0] in COMMANDS


def metric_names(text: str) -> set[str]:
    return set(re.findall(r"\bgreenshift_\w+", text))


@pytest.mark.parametrize("file", ["dashboard.json", "rules.yaml"])
def test_every_figure_that_is_shown_or_watched_is_one_of_the_service(file: str) -> None:
    kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    known = {family.name + end for family in REGISTRY.collect() for end in kinds.get(family.type, ())}
    shown = metric_names((MONITORING / file).read_text())
    assert len(shown) > 3
    assert shown <= known


def test_the_dashboard_is_one_of_grafana() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert {panel["id"] for panel in dashboard["panels"]} == set(range(1, len(dashboard["panels"]) + 1))
    assert all(panel["targets"] and panel["title"] for panel in dashboard["panels"])
    sources = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    provisioned = yaml.safe_load((COMPOSE.parent / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert sources == {provisioned["datasources"][0]["uid"]}


def test_every_alert_names_a_section_of_the_runbook() -> None:
    sections = re.findall(r"^## (.+)$", (DEPLOY / "docs" / "runbook.md").read_text(), re.MULTILINE)
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"][0]["rules"]
    named = [rule["annotations"]["summary"].partition("runbook: ")[2] for rule in rules]
    assert len(named) == 6
    assert set(named) <= set(sections)
