"""The report as Markdown, without the picture: for where text is read. Its tables are those of GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from service.report.story import Row, story
from service.report.words import amount, recipe
from service.scores import FinalScore
from service.study_run import StudyRun


def markdown_page(run: StudyRun) -> str:
    """What the page in HTML says; no value can be taken for markup."""
    environment = Environment(
        loader=PackageLoader("service.report", "templates"),
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code_block
    told = story(run)

    def trial_table(rows: list[Row], with_state: bool) -> Markup:
        knobs = [] if not with_state else ["fidelity"] if run.study.spec.task else ["depth", "epochs"]
        titles = [f"{name} ({how})" for name, how in zip(told["titles"], told["provenances"], strict=True)]
        head = ["trial", *(["state"] if with_state else []), *knobs, *titles, "config"]
        return table(head, (_cells(row, knobs, with_state) for row in rows))

    text = environment.get_template("report.md.j2").render(
        told, table=table, trial_table=trial_table, score_table=_score_table
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _cells(row: Row, knobs: list[str], with_state: bool) -> list[Any]:
    """One trial; where states are shown also how much of it was done."""
    trial = row.trial
    failure = trial.result.failure if trial.result else None
    state = [f"{trial.state} ({failure.kind})" if failure else trial.state] if with_state else []
    done = {
        "fidelity": "" if trial.fidelity is None else f"{trial.fidelity:.4g}",
        "depth": trial.shift_depth,
        "epochs": trial.epochs,
    }
    return [trial.trial_id, *state, *(done[knob] for knob in knobs), *row.amounts, row.recipe]


def _score_table(scores: list[FinalScore]) -> Markup:
    head = ["trial", "test error", "seeds", "validation error of the search", "config"]
    return table(
        head,
        (
            [s.trial.trial_id, s.said, len(s.errors), amount(s.trial.measurement("error")), recipe(s.trial)]
            for s in scores
        ),
    )


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table of GitHub's; what is no markup cannot become any."""
    lines = [head, ["---"] * len(head), *rows]
    if len(lines) == 2:
        return Markup("Nothing yet.")
    return Markup("\n".join(f"| {' | '.join(map(str, map(_escaped, line)))} |" for line in lines))


def _escaped(value: object) -> object:
    """A value that is no markup, whatever it holds; it stays in its line and in its cell."""
    if isinstance(value, Markup):
        return value
    spaced = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*<>&|\[\]])", r"\\\1", spaced)


def code_block(text: str) -> Markup:
    """A block of code, fenced by more backticks than it holds in a row."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markup(f"{fence}\n{text}{fence}")
