"""Carbon intensity of electricity over time, from a file that somebody has recorded or goes on writing."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from service.errors import InputError
from service.scaling import intensity_at


def read_series(path: Path) -> list[tuple[float, float]]:
    """Reads a CSV file with the columns `time` (ISO 8601, UTC where it says no zone) and `grams_per_kwh`.

    Returns:
        Seconds of the epoch and gCO2eq/kWh, in order of time.

    Raises:
        InputError: it cannot be read, has no such columns or no line.
    """
    try:
        with path.open(newline="") as file:
            series = [(_seconds(row["time"]), float(row["grams_per_kwh"])) for row in csv.DictReader(file)]
    except OSError as error:
        raise InputError(f"carbon_series: {path} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"carbon_series: {path} must be CSV with time (ISO 8601) and grams_per_kwh: {error}"
        ) from error
    if not series:
        raise InputError(f"carbon_series: {path} holds no line")
    return sorted(series)


def intensity_of(path: Path, now: Callable[[], datetime]) -> Callable[[], float | None]:
    """The intensity now, by the file as it is now; None before its first line.

    Args:
        path: see `read_series`.
        now: the clock; recorded series are shifted by giving another one.
    """
    return lambda: intensity_at(read_series(path), now().timestamp())


def _seconds(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
