"""How a Dask scheduler is reached: its address, the certificates where it speaks TLS, and what is too dangerous."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from service.errors import InputError, RefusedError

Role = Literal["scheduler", "worker", "client"]


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of one party, in a folder that `greenshift certs` made."""

    folder: Path
    role: Role

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.role}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.role}.key"

    def context(self) -> ssl.SSLContext:
        """That of one who connects: it asks who signed the other's certificate, and not for a name."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.check_hostname = False
        context.load_cert_chain(self.certificate, self.key)
        return context

    def check(self) -> None:
        """Loads them.

        Raises:
            InputError: one is missing, cannot be read, or they do not fit together.
        """
        for path in (self.ca, self.certificate, self.key):
            if not path.is_file():
                raise InputError(f"tls: {path} does not exist; `greenshift certs DIR` makes such a folder")
        try:
            self.context()
        except OSError as error:  # an SSLError is one
            said = error.strerror or str(error)
            raise InputError(f"tls: {self.certificate} and {self.key.name} cannot be used: {said}") from error


@dataclass(frozen=True)
class Access:
    """A scheduler, and the right to talk to it.

    Whoever reaches a scheduler can run code on it and on all of its workers, hence TLS between machines.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT`.
        tls: folder of certificates; tls:// needs one, and tcp:// must have none.
        insecure: plain tcp:// may be spoken to another machine, because everybody who can reach it is trusted.

    Raises:
        InputError: an address that is none, or TLS without certificates and the other way round.
        RefusedError: plain tcp:// to another machine.
    """

    address: str
    tls: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        scheme, host, _ = _parse(self.address)
        if scheme == "tls" and self.tls is None:
            raise InputError(f"tls: {self.address} needs --tls DIR or GREENSHIFT_TLS; `greenshift certs DIR` makes one")
        if scheme == "tcp" and self.tls is not None:
            raise InputError(f"scheduler must be tls://HOST:PORT with certificates ({self.tls}), got {self.address!r}")
        if scheme == "tcp" and not self.insecure and not _is_loopback(host):
            raise RefusedError(
                f"scheduler: whoever reaches {self.address} can run code as you; use `greenshift certs` and tls://, "
                "or say --insecure where you trust everybody on this network"
            )

    @property
    def host(self) -> str:
        """Name or address of the scheduler's machine."""
        return _parse(self.address)[1]

    @property
    def port(self) -> int:
        return _parse(self.address)[2]

    def files(self, role: Role) -> TlsFiles | None:
        """The certificates of `role`; None without TLS.

        Raises:
            InputError: the folder does not have them.
        """
        if self.tls is None:
            return None
        files = TlsFiles(self.tls.resolve(), role)
        files.check()
        return files


def _parse(address: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(address)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # a UnicodeError is one
        parts, port = urlsplit(""), None
    has_more = parts.path or parts.query or parts.fragment or parts.username is not None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not port or has_more:
        raise InputError(f"scheduler must be tcp://HOST:PORT or tls://HOST:PORT, got {address!r}")
    return parts.scheme, parts.hostname, port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
