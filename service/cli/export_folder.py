"""The folder of an export: what we have written there is listed in it, and all else is the user's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import InputError

MANIFEST = ".greenshift-export.json"
_KEY = "greenshift_export"
_STAGE = ".greenshift-export-"
# What an export that was killed has left goes when no other one can be at it any more.
_STALE_SECONDS = 86_400
# Files below the folder, each with the digests of what we wrote there: what has changed since is the user's.
_Files = dict[str, list[str]]


class ExportFolder:
    """A folder that exports of several kinds may share; an export takes the place of the earlier one of its kind.

    Args:
        out: the folder, which may be missing.
        force: files of the user that are in the way are replaced.

    Raises:
        InputError: it holds something, and no earlier export.
    """

    def __init__(self, out: Path, *, force: bool = False) -> None:
        self._out, self._force = out, force
        known = _listed(out)
        if known is None and not force and _is_filled(out):
            raise InputError(f"out: {out} holds files that are not of an earlier export; {_INSTEAD}")
        # By kind.
        self._files = known or {}

    @contextmanager
    def writing(self, kind: str) -> Iterator[Path]:
        """An empty folder within the folder; what is in it at the end becomes the export.

        Nothing changes where that ends with an error.

        Args:
            kind: of the export.

        Raises:
            InputError: the folder cannot be written, a file cannot be read, or something of the user is in the way.
        """
        is_new = not self._out.exists()
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with tempfile.TemporaryDirectory(prefix=_STAGE, dir=self._out) as name:
                stage = Path(name)
                yield stage
                self._take(stage, kind)
        except OSError as error:
            raise InputError(_said(self._out, error)) from error
        finally:
            if is_new:
                with suppress(OSError):
                    self._out.rmdir()  # where nothing came of it

    def _sweep(self) -> None:
        for stage in self._out.glob(f"{_STAGE}*"):
            if stage.is_dir() and time.time() - stage.lstat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(stage, ignore_errors=True)

    def _take(self, stage: Path, kind: str) -> None:
        """Moves the files of `stage` to where they belong, and removes what was written earlier and is no more."""
        files = sorted(str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_symlink() or path.is_file())
        new = {file: [_digest(stage / file)] for file in files}
        in_the_way = self._in_the_way(files)
        earlier = self._files.get(kind, {})
        # First what will be ours, so that an export that is broken off here is known by the next one.
        self._list(stage, {**self._files, kind: {f: earlier.get(f, []) + new.get(f, []) for f in {**earlier, **new}}})
        for path in in_the_way:
            path.unlink()
        for file in files:
            (self._out / file).parent.mkdir(parents=True, exist_ok=True)
            (stage / file).replace(self._out / file)
        gone = set(earlier).difference(new, *(files for name, files in self._files.items() if name != kind))
        for file in sorted(gone):
            self._remove(file)
        self._files[kind] = new
        self._list(stage, self._files)

    def _in_the_way(self, files: list[str]) -> list[Path]:
        """Files in the place of folders, which are to go; all else that is in the way is replaced or an error."""
        blocked = {self._out / folder for file in files for folder in Path(file).parents[:-1]}
        blocked = {path for path in blocked if os.path.lexists(path) and not path.is_dir()}
        for path in [*sorted(blocked), *(self._out / file for file in files)]:
            if path.is_dir() and not path.is_symlink():
                raise InputError(f"out: {path} is a folder, where a file of the export belongs; name another folder")
            is_foreign = os.path.lexists(path) and not self._is_ours(str(path.relative_to(self._out)))
            if is_foreign and not self._force and not blocked.intersection(path.parents):
                raise InputError(f"out: {path} is there and not of an earlier export, or was changed since; {_INSTEAD}")
        return sorted(blocked)

    def _is_ours(self, file: str) -> bool:
        path, written = self._out / file, {d for files in self._files.values() for d in files.get(file, [])}
        return bool(written) and path.is_file() and not path.is_symlink() and _digest(path) in written

    def _remove(self, file: str) -> None:
        """And its folders, where nothing of the user is left in them."""
        if self._is_ours(file):
            (self._out / file).unlink()
        for folder in Path(file).parents[:-1]:
            with suppress(OSError):
                (self._out / folder).rmdir()

    def _list(self, stage: Path, files: dict[str, _Files]) -> None:
        text = json.dumps({_KEY: 1, "files": files}, indent=2)
        (stage / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
        (stage / MANIFEST).replace(self._out / MANIFEST)


_INSTEAD = "name another folder, or say --force to replace what is in the way"


def _is_filled(out: Path) -> bool:
    """Whether anything is there but what an export that was killed has left; a file is no folder, which shows later."""
    return out.is_dir() and any(not path.name.startswith(_STAGE) for path in out.iterdir())


def _said(out: Path, error: OSError) -> str:
    name, why = error.filename, error.strerror or error
    if name is None or Path(name).is_relative_to(out) or out.is_relative_to(name):
        return f"out: {out} is no folder that can be written: {why}"
    return f"{name}: {why}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(out: Path) -> dict[str, _Files] | None:
    """What earlier exports wrote there, by kind; None where there is none that we know of."""
    try:
        document = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        if document[_KEY] != 1:
            return None
        return {
            str(kind): {file: list(map(str, digests)) for file, digests in files.items() if _is_within(out, file)}
            for kind, files in document["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_within(out: Path, file: str) -> bool:
    """Nothing outside of the folder is ever removed, whatever a list says and wherever links lead."""
    return ".." not in Path(file).parts and (out / file).parent.resolve().is_relative_to(out.resolve())
