"""Certificates for a Dask cluster: one authority, whose key nobody keeps, and one certificate for each role."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.access import Role, TlsFiles
from service.errors import InputError, RefusedError

# Scheduler and workers are called and call; a client's certificate must not let anybody pose as either.
_CALLED = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_USES = {"scheduler": _CALLED, "worker": _CALLED, "client": (ExtendedKeyUsageOID.CLIENT_AUTH,)}
# Clocks of two machines differ a little.
_SLACK = timedelta(minutes=10)


def make_certificates(folder: Path, days: int = 365) -> datetime:
    """Writes `ca.pem` and for each role a certificate and its key, and returns the time at which they expire.

    The keys, on the curve P-256, can be read by their owner only. That of the authority is not written: no further
    certificate can ever be signed, and to replace one is to replace all, as Dask knows no revocation.

    Args:
        folder: created if missing, for its owner only.
        days: that the certificates are valid, 1 or more.

    Raises:
        RefusedError: the folder holds such files; nothing is changed then.
        InputError: it cannot be written.
    """
    files = [TlsFiles(folder, role) for role in get_args(Role)]
    for path in [files[0].ca, *(path for f in files for path in (f.certificate, f.key))]:
        if path.exists():
            raise RefusedError(f"certs: {path} exists already, and a cluster may be using it; name another folder")
    start = datetime.now(UTC).replace(microsecond=0) - _SLACK
    end = start + _SLACK + timedelta(days=days)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, start, end)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(files[0].ca, authority.public_bytes(serialization.Encoding.PEM), 0o644)
        for file in files:
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(file.role, key, authority, authority_key)
            _write(file.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
            _write(file.key, _pem(key), 0o600)
    except OSError as error:
        raise InputError(f"certs: {folder} cannot be written: {error.strerror}") from error
    return end


def end_of(files: TlsFiles) -> datetime:
    """The time at which the certificate of a party expires.

    Raises:
        ValueError: it is none.
        OSError: it cannot be read.
    """
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc


def _authority(key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime) -> x509.Certificate:
    name = _name("greenshift CA")
    builder = _builder(name, name, key, start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_key_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def _certificate(
    role: Role, key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    start, end = authority.not_valid_before_utc, authority.not_valid_after_utc
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = _builder(_name(f"greenshift {role}"), authority.subject, key, start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_USES[role]), critical=False)
    return builder.add_extension(by, critical=False).sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Creates a file with its mode from the first byte on; one that has come in between is not overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
