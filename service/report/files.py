"""All files of a study's folder that follow from its store."""

from __future__ import annotations

from pathlib import Path

from service.ledger import Ledger, write_ledger
from service.ranking import front
from service.report.page import write_page
from service.report.picture import write_picture
from service.report.tables import hyperparameters_of, write_csv
from service.schema import Study, Trial


def write_files(out: Path, study: Study, trials: list[Trial], ledger: Ledger) -> None:
    """Writes `trials.csv`, `front.csv`, `ledger.csv`, `pareto.png` and `report.html` into the folder `out`."""
    names = hyperparameters_of(trials)
    write_csv(out / "trials.csv", study.spec, trials, names)
    write_csv(out / "front.csv", study.spec, front(study.spec, trials), names)
    write_ledger(out / "ledger.csv", ledger)
    write_picture(out / "pareto.png", study.spec, trials)
    write_page(out / "report.html", study, trials, ledger, out / "pareto.png")
