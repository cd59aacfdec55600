"""What a report tells, whatever it is written in: what was asked, searched, found and spent, and how that is known."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from service.ledger import CAUSES, Ledger
from service.report.tables import hyperparameters_of, shown_objectives
from service.report.words import (
    amount,
    baseline,
    caveat,
    found,
    provenance,
    reached,
    recipe,
    tally,
    things,
    title,
    with_integers,
)
from service.schema import StudySpec, Trial
from service.scores import score
from service.study_run import StudyRun, as_yaml, document_of
from service.wire import without_places
from worker.schema import Measurement

_PACKAGES = ("greenshift", "torch", "smac", "distributed", "codecarbon")
_SPACES = {
    "dsnn": "dsnn, greenshift's own for deep shift networks",
    "paper": "paper, that of Hennig, Tornede and Lindauer (arXiv 2404.01965)",
}
_MAX_SHOWN = 8


@dataclass(frozen=True)
class Row:
    """One trial in a table of the report."""

    trial: Trial
    amounts: list[str]
    recipe: str


def story(run: StudyRun) -> dict[str, Any]:
    """Everything that a template of the report shows."""
    spec, trials = run.study.spec, run.trials
    objectives = shown_objectives(spec)
    defaults = [trial for trial in trials if trial.is_default]
    judged = [score(trial, run.finals) for trial in [*run.front, *defaults]]
    return {
        "study": run.study,
        "spec": spec,
        "titles": [title(name) for name in objectives],
        "provenances": [provenance(name, trials) for name in objectives],
        "front": [_row(trial, objectives) for trial in run.front],
        "defaults": [_row(trial, objectives) for trial in defaults],
        "trials": [_row(trial, objectives) for trial in trials],
        "baselines": [(trial.trial_id, baseline(trial)) for trial in defaults],
        "tally": tally(trials),
        "found": found(spec, trials),
        "things": things(spec),
        "reached": reached(spec, trials),
        "caveat": caveat(trials),
        "with_integers": with_integers(trials),
        "scores": [each for each in judged if each.errors],
        "n_failed_finals": sum(result.failure is not None for result in run.finals.values()),
        "space": _space(spec),
        "tried": [(name, _tried(name, trials)) for name in hyperparameters_of(trials)],
        "sources": _sources(run),
        "ledger": _ledger(run.ledger),
        "environment": _environment(trials),
        "study_yaml": as_yaml(without_places(document_of(spec, brief=True))),
    }


def _row(trial: Trial, objectives: list[str]) -> Row:
    return Row(trial, [amount(trial.measurement(name)) for name in objectives], recipe(trial))


def _space(spec: StudySpec) -> list[tuple[str, str]]:
    """What was allowed, in the words of the study."""
    named = _SPACES.get(spec.space) if isinstance(spec.space, str) else "one of its own, in study.yaml below"
    said = {
        "search space": str(named) if "space" not in spec.gaps else "that of the task",
        "families": "" if spec.task else "shift, int8 and float" if spec.family == "search" else spec.family,
        "other ranges": ", ".join(f"{name} {low:g}..{high:g}" for name, (low, high) in spec.ranges.items()),
        "fixed": ", ".join(f"{name} = {value}" for name, value in spec.fixed.items()),
        "fidelity": _fidelity(spec),
        "constraints": ", ".join(spec.constraints),
        "optimizer": spec.optimizer,
        "seeds of a trial": "" if spec.task else str(spec.n_seeds),
        "budget": ", ".join(f"{name} {value:g}" for name, value in spec.budget.model_dump(exclude_none=True).items()),
    }
    return [(what, value) for what, value in said.items() if value]


def _fidelity(spec: StudySpec) -> str:
    if spec.fidelity is None:
        return "that of the task" if "fidelity" in spec.gaps else "full, for every trial"
    own = (spec.fidelity.min_fidelity, spec.fidelity.max_fidelity)
    knobs = [(spec.fidelity.name or "that of the task", own), *spec.fidelity.together.items()]
    ranges = [f"{name} {low:g}..{high:g}" for name, (low, high) in knobs]
    return f"{' together with '.join(ranges)}; one in {spec.fidelity.eta} is promoted"


def _tried(name: str, trials: list[Trial]) -> str:
    """The values of a hyperparameter over all trials: bounds of numbers, else each with its number of trials."""
    values = [trial.config[name] for trial in trials if trial.config.get(name) is not None]
    if len(set(map(str, values))) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return f"{min(values):.4g} .. {max(values):.4g}"
    if not values:
        return "none"
    counts = Counter(value if isinstance(value, str) else json.dumps(value) for value in values).most_common()
    more = f" and {len(counts) - _MAX_SHOWN} others" if len(counts) > _MAX_SHOWN else ""
    return ", ".join(f"{value} ({n} {'trial' if n == 1 else 'trials'})" for value, n in counts[:_MAX_SHOWN]) + more


def _sources(run: StudyRun) -> list[tuple[str, str, str, str, str]]:
    """Of everything that trials measured: title, unit, quality, method, number of trials; one row for each way."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for trial in run.trials:
        for name, measurement in (trial.result.objectives if trial.result else {}).items():
            found[_source(name, measurement)] += 1
    order = [title(name) for name in shown_objectives(run.study.spec)]
    ranked = sorted(found.items(), key=lambda item: (order.index(item[0][0]) if item[0][0] in order else len(order),
                                                     item[0]))  # fmt: skip
    return [(*way, str(n)) for way, n in ranked]


def _source(name: str, measurement: Measurement) -> tuple[str, str, str, str]:
    if measurement.value is None:
        return title(name), measurement.unit, "unknown", measurement.method
    return title(name), measurement.unit or "none", measurement.quality, measurement.method


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
    """What the carbon figures rest on, and the versions of the program that writes the report."""
    reports = [t.result.energy for t in trials if t.result and t.result.energy]
    carbon = sorted({f"{r.carbon_grams_per_kwh:g} g/kWh ({r.carbon_source}), PUE {r.pue:g}" for r in reports})
    flags = Counter(flag for report in reports for flag in report.flags)
    return [
        ("Devices", ", ".join(sorted({r.device for r in reports})) or "unknown"),
        ("Carbon intensity", ", ".join(carbon) or "unknown"),
        ("Energy flags", ", ".join(f"{flag}: {n} trials" for flag, n in flags.items()) or "none"),
        ("Python", platform.python_version()),
        *((name, _version(name)) for name in _PACKAGES),
    ]


def _version(package: str) -> str:
    """A coordinator has not all that workers need."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed here"
