"""The command `greenshift presets`."""

from __future__ import annotations

import typer

from service.cli.remote import AsJson, echo_json
from service.schema import StudySpec, preset_names


def presets(as_json: AsJson = False) -> None:
    """Lists the studies that come with the program."""
    specs = {name: StudySpec.load(name) for name in preset_names()}
    if as_json:
        echo_json([{"name": n, "subject": s.subject, "objectives": dict(s.objectives)} for n, s in specs.items()])
        return
    for name, spec in specs.items():
        typer.echo(f"{name:24} {spec.subject}: {', '.join(spec.objectives)}")
