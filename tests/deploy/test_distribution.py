"""The wheel and the sdist: they hold every file that they should, and the wheel runs a study alone."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
PACKAGES = ("service/", "shiftlayers/", "worker/")
COMPOSE = "deploy/compose"
SECRETS = yaml.safe_load((ROOT / COMPOSE / "compose.yaml").read_text())["secrets"]
# What lies in a checkout whose owner has followed deploy/README.md.
LEFT = ["tls/ca.pem", f"{COMPOSE}/.env", f"{COMPOSE}/data/cifar-10-batches-py/test_batch"]
LEFT += [f"{COMPOSE}/{secret['file']}".replace("/./", "/") for secret in SECRETS.values()]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs without the checkout on the module path; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def repository() -> set[str]:
    """Files that git knows, or would if they were added."""
    return set(run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines())


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source")
    for file in repository():
        if (ROOT / file).is_file():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_bytes((ROOT / file).read_bytes())
    for file in LEFT:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("of this machine alone")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_no_other(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {file for file in repository() if file.startswith(PACKAGES)}


@pytest.mark.slow
def test_the_sdist_holds_every_file_of_the_repository(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        held = {member.name.partition("/")[2] for member in sdist.getmembers()}
    assert {file for file in repository() if not file.startswith(".")} - held == set()
    assert len(LEFT) == 6 and held.isdisjoint(LEFT)


@pytest.mark.parametrize("file", LEFT)
def test_what_is_of_a_machine_alone_is_not_committed(file: str) -> None:
    assert run("git", "check-ignore", file).strip() == file


@pytest.mark.slow
def test_the_wheel_runs_a_study_outside_the_checkout(dist: Path, tmp_path: Path) -> None:
    """In a new environment that has the wheel, and sees the packages of this one by a path and not their .pth files."""
    environment, python = tmp_path / "venv", tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", next(dist.glob("*.whl")))
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "of-the-tests.pth").write_text("\n".join({sysconfig.get_path(n) for n in ("purelib", "platlib")}))

    found = run(python, "-c", "import service, worker; print(service.__file__, worker.__file__)", cwd=tmp_path)
    assert all(path.startswith(site) for path in found.split())
    run(environment / "bin/greenshift", "run", "digits", "--n-trials", "4", "--workers", "2", cwd=tmp_path)

    with (tmp_path / "runs/digits/trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [trial["state"] for trial in trials].count("COMPLETED") == 4
