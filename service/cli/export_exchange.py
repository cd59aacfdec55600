"""`greenshift export --to optuna`, `--to smac` and `--to mlflow`: a study for the tools of others."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from service.cli.sources import Source


def write_optuna(out: Path, source: Source) -> list[str]:
    """Writes a storage that Optuna and its dashboard open."""
    notes: list[str] = import_module("service.exchange.optuna_out").write_optuna(out, source.run, source.log)
    return notes


def write_smac(out: Path, source: Source) -> list[str]:
    """Writes a run folder that SMAC's own loaders read."""
    notes: list[str] = import_module("service.exchange.smac_out").write_smac(out, source.run, source.log)
    return notes


def write_mlflow(out: Path | str, source: Source) -> list[str]:
    """Writes runs to a tracking server, or into an SQLite file in a folder, made anew."""
    module = import_module("service.exchange.mlflow_out")
    if isinstance(out, Path):
        file = (out / module.FILE).resolve()
        file.unlink(missing_ok=True)
        out = f"sqlite:///{file}"
    notes: list[str] = module.write_mlflow(out, source.run, source.log)
    return notes
