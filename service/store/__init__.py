"""The truth about studies: an append-only event log and its projections."""

from __future__ import annotations

from service.store.store import Event, Store

__all__ = ["Event", "Store"]
