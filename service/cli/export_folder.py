"""The folder of an export: what we have written there is listed in it, and all else is the user's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import InputError

MANIFEST = ".greenshift-export.json"
_KEY = "greenshift_export"
_STAGE = ".greenshift-export-"


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
        # Kind -> paths below the folder.
        self._files = known or {}

    @contextmanager
    def writing(self, kind: str) -> Iterator[Path]:
        """An empty folder within the folder; what is in it at the end becomes the export.

        Nothing changes where that ends with an error.

        Args:
            kind: of the export.

        Raises:
            InputError: the folder cannot be written, or a file of the user is in the way.
        """
        is_new = not self._out.exists()
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_STAGE, dir=self._out) as name:
                stage = Path(name)
                yield stage
                self._take(stage, kind)
        except OSError as error:
            raise InputError(f"out: {self._out} is no folder that can be written: {error.strerror or error}") from error
        finally:
            if is_new:
                with suppress(OSError):
                    self._out.rmdir()  # where nothing came of it

    def _take(self, stage: Path, kind: str) -> None:
        """Moves the files of `stage` to where they belong, and removes what was written earlier and is no more."""
        files = sorted(str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_symlink() or path.is_file())
        ours = set().union(*self._files.values())
        foreign = [file for file in files if file not in ours and os.path.lexists(self._out / file)]
        if foreign and not self._force:
            raise InputError(f"out: {self._out / foreign[0]} is there and not of an earlier export; {_INSTEAD}")
        earlier = self._files.get(kind, [])
        # First what will be ours, so that an export that is broken off here is known by the next one.
        self._list(stage, {**self._files, kind: sorted({*earlier, *files})})
        for file in files:
            (self._out / file).parent.mkdir(parents=True, exist_ok=True)
            (stage / file).replace(self._out / file)
        self._files[kind] = files
        self._remove(set(earlier).difference(*self._files.values()))
        self._list(stage, self._files)

    def _remove(self, files: Iterable[str]) -> None:
        for file in files:
            path = self._out / file
            with suppress(OSError):
                path.unlink()  # unless the user has put something else there
            for folder in path.relative_to(self._out).parents[:-1]:
                with suppress(OSError):
                    (self._out / folder).rmdir()  # where nothing of the user is left in it

    def _list(self, stage: Path, files: dict[str, list[str]]) -> None:
        text = json.dumps({_KEY: 1, "files": files}, indent=2)
        (stage / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
        (stage / MANIFEST).replace(self._out / MANIFEST)


_INSTEAD = "name another folder, or say --force to replace what is in the way"


def _is_filled(out: Path) -> bool:
    """Whether anything is there but what an export that was killed has left; a file is no folder, which shows later."""
    return out.is_dir() and any(not path.name.startswith(_STAGE) for path in out.iterdir())


def _listed(out: Path) -> dict[str, list[str]] | None:
    """What earlier exports wrote there, by kind; None where there is none that we know of."""
    try:
        document = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        if document[_KEY] != 1:
            return None
        return {str(kind): [file for file in map(str, files) if _is_within(out, file)]
                for kind, files in document["files"].items()}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_within(out: Path, file: str) -> bool:
    """Nothing outside of the folder is ever removed, whatever a list says and wherever links lead."""
    return ".." not in Path(file).parts and (out / file).parent.resolve().is_relative_to(out.resolve())
