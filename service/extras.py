"""What is installed only where somebody wants it, and what is said where it is missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from service.errors import InputError

# Extra of the distribution -> the packages that it brings, each with the module by which it is found.
EXTRAS = {
    "mlflow": {"mlflow-skinny": "mlflow"},
    "optuna": {"optuna": "optuna"},
    "parquet": {"pyarrow": "pyarrow"},
    "pdf": {"fpdf2": "fpdf"},
}


def require(extra: str, what: str) -> None:
    """Refuses to begin what could not be finished.

    Args:
        extra: of the distribution.
        what: that needs it, for people, such as `to: parquet`.

    Raises:
        InputError: a package of the extra is not installed.
    """
    missing = [package for package, module in EXTRAS[extra].items() if find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {' and '.join(missing)}: pip install 'greenshift[{extra}]'")


def loaded(module: str, extra: str, what: str) -> Any:
    """A module of ours that cannot be loaded without an extra; see `require`."""
    require(extra, what)
    return import_module(module)


def require_torch(what: str) -> None:
    """Refuses what builds networks on a machine that goes without, as one does that only coordinates.

    Raises:
        InputError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise InputError(
            f"{what} needs torch, which is not installed here: pip install torch torchvision, or go where workers run"
        )
