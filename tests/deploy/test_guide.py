"""The guide of deploy/ against what is there: its commands are understood and its files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from service.cli.app import COMMANDS
from tests.deploy.test_kubernetes import KUBERNETES, SECRETS, understood
from worker.data import fetch_dataset

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "deploy" / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", GUIDE, flags=re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
# Those that are behind others, on a line or in a container, as well.
COMMAND_LINES = [
    re.sub(r"^(\w+=\S+ |docker compose .* coordinator (?=greenshift))", "", part.strip())
    for line in LINES
    for part in re.split(r"&&|;", line)
]


def test_each_way_fits_on_a_screen_and_ends_in_a_study() -> None:
    title, *ways = re.split(r"^## ", GUIDE, flags=re.MULTILINE)
    assert [way.splitlines()[0] for way in ways] == [
        "One machine: Compose",
        "Kubernetes",
        "SLURM",
        "PBS, LSF, SGE",
        "Bare machines",
    ]
    assert "Five ways" in title
    for way in ways:
        assert len(way.splitlines()) <= 45
        assert re.search(r"greenshift submit digits|head.sbatch digits", way)


@pytest.mark.parametrize("command", [command for command in COMMAND_LINES if re.match(r"(greenshift|dask) ", command)])
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[0] == "dask" or words[1] in COMMANDS
    understood(words)


def test_what_fetches_a_data_set_is_there() -> None:
    (code,) = set(re.findall(r'-c "(from worker[^"]+)"', GUIDE))
    compile(code, "guide", "exec")
    assert code.startswith("from worker.data import fetch_dataset") and callable(fetch_dataset)


def test_every_file_and_folder_that_is_named_is_there() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", GUIDE)) | {
        f"deploy/{path}" for path in re.findall(r"\]\((docs/[^)]+)\)", GUIDE)
    }
    table = [
        name for row in re.findall(r"^\| (`[^|]+) \|", GUIDE, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]
    named |= {f"deploy/{name}" for name in table}
    assert len(named) > 10
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_runbook_names_commands_that_there_are() -> None:
    runbook = (ROOT / "deploy/docs/runbook.md").read_text()
    named = set(re.findall(r"`greenshift ([a-z-]+)", runbook))
    assert len(named) > 8
    assert named <= set(COMMANDS)


def test_every_folder_of_deploy_is_in_the_guide() -> None:
    folders = {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()}
    assert {folder for folder in folders if f"`{folder}/`" not in GUIDE} == set()


def test_every_secret_of_kubernetes_is_made_as_pods_read_it() -> None:
    assert "greenshift-tls-$role" in GUIDE and "greenshift-database" in GUIDE
    assert set(re.findall(r"--from-literal=(\w+)=", GUIDE)) == SECRETS["greenshift-database"]
    (roles,) = re.findall(r"for role in ([\w ]+);", GUIDE)
    assert {f"greenshift-tls-{role}" for role in roles.split()} == SECRETS.keys() - {"greenshift-database"}


def test_every_secret_of_compose_is_made() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
    assert [name for name in compose["secrets"] if f"{name}" not in GUIDE] == []


def test_images_are_called_alike_everywhere() -> None:
    names = {
        name for path in KUBERNETES.rglob("*.yaml") for name in re.findall(r"image: (greenshift-\S+)", path.read_text())
    }
    compose = (ROOT / "deploy/compose/compose.yaml").read_text()
    assert names == set(re.findall(r"image: (greenshift-\S+)", compose))
