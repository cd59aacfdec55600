"""Readers of a stream who leave in the middle of it, which is no error of the service."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send


class LetReadersLeave:
    """Ends a stream of events quietly when its reader is gone; FastAPI fails where a message was under way then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseExceptionGroup as group:
            if group.split(anyio.BrokenResourceError)[1] is not None:
                raise
