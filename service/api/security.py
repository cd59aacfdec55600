"""Who may use the API: holders of a token, or this machine alone; nobody too often."""

from __future__ import annotations

import ipaddress
import math
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.context import InContext

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token of `greenshift token create`; not needed where the service listens on this machine alone.",
)


def admit(
    request: Request,
    context: InContext,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> str:
    """Who makes a request: the id of their token, or their address where none is needed.

    Raises:
        HTTPException: 401 without a valid token, 403 from another site's page, 429 too often.
    """
    address = request.client.host if request.client is not None else ""
    if not context.require_token:
        _refuse_other_sites(request)
        _refuse_haste(context, address)
        return address
    token = context.tokens.check_token(credentials.credentials) if credentials is not None else None
    _refuse_haste(context, f"{address} without a token" if token is None else token.token_id)
    if token is None:
        raise HTTPException(
            401,
            "Authorization: must be `Bearer TOKEN` with a valid token; `greenshift token create` makes one",
            {"WWW-Authenticate": "Bearer"},
        )
    return token.token_id


Caller = Annotated[str, Depends(admit)]


def _refuse_other_sites(request: Request) -> None:
    """Keeps pages of other sites, in a browser on this machine, from what needs no token here."""
    host = request.headers.get("host", "")
    if not _is_loopback(f"//{host}"):
        raise HTTPException(403, f"Host: must be a name of this machine, such as 127.0.0.1, got {host[:100]!r}")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise HTTPException(403, f"Origin: must be {host}, got {origin[:100]!r}")


def _is_loopback(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refuse_haste(context: InContext, caller: str) -> None:
    wait = 0.0 if context.rates is None else context.rates.take(caller)
    if wait > 0:
        raise HTTPException(429, "too many requests: come again later", {"Retry-After": str(math.ceil(wait))})
