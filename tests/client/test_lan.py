"""The demo's authority, which phones are told to trust: what its certificates are good for, and that it is for no more."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from leeside.demo.lan import Lan, prepared


def accepted(lan: Lan, certificate: Path, key: Path, name: str) -> bool:
    """Whether who trusts the authority alone connects to this name, as a browser would."""
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(certificate, key)
    there = ssl.create_default_context(cafile=str(lan.authority))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with here.wrap_socket(ours, server_side=True) as spoken:
                spoken.recv(1)
        except OSError:
            pass

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with there.wrap_socket(theirs, server_hostname=name):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        theirs.close()
        serving.join()


def signed(lan: Lan, folder: Path, name: x509.GeneralName) -> tuple[Path, Path]:
    """What somebody who has the authority's key makes of it."""
    authority = x509.load_pem_x509_certificate(lan.authority.read_bytes())
    signer = serialization.load_pem_private_key((lan.folder / "authority.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    certificate, kept = folder / "made.pem", folder / "made.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kept.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, kept


@pytest.mark.parametrize("address", ["192.168.1.20", "10.1.2.3", "203.0.113.7"])
def test_this_machine_is_known_by_its_address_and_its_names(tmp_path: Path, address: str) -> None:
    lan = prepared(tmp_path, address)
    for name in (address, "127.0.0.1", "localhost", *lan.names):
        assert accepted(lan, lan.certificate, lan.key, name)
    assert not accepted(lan, lan.certificate, lan.key, "192.168.1.21")


@pytest.mark.parametrize("name", ["bank.example", "localhost.example", "93.184.216.34", "203.0.113.8"])
def test_its_key_vouches_for_nothing_of_the_internet(tmp_path: Path, name: str) -> None:
    """A phone trusts the authority until somebody remembers to remove it; its key lies in a folder."""
    lan = prepared(tmp_path, "203.0.113.7")
    try:
        general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        general = x509.DNSName(name)
    assert not accepted(lan, *signed(lan, tmp_path, general), name)


def test_phones_trust_it_as_long_as_the_network_is_one_at_home(tmp_path: Path) -> None:
    first = prepared(tmp_path, "192.168.1.20").authority.read_bytes()
    assert prepared(tmp_path, "10.0.0.9").authority.read_bytes() == first
    assert prepared(tmp_path, "203.0.113.7").authority.read_bytes() != first
    shutil.rmtree(tmp_path / "lan")
    assert prepared(tmp_path, "10.0.0.9").authority.read_bytes() != first


def test_the_keys_are_for_their_owner(tmp_path: Path) -> None:
    lan = prepared(tmp_path, "192.168.1.20")
    assert lan.folder.stat().st_mode & 0o077 == 0
    for path in (lan.key, lan.folder / "authority.key"):
        assert path.stat().st_mode & 0o077 == 0
