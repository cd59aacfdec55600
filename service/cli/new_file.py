"""A file that a command leaves: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from service.errors import InputError, RefusedError


def write_new(out: Path, content: bytes, *, force: bool) -> None:
    """Writes one file, in place of one that is there only by `force`.

    Raises:
        InputError: it cannot be written.
        RefusedError: it is there already.
    """
    try:
        if not force:
            _create(out, content)
        elif out.exists() and not out.is_file():
            out.write_bytes(content)  # a device or a pipe
        else:
            # Through a link, as any writing.
            _replace(Path(os.path.realpath(out)), content)
    except FileExistsError as error:
        raise taken(out) from error
    except OSError as error:
        raise InputError(f"out: {out} is no file that can be written: {error.strerror}") from error


def taken(out: Path) -> RefusedError:
    """What is said of a file that is there already."""
    return RefusedError(f"out: {out} is there already; name another file, or say --force")


def _create(out: Path, content: bytes) -> None:
    with out.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            # Half of it would be taken for the whole.
            out.unlink()
            raise


def _replace(out: Path, content: bytes) -> None:
    """The old file stays until the new one is whole."""
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_bytes(content)
        if out.exists():
            shutil.copymode(out, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
