"""A study in a cell of a notebook: its state, its counts, its front."""

from __future__ import annotations

from collections import Counter
from html import escape

from service.ranking import front, ties
from service.report.words import amount, recipe, title
from service.schema import Study, Trial

_CELL = "text-align:left;padding:.2em .8em"


def table(study: Study, trials: list[Trial]) -> str:
    """HTML in which nothing of the study can be taken for markup."""
    spec, best = study.spec, front(study.spec, trials)
    counts = Counter(str(trial.state) for trial in trials)
    said = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no trial yet"
    head = ["trial", *(title(name) for name in spec.objectives), "config"]
    rows = [[t.trial_id, *(_figure(t, name) for name in spec.objectives), recipe(t)]
            for t in [*best, *(t for t in trials if t.is_default)]]  # fmt: skip
    return (
        f"<div><strong>{escape(spec.name)}</strong>: {escape(spec.subject)}, {escape(study.standing)}<br>"
        f"{escape(said)}; {len(best)} on the front{ties(spec, best)}"
        f"<table>{_row('th', head)}{''.join(_row('td', row) for row in rows)}</table></div>"
    )


def _figure(trial: Trial, name: str) -> str:
    """A value that is never without how it is known."""
    measured = trial.measurement(name)
    if measured is None or measured.value is None:
        return "unknown"
    return f"{amount(measured)} ({measured.quality}, {measured.method})"


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="{_CELL}">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"
