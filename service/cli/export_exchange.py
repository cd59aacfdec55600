"""`greenshift export --to optuna`, `--to smac` and `--to mlflow`: a study for the tools of others."""

from __future__ import annotations

from pathlib import Path

from service.cli.sources import Source


def write_optuna(out: Path, source: Source) -> list[str]:
    """Writes a storage that Optuna and its dashboard open."""
    from service.exchange import optuna_out

    return optuna_out.write_optuna(out, source.run, source.log)


def write_smac(out: Path, source: Source) -> list[str]:
    """Writes a run folder that SMAC's own loaders read, into the folder `out` of the one where it will lie."""
    from service.exchange import smac_out

    return smac_out.write_smac(out, source.run, source.log, home=out.parent)


def write_mlflow(out: Path | str, source: Source) -> list[str]:
    """Writes runs to a tracking server, or into an SQLite file in a folder, made anew."""
    from service.exchange import mlflow_out

    if isinstance(out, Path):
        out = f"sqlite:///{(out / mlflow_out.FILE).resolve()}"
    return mlflow_out.write_mlflow(out, source.run, source.log)
