"""The command line: `greenshift`."""

from __future__ import annotations

import sys

# Loading takes a moment, in which a person may change their mind.
try:
    from service.cli.app import main
except KeyboardInterrupt:
    sys.exit(130)

__all__ = ["main"]
