"""`greenshift export --to optuna` and `--to smac`: a study for the tools of other optimizers."""

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
