"""The report: one HTML file that needs no network, for somebody who was not there."""

from __future__ import annotations

import base64
import platform
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.ledger import CAUSES, Ledger
from service.ranking import front, volume
from service.report.tables import shown_objectives
from service.report.words import amount, baseline, beaten, caveat, int8_baseline, provenance, recipe, things, title
from service.schema import Study, Trial, TrialState

_PACKAGES = ("greenshift", "torch", "smac", "distributed", "codecarbon")


@dataclass(frozen=True)
class _Row:
    """One trial in a table of the page."""

    trial: Trial
    amounts: list[str]
    recipe: str


def write_page(path: Path, study: Study, trials: list[Trial], ledger: Ledger, picture: Path) -> None:
    """Writes the report of `study`; `picture` is a PNG that is put inside."""
    environment = Environment(
        loader=PackageLoader("service.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    spec = study.spec
    objectives = shown_objectives(spec)
    best = front(spec, trials)
    html = environment.get_template("report.html.j2").render(
        study=study,
        spec=spec,
        picture=base64.b64encode(picture.read_bytes()).decode(),
        titles=[title(name) for name in objectives],
        provenances=[provenance(name, trials) for name in objectives],
        front=[_row(trial, objectives) for trial in best],
        defaults=[_row(trial, objectives) for trial in trials if trial.is_default],
        trials=[_row(trial, objectives) for trial in trials],
        baselines=[(trial.trial_id, baseline(trial)) for trial in trials if trial.is_default],
        beaten=beaten(spec, trials),
        things=things(spec),
        volume=volume(spec, trials),
        caveat=caveat(trials),
        int8=amount(int8_baseline(trials)),
        states=Counter(str(trial.state) for trial in trials),
        n_full=sum(t.is_full and t.state is TrialState.COMPLETED for t in trials),
        ledger=_ledger(ledger),
        environment=_environment(trials),
    )
    path.write_text(html)


def _row(trial: Trial, objectives: list[str]) -> _Row:
    return _Row(trial, [amount(trial.measurement(name)) for name in objectives], recipe(trial))


def _ledger(ledger: Ledger) -> list[tuple[str, str, str, str]]:
    """Cause, how the energy was obtained, attempts, and energy: never added up across ways."""
    rows = []
    for entry in ledger.by_cause():
        is_known = entry.n_unknown < entry.n_attempts
        how = f"{entry.quality}, {entry.method}, {entry.device}" if is_known else "unknown"
        unknown = f", and {entry.n_unknown} unknown" if is_known and entry.n_unknown else ""
        joules = f"{entry.joules:,.0f} J{unknown}" if is_known else "unknown"
        rows.append((CAUSES[entry.cause], how, str(entry.n_attempts), joules))
    return rows


def _environment(trials: list[Trial]) -> list[tuple[str, str]]:
    """What one needs to know to run the study again, and what its carbon figures rest on."""
    reports = [t.result.energy for t in trials if t.result and t.result.energy]
    carbon = sorted({f"{r.carbon_grams_per_kwh:g} g/kWh ({r.carbon_source}), PUE {r.pue:g}" for r in reports})
    flags = Counter(flag for report in reports for flag in report.flags)
    return [
        ("Devices", ", ".join(sorted({r.device for r in reports})) or "unknown"),
        ("Carbon intensity", ", ".join(carbon) or "unknown"),
        ("Energy flags", ", ".join(f"{flag}: {n} trials" for flag, n in flags.items()) or "none"),
        ("Python", platform.python_version()),
        *((name, metadata.version(name)) for name in _PACKAGES),
    ]
