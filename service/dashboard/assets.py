"""Files of the pages, compressed once, under a path that changes with what they hold."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from service.dashboard.bundle import bundled

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is sent.

    Attributes:
        media_type: with its character set.
        etag: of its content, in quotes.
    """

    media_type: str
    content: bytes

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'

    @cached_property
    def compressed(self) -> bytes:
        """In the form of gzip."""
        return gzip.compress(self.content, mtime=0)


class Assets:
    """All files by name, such as `style.css`; each page `study.html` has its script `study.js`, made of those in `js/`.

    Attributes:
        version: changes with the content of any file, so that each may be kept for ever under a path that has it.
    """

    def __init__(self) -> None:
        folder = files("service.dashboard")
        self._files = dict(_read(folder / "static", "")) | dict(_read(folder / "vendor", "vendor/"))
        self._files |= dict(self._scripts())
        contents = b"".join(name.encode() + asset.content for name, asset in sorted(self._files.items()))
        self.version = hashlib.sha256(contents).hexdigest()[:12]

    def find(self, name: str) -> Asset | None:
        """The file of a name that is no page, or None."""
        return None if name.endswith(".html") else self._files.get(name)

    def page(self, name: str) -> str:
        """The text of a page."""
        return self._files[f"{name}.html"].content.decode()

    def _scripts(self) -> Iterator[tuple[str, Asset]]:
        texts = {name: asset.content.decode() for name, asset in self._files.items() if name.startswith("js/")}
        modules = {name.removeprefix("js/").removesuffix(".js"): text for name, text in texts.items()}
        for page in [name.removesuffix(".html") for name in self._files if name.endswith(".html")]:
            yield f"{page}.js", Asset(_TYPES[".js"], bundled(modules, page).encode())


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif suffix in _TYPES:
            yield prefix + entry.name, Asset(_TYPES[suffix], entry.read_bytes())
