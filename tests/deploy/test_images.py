"""The images: what is in the coordinator's, that it runs without torch, and what linters say of the Dockerfile."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.service.processes import started, wait_until

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
# Every module of a distribution that the coordinator's image lacks is missing here as well.
BLOCKED = """
import sys
class Missing:
    names = frozenset({names!r})
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"not in this image: {{name}}", name=name)
sys.meta_path.insert(0, Missing())
from service.cli import main
main()
"""


@pytest.fixture(scope="module")
def packages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packages", ROOT / "deploy" / "packages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reasons() -> dict[str, str]:
    """The files for which pyproject.toml wants each distribution."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    found = [re.match(r'\s+"([A-Za-z0-9_-]+)[^"]*",\s+# (.*)', line) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_the_coordinator_has_what_files_of_the_service_need_and_no_more(packages: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [*project["dependencies"], *project["optional-dependencies"]["postgresql"]]
    names = {canonicalize_name(Requirement(line).name) for line in every}
    why = reasons()
    wanted = {name for name in names if "service/" in why[name]} | {"fsspec"}
    assert {canonicalize_name(Requirement(line).name) for line in packages.listed()} == wanted


def test_the_coordinator_is_small_and_has_no_torch(packages: ModuleType) -> None:
    found = packages.closure(packages.listed())
    assert not {"torch", "torchvision", "codecarbon"} & found.keys()
    assert packages.BASE_MEGABYTES + packages.megabytes(found) < 700


def modules_of(distributions: Any) -> set[str]:
    return {
        name for name, owners in metadata.packages_distributions().items()
        if {canonicalize_name(owner) for owner in owners} & distributions
    }  # fmt: skip


def test_the_service_starts_without_what_its_image_lacks(packages: ModuleType, tmp_path: Path) -> None:
    there = set(packages.closure(packages.listed()))
    every = {canonicalize_name(each.name) for each in metadata.distributions()}
    missing = modules_of(every - there - {"greenshift", "pip", "setuptools"}) - modules_of(there)
    assert "torch" in missing
    command = [sys.executable, "-c", BLOCKED.format(names=missing), "serve", "--port", "0"]
    log = tmp_path / "log"
    with started(
        *command, "--scheduler", "tcp://127.0.0.1:9", "--out", str(tmp_path / "out"), log=log, PYTHONUNBUFFERED="1"
    ):
        wait_until(lambda: re.search("Serving at|Error", log.read_text()))
    assert "Serving at" in log.read_text()
    assert "not in this image" not in log.read_text()


def test_the_dockerfile_has_no_fault() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(linter), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_no_image_runs_as_root_or_takes_whatever_is_latest() -> None:
    text = DOCKERFILE.read_text()
    for target in ("coordinator", "worker"):
        stage = text.partition(f"\nFROM base AS {target}\n")[2].partition("\nFROM")[0]
        assert "USER 10001:10001" in stage and "HEALTHCHECK" in stage and "ENTRYPOINT" in stage
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert [base for base in bases if ":" in base] == ["python:3.11.14-slim-bookworm"]


def test_what_is_copied_into_images_is_there_and_in_their_context() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    files = [name for line in sources for name in line.split()]
    kept = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text()
    assert "deploy/health.py" in files
    assert [name for name in files if not (ROOT / name).exists() or f"!{name}" not in kept] == []


def test_the_images_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    compose = (ROOT / "deploy/compose/compose.yaml").read_text()
    assert set(re.findall(r"image: greenshift-\w+:(\S+)", compose)) == {version}
