"""The command line: `greenshift`."""

from __future__ import annotations

from service.cli.app import main

__all__ = ["main"]
