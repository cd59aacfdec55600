"""The README against the program: a command, option or preset that it does not name fails here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from service.cli.app import LazyCommand, app
from service.schema import StudySpec, preset_names
from service.settings import Settings, variable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLUSTER = (ROOT / "deploy" / "docs" / "cluster.md").read_text()


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its full name, those of groups included."""
    for name, lazy in group.commands.items():
        command = lazy.load() if isinstance(lazy, LazyCommand) else lazy
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def options(*commands: str) -> list[str]:
    found = [parameter for command in commands for parameter in COMMANDS[command].params]
    return sorted({parameter.opts[0] for parameter in found if parameter.param_type_name == "option"})


def test_the_first_screen_holds_two_commands_and_no_other() -> None:
    blocks = re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL)

    assert blocks[0] == "make demo\nmake test\n"
    assert README.index("```") < 200
    assert README.index(blocks[1]) > README.index("## From Python")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"greenshift {command}\b", README)


@pytest.mark.parametrize("option", options("run", "serve", "submit", "export", "import", "report", "front"))
def test_every_option_of_running_studies_is_documented(option: str) -> None:
    assert re.search(rf"[` ]{option}\b", README)


@pytest.mark.parametrize("option", options("worker", "certs", "cluster"))
def test_every_option_of_a_cluster_is_documented(option: str) -> None:
    assert re.search(rf"[` ]{option}\b", CLUSTER)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_what_each_of_its_parameters_is(command: str) -> None:
    assert COMMANDS[command].help
    assert [p.name for p in COMMANDS[command].params if not p.help] == []


@pytest.mark.parametrize("setting", Settings.__dataclass_fields__)
def test_every_setting_is_documented(setting: str) -> None:
    assert f"| `{variable(setting)}` |" in README


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_documented(preset: str) -> None:
    assert f"| `{preset}` |" in README


@pytest.mark.parametrize("preset", [name for name in preset_names() if name.startswith("paper")])
def test_the_guide_to_the_papers_tells_each_preset_as_it_is(preset: str) -> None:
    guide = (ROOT / "deploy/docs/paper.md").read_text()
    spec = StudySpec.load(preset)
    assert spec.fidelity is not None
    epochs = f"{spec.fidelity.min_fidelity:g}..{spec.fidelity.max_fidelity:g}"
    assert re.search(
        rf"^\| `{preset}` \|.*\| {spec.budget.n_trials} \| {epochs} \| {spec.seed} \|$", guide, re.MULTILINE
    )


def test_every_file_that_the_readme_shows_exists() -> None:
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(
    "target",
    [
        "install",
        "demo",
        "test",
        "test-slow",
        "lint",
        "bench",
        "bench-shiftlayers",
        "bench-worker",
        "bench-service",
        "bench-optimizer",
        "screenshots",
        "bench-scale",
        "soak",
        "sbom",
        "check-deploy",
        "docs",
        "dist",
        "clean",
    ],
)
def test_every_job_is_a_target_with_a_word_of_help(target: str) -> None:
    assert re.search(rf"^{target}:.*## \w", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
