"""All files of a study's folder that follow from its store."""

from __future__ import annotations

from pathlib import Path

from service.ledger import write_ledger
from service.report.growth import growth_figure
from service.report.page import html_page
from service.report.palette import rendered
from service.report.picture import front_figure, png
from service.report.tables import hyperparameters_of, write_csv
from service.study_run import StudyRun


def write_files(out: Path, run: StudyRun) -> None:
    """Writes `trials.csv`, `front.csv`, `ledger.csv`, `report.html` and the pictures into the folder `out`."""
    spec, names = run.study.spec, hyperparameters_of(run.trials)
    write_csv(out / "trials.csv", spec, run.trials, names)
    write_csv(out / "front.csv", spec, run.front, names)
    write_ledger(out / "ledger.csv", run.ledger)
    picture = png(spec, run.trials)
    (out / "pareto.png").write_bytes(picture)
    write_figures(out, run)
    (out / "report.html").write_text(html_page(run, picture), encoding="utf-8")


def write_figures(out: Path, run: StudyRun) -> None:
    """Writes `pareto.svg` and `hypervolume.svg`, for publications."""
    spec, trials = run.study.spec, run.trials
    for name, figure in (("pareto", front_figure(spec, trials)), ("hypervolume", growth_figure(spec, trials))):
        (out / f"{name}.svg").write_bytes(rendered(figure, "svg"))
