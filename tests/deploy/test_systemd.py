"""Units of systemd: it understands them, and the programs that they start understand their commands."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings, variable
from tests.deploy.test_kubernetes import understood

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.*[re]"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
DROP_INS = DEPLOY / "systemd" / "greenshift-.service.d"


def variables(name: str) -> dict[str, str]:
    lines = (DEPLOY / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line[0] != "#")


ENVIRONMENT = variables("greenshift.env")
STORE = variables("greenshift-store.env")


def verified(folder: Path, *changes: tuple[str, str]) -> str:
    """What systemd says of the units, with programs that are here in place of those they start."""
    for unit in UNITS:
        text = re.sub(r"^(ExecStart=)\S+", r"\g<1>/bin/true", unit.read_text(), flags=re.MULTILINE)
        for before, after in changes:
            text = text.replace(before, after)
        (folder / unit.name).write_text(text.replace("User=greenshift", "User=root"))
    shutil.copytree(DROP_INS, folder / DROP_INS.name, dirs_exist_ok=True)
    for drop_in in (folder / DROP_INS.name).iterdir():
        for before, after in changes:
            drop_in.write_text(drop_in.read_text().replace(before, after))
    files = [str(folder / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False
    )
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if str(folder) in line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NO SYSTEMD: units are NOT TESTED")
def test_systemd_understands_the_units_and_finds_planted_faults(tmp_path: Path) -> None:
    assert len(UNITS) == 5
    assert verified(tmp_path) == ""
    assert "RestartSecs" in verified(tmp_path, ("RestartSec=", "RestartSecs="))
    assert "ReadWritePath" in verified(tmp_path, ("ReadWritePaths=-/shared", "ReadWritePath=-/shared"))
    assert "Failed to parse" in verified(tmp_path, ("OnCalendar=hourly", "OnCalendar=sometimes"))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_what_a_unit_starts_is_understood(unit: Path) -> None:
    text = unit.read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    for name in re.findall(r"\$\{(\w+)\}", command):
        assert name == "CACHE_DIRECTORY" or name in ENVIRONMENT
        command = command.replace(f"${{{name}}}", ENVIRONMENT.get(name, "/var/cache/greenshift"))
    program, *arguments = shlex.split(command)
    if program.endswith("backup.sh"):
        assert (DEPLOY / "backup.sh").stat().st_mode & 0o111
        return
    assert program.startswith("/opt/greenshift/bin/")
    if Path(program).name == "greenshift":
        arguments.append(f"--tls={ENVIRONMENT['GREENSHIFT_TLS']}")  # from its environment
    understood([Path(program).name, *arguments])


def test_variables_are_those_of_the_program() -> None:
    known = {variable(name) for name in Settings.__dataclass_fields__} | {"GREENSHIFT_TLS"}
    assert ENVIRONMENT.keys() - known == {"GREENSHIFT_HOST", "GREENSHIFT_OUT"}
    assert STORE.keys() <= known


def test_the_store_is_known_to_those_alone_who_open_it() -> None:
    knowing = {
        unit.stem for unit in SERVICES if "EnvironmentFile=/etc/greenshift/greenshift-store.env" in unit.read_text()
    }
    assert knowing == {"greenshift-serve", "greenshift-backup"}
    assert STORE.keys() == {"GREENSHIFT_DATABASE_URL"} and not STORE.keys() & ENVIRONMENT.keys()


def test_the_folder_that_services_may_write_to_is_that_of_the_environment() -> None:
    (drop_in,) = DROP_INS.iterdir()
    assert f"ReadWritePaths=-{ENVIRONMENT['GREENSHIFT_OUT']}\n" in drop_in.read_text()
    assert not any(ENVIRONMENT["GREENSHIFT_OUT"] in unit.read_text() for unit in UNITS)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_every_service_is_held_to_little(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read(unit)
    service = parser["Service"]
    assert service["user"] == "greenshift"
    assert (service["nonewprivileges"], service["protectsystem"], service["protecthome"]) == ("yes", "strict", "yes")
