"""The HTTP API: reads the store, and writes studies and requests into it."""

from __future__ import annotations

from service.api.app import create_app

__all__ = ["create_app"]
