"""Arrays decoded once per host: written under a lock, then memory-mapped by every process that asks.

A folder of the cache is complete or absent: it is written beside its place and renamed into it. What does not open as
it was written is made anew. Deleting any of it is safe at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
_SHAPES = "shapes.json"


def cached_arrays(folders: Sequence[Path], key: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays of `key`, mapped from the first of `folders` that has them; else built and stored in one of them.

    Processes that ask for the same key at once build once. Where no folder can be written, the arrays stay in memory.
    Arrays that were mapped may be written to without changing what others see.

    Args:
        folders: where to look, and where to store, best first.
        key: name of the folder inside.
        build: decodes; only called where nobody has done so.
    """
    for folder in folders:
        if (found := _open(folder / key)) is not None:
            return found
    writable = next((folder for folder in folders if _can_write(folder)), None)
    if writable is None:
        logger.warning("no cache folder can be written (%s): decoding for this process alone", folders)
        return build()
    with _locked(writable / f"{key}.lock"):
        # Whoever held the lock before has stored it.
        if (found := _open(writable / key)) is not None:
            return found
        arrays = build()
        try:
            _write(arrays, writable / key)
        except OSError as error:
            logger.warning("%s cannot be written (%s): the data stay in memory", writable / key, error)
            return arrays
    return _open(writable / key) or arrays


def cache_folders(data_dir: Path | None) -> list[Path]:
    """Where decoded arrays may lie, best first: beside the data, the user's cache folder, the temporary folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folders = [user / "greenshift"]
    if data_dir is not None:
        folders.insert(0, data_dir / ".greenshift-cache")
    temporary = Path(tempfile.gettempdir()) / f"greenshift-cache-{os.getuid()}"
    # Others can make a folder of this name there before we do.
    if not temporary.exists() or temporary.stat().st_uid == os.getuid():
        folders.append(temporary)
    return folders


def fingerprint(name: str, version: Sequence[object], files: Sequence[Path], data_dir: Path | None) -> str:
    """A key that changes with the version and with names, sizes and times of change of `files`."""
    facts: list[tuple[str, int, int]] = []
    for file in sorted(files):
        status = file.stat()
        relative = file.relative_to(data_dir) if data_dir is not None and file.is_relative_to(data_dir) else file
        facts.append((str(relative), status.st_size, status.st_mtime_ns))
    digest = hashlib.sha256(json.dumps([name, list(version), facts]).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.@-]', '_', name)}-{digest[:16]}"


def _open(folder: Path) -> Arrays | None:
    """The arrays of a complete folder, or None. A private map, so that torch may take it: it never reaches the file."""
    try:
        shapes = json.loads((folder / _SHAPES).read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in shapes}
    except (OSError, ValueError, EOFError):
        return None
    return arrays if shapes == _shapes(arrays) else None


def _shapes(arrays: Arrays) -> dict[str, list[object]]:
    return {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}


def _write(arrays: Arrays, folder: Path) -> None:
    """Writes all arrays into a folder beside `folder`, then puts it in its place; half-written ones are removed."""
    for left_over in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, array in arrays.items():
            with (partial / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        (partial / _SHAPES).write_text(json.dumps(_shapes(arrays)))
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock `path`, which the kernel frees if this process dies; goes on unlocked where that is impossible."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("a"))
            _wait_for(file)
        except OSError as error:
            logger.warning("%s cannot be locked (%s): others may decode the same", path, error)
        yield


def _wait_for(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("waiting for another process to decode %s", Path(file.name).stem)
        fcntl.flock(file, fcntl.LOCK_EX)
