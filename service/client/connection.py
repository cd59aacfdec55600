"""How a service is reached: its address, the token, and what its answers mean."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.errors import InputError, NotFoundError, RefusedError, ServiceError, UnreachableError

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8765"
_REFUSED = (401, 403, 409, 429)


def options(url: str | None, token: str | None, timeout: float) -> dict[str, Any]:
    """What an HTTP client of a service is made with.

    Args:
        url: of the service; None is GREENSHIFT_URL, or this machine.
        token: None is GREENSHIFT_TOKEN, or none.
        timeout: seconds without any answer.

    Raises:
        InputError: no URL, a token that no header can hold, or a GREENSHIFT_CA that holds no certificate.
    """
    token = token or os.environ.get("GREENSHIFT_TOKEN")
    if token is not None and not (token.isascii() and token.isprintable()):
        raise InputError("token: must be printable ASCII, as `greenshift token create` shows it")
    authority = os.environ.get("GREENSHIFT_CA")
    found = _url(url or os.environ.get("GREENSHIFT_URL") or DEFAULT_URL)
    return {
        "base_url": found,
        "headers": {} if token is None else {"Authorization": f"Bearer {token}"},
        "timeout": timeout,
        "verify": True if not authority else _trusting(authority),
        # No proxy leads to this machine.
        "trust_env": not _is_loopback(found.host),
    }


def _url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise InputError(f"url: must be http://HOST:PORT or https://HOST:PORT, got {text!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"url: must be http://HOST:PORT or https://HOST:PORT, got {text!r}")
    return url


def _trusting(authority: str) -> ssl.SSLContext:
    """Trusts the certificates of a PEM file, and no other authority."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise InputError(f"GREENSHIFT_CA: must be a PEM file of certificates, got {authority!r}: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unreachable(url: httpx2.URL, error: Exception) -> UnreachableError:
    """No answer came."""
    reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    # A port that goes without saying has been left out, and may be what is wrong.
    port = "" if url.port else f":{443 if url.scheme == 'https' else 80}"
    where = f"{url.scheme}://{url.netloc.decode()}{port}"
    return UnreachableError(f"no service answers at {where} ({reason}): start one with `greenshift serve`, or set "
                            "GREENSHIFT_URL")  # fmt: skip


def parsed(response: httpx2.Response, kind: type[T]) -> T:
    """What a service answered.

    Raises:
        UnreachableError: something else than a service answered.
    """
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError as error:
        raise UnreachableError(
            f"what answers at {response.request.url} is no greenshift service of this version: "
            f"{' '.join(str(error.errors()[0]['msg']).split())}"
        ) from error


def failure(response: httpx2.Response) -> ServiceError:
    """The error that an answer tells of, in the words of the service."""
    detail = _detail(response)
    if response.status_code == 404:
        return NotFoundError(detail)
    if response.status_code in _REFUSED:
        return RefusedError(detail)
    if 400 <= response.status_code < 500:
        return InputError(detail)
    return UnreachableError(f"the service answers {response.status_code}: {detail}")


def _detail(response: httpx2.Response) -> str:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, Mapping) and isinstance(document.get("detail"), str):
        return str(document["detail"])
    return f"{response.request.url} answers {response.status_code} {response.reason_phrase}"
