"""A distribution with entry points, installed in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, code: str, entry_points: str) -> None:
    """Puts `module` with `code` and the text of entry_points.txt where Python finds them."""
    write(folder, module, code, entry_points)
    monkeypatch.syspath_prepend(str(folder))


def write(folder: Path, module: str, code: str, entry_points: str) -> None:
    """Makes `folder` one that brings `module` to whoever has it on the module path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
