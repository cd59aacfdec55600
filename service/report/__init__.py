"""What a study leaves behind for people and for other programs: tables, a picture, a page."""

from __future__ import annotations

from service.report.files import write_files

__all__ = ["write_files"]
