"""A file that a command leaves: whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from service.errors import InputError, RefusedError


def write_new(out: Path, content: bytes, *, force: bool) -> None:
    """Writes one file, in place of one that is there only by `force`.

    Raises:
        InputError: it cannot be written.
        RefusedError: it is there already.
    """
    try:
        with out.open("wb" if force else "xb") as file:
            _fill(file, content, out)
    except FileExistsError as error:
        raise taken(out) from error
    except OSError as error:
        raise InputError(f"out: {out} is no file that can be written: {error.strerror}") from error


def taken(out: Path) -> RefusedError:
    """What is said of a file that is there already."""
    return RefusedError(f"out: {out} is there already; name another file, or say --force")


def _fill(file: BinaryIO, content: bytes, out: Path) -> None:
    try:
        file.write(content)
        file.flush()
    except OSError:
        # Half of it would be taken for the whole; a device is none of ours.
        if out.is_file():
            out.unlink()
        raise
