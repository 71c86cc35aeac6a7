"""An authority for development, and what it signs for a server and a client."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError, UsageError


def write(folder: Path, names: Sequence[str], days: int) -> list[Path]:
    """Writes ca.pem and the .pem and .key of server and client; the authority's key is not kept.

    Args:
        folder: a new or empty folder.
        names: by which clients call the server: of hosts, or addresses.
        days: for which they are good.

    Raises:
        UsageError: the folder holds something, or `cryptography` is not installed.
        CheckpointError: it cannot be written.
    """
    if find_spec("cryptography") is None:
        raise UsageError(
            "making certificates needs cryptography; install jfl's extra `split`, as in "
            "JFL_EXTRAS=split"
        )
    if not 1 <= days <= 3650:
        raise UsageError(f"--days {days}: give 1 to 3650")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; give a new folder")
    made = _made(names, days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in made.items():
            path = folder / name
            path.touch(mode=0o600 if name.endswith(".key") else 0o644)
            path.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [folder / name for name in made]


def _made(names: Sequence[str], days: int) -> dict[str, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ("ca", "server", "client")}
    signed = {who: _signed(who, keys[who], keys["ca"], names, days) for who in keys}
    pem = serialization.Encoding.PEM
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files = {f"{who}.pem": certificate.public_bytes(pem) for who, certificate in signed.items()}
    own = {f"{who}.key": keys[who].private_bytes(pem, form, none) for who in ("server", "client")}
    return files | own


def _signed(who: str, key: Any, by: Any, names: Sequence[str], days: int) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(word: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"jfl {word}")])

    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name(who))
        .issuer_name(name("ca"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=who == "ca", path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if who != "ca":
        use = ExtendedKeyUsageOID
        usage = use.SERVER_AUTH if who == "server" else use.CLIENT_AUTH
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if who == "server":
        known = [_host(word) for word in names]
        made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
    return made.sign(by, hashes.SHA256())


def _host(word: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(word))
    except ValueError:
        return x509.DNSName(word)
