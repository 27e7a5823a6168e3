"""HTTPS for a phone on the same network: an authority of the demo's own, and a certificate for this machine's address.

A browser lets a page seal, remember and share places only over HTTPS, and no public authority certifies an address at
home. So the demo makes an authority once, which a phone has to be told to trust. It can vouch for nothing but addresses and
names of networks at home (RFC 5280, section 4.2.1.10): whoever gets its key must not read what that phone says to its bank.

<data>/lan/
    authority.pem       what a phone is told to trust
    authority.key       its key, for the owner's eyes
    server.pem, server.key
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leeside.errors import LeesideError
from leeside.keystore import replace_file

ANYWHERE: Final = "0.0.0.0"  # noqa: S104 - the point is that others on the network can reach it
AUTHORITY_DAYS: Final = 365
SERVER_DAYS: Final = 90
_AT_HOME: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
)
_HOME_NAMES: Final = ("local", "localhost")
_SOMEWHERE: Final = ("192.0.2.1", 9)
"""An address of RFC 5737, to which nothing is sent: the system is asked only which way it would go."""


class NoNetwork(LeesideError):
    """This machine has no address that another could reach; the text says so."""


@dataclass(frozen=True, slots=True)
class Lan:
    """How this machine is reached from the same network. `names` can be written in place of the address."""

    address: str
    names: tuple[str, ...]
    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def fingerprint(self) -> str:
        """The authority's certificate by its SHA-256, as phones show it."""
        made = x509.load_pem_x509_certificate(self.authority.read_bytes())
        return made.fingerprint(hashes.SHA256()).hex(":").upper()


def own_address() -> str:
    """This machine's address on its network. Raises `NoNetwork`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            raise NoNetwork("This machine is on no network. Without --lan the demo needs none.") from None
        return str(probe.getsockname()[0])


def prepared(root: Path, address: str) -> Lan:
    """The authority, made once, and a new certificate for this address and this machine's name."""
    host = socket.gethostname().partition(".")[0].lower()
    lan = Lan(address, (f"{host}.local",) if host and host != "localhost" else (), root / "lan")
    lan.folder.mkdir(mode=0o700, exist_ok=True)
    authority, authority_key = _authority(lan, ipaddress.IPv4Address(address))
    key = ec.generate_private_key(ec.SECP256R1())
    addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys((address, "127.0.0.1"))]
    names = [x509.DNSName(name) for name in ("localhost", *lan.names)]
    certificate = (
        _builder(x509.Name([]), authority.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([*addresses, *names]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    _keep_key(lan.key, key)
    replace_file(lan.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return lan


def _authority(
    lan: Lan, address: ipaddress.IPv4Address
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = lan.folder / "authority.key"
    if path.exists() and lan.authority.exists():
        kept = serialization.load_pem_private_key(path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(lan.authority.read_bytes())
        if (
            isinstance(kept, ec.EllipticCurvePrivateKey)
            and certificate.not_valid_after_utc > _now()
            and _may_vouch(certificate, address)
        ):
            return certificate, kept
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Leeside demo on this machine")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(_permitted(address), None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _keep_key(path, key)
    replace_file(lan.authority, made.public_bytes(serialization.Encoding.PEM))
    return made, key


def _permitted(address: ipaddress.IPv4Address) -> list[x509.GeneralName]:
    """What the authority may vouch for; a machine with an address of its own is one more."""
    own = [] if any(address in network for network in _AT_HOME) else [ipaddress.ip_network(address)]
    return [
        *(x509.IPAddress(network) for network in (*_AT_HOME, *own)),
        *(x509.DNSName(name) for name in _HOME_NAMES),
    ]


def _may_vouch(authority: x509.Certificate, address: ipaddress.IPv4Address) -> bool:
    """Whether this authority is one that is bound, and this address within its bounds."""
    try:
        bounds = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    return set(_permitted(address)) <= set(bounds.permitted_subtrees or ())


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    start = _now() - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
    )


def _keep_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(pem)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
