"""The truth about studies: an append-only event log and its projections."""

from __future__ import annotations

from service.store.alone import alone
from service.store.following import trials_after
from service.store.log import Event, Request, RequestKind
from service.store.reader import Page, Reader, Snapshot
from service.store.store import Store
from service.store.tokens import Token, Tokens
from service.store.workers import Roster, Workers, WorkerStatus

__all__ = [
    "Event",
    "Page",
    "Reader",
    "Request",
    "RequestKind",
    "Roster",
    "Snapshot",
    "Store",
    "Token",
    "Tokens",
    "WorkerStatus",
    "Workers",
    "alone",
    "trials_after",
]
