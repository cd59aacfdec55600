"""`greenshift export --to csv` and `--to parquet`: a study as tables."""

from __future__ import annotations

from pathlib import Path

from service.cli.sources import Source
from service.report.files import write_files
from service.report.parquet import write_parquet
from service.report.tidy import tables
from service.study_run import write_spec

# What `greenshift run` does not leave, and csv therefore adds.
_MORE = ("measurements", "attempts")


def write_csv(out: Path, source: Source) -> list[str]:
    """Writes what `greenshift run` leaves and two more tables."""
    found = tables(source.run, source.log)
    write_files(out, source.run)
    for name in _MORE:
        found[name].write_csv(out / f"{name}.csv")
    write_spec(source.run.study.spec, out)
    return []


def write_parquets(out: Path, source: Source) -> list[str]:
    """Writes all tables, for data frames."""
    for name, table in tables(source.run, source.log).items():
        write_parquet(out / f"{name}.parquet", table)
    write_spec(source.run.study.spec, out)
    return []
