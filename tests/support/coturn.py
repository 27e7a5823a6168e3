"""A real coturn with deploy/turn/turnserver.conf as it is shipped, at home on the loopback.

    with coturn_running() as turn:
        turn.address, turn.tls_address      # where clients reach it: ("192.0.2.…", 3478)
        turn.bridge, turn.bridge6           # the two addresses that it may speak to
        turn.credential("a device")         # (username, credential) as a node gives them out

What is replaced: addresses, certificate, realm and secret, that is, what stands between < and > in the file; the port 443
where only root may listen on it; and what the caller names, such as a small quota. The addresses are documentation
addresses on `lo`: coturn speaks to no loopback peer, and that is one of the things to test.
"""

import base64
import contextlib
import hmac
import os
import re
import secrets
import shutil
import signal
import ssl
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from deploy.devtool.place import ROOT
from deploy.devtool.services import COTURN
from tests.support.loopback import own_addresses
from tests.support.services import ServerProcess, free_port, program_path
from tests.support.turn_client import Address, NoAnswer, Refused, TurnClient

CONFIGURATION: Final = ROOT / "deploy/turn/turnserver.conf"
NAME: Final = "turn.example.org"
SECRET: Final = "of-the-tests, at least 32 characters of it"
LIFETIME_S: Final = 600
PORT: Final = 3478
_PLACEHOLDER: Final = re.compile(r"^[^#]*<[^>\n]+>", re.MULTILINE)


def credential(user: str, until_s: float, secret: str = SECRET) -> tuple[str, str]:
    """Username and credential until a time, as coturn's use-auth-secret checks them."""
    username = f"{int(until_s)}:{user}"
    tag = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(tag).decode()


@dataclass(frozen=True, slots=True)
class Coturn:
    """coturn, running. `bridge`: the only addresses that it relays to."""

    process: ServerProcess
    authority: trustme.CA
    host: str
    host6: str
    bridge: str
    bridge6: str
    tls_port: int
    secret: str = SECRET

    @property
    def address(self) -> Address:
        return self.host, PORT

    @property
    def address6(self) -> Address:
        return self.host6, PORT

    @property
    def tls_address(self) -> Address:
        return self.host, self.tls_port

    @property
    def ca_file(self) -> Path:
        """The authority that its certificate comes from."""
        return self.process.folder / "ca.pem"

    @property
    def urls(self) -> tuple[str, ...]:
        """As a client is told them."""
        return (f"turn:{self.host}:{PORT}?transport=udp", f"turns:{self.host}:{self.tls_port}?transport=tcp")

    @property
    def log(self) -> str:
        return self.process.log.read_text()

    def credential(self, user: str = "") -> tuple[str, str]:
        """Username and credential that hold now; somebody new, if nobody is named."""
        return credential(user or secrets.token_hex(8), time.time() + LIFETIME_S, self.secret)

    def client(self, user: str = "", family: int = 4) -> TurnClient:
        """A client over UDP that may come in. An allocation that was given back counts for a second more."""
        return TurnClient(self.address, *self.credential(user), family=family)

    def tls_client(self, user: str = "") -> TurnClient:
        """A client over TLS that may come in."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return TurnClient(self.tls_address, *self.credential(user), tls=context, tls_name=NAME)

    def memory_bytes(self) -> int:
        """What it holds in memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def answers(self) -> bool:
        """Whether it speaks TURN: who shows no credential is told to."""
        with TurnClient(self.address, "", "") as client:
            try:
                client.allocate()
            except Refused as refusal:
                return refusal.code == 401
            except NoAnswer:
                return False
        return False


def configuration(
    folder: Path, addresses: tuple[str, str, str, str], tls_port: int, changes: Mapping[str, str]
) -> str:
    """The shipped file, at home in `folder`. `addresses`: of the server and of the bridge, each IPv4 and IPv6."""
    host, host6, bridge, bridge6 = addresses
    text = CONFIGURATION.read_text()
    for old, new, times in (
        ("<203.0.113.30>", host, 2),
        ("<2001:db8:30::1>", host6, 2),
        ("<203.0.113.20>", bridge, 1),
        ("<2001:db8:20::1>", bridge6, 1),
        ("</etc/coturn/tls/fullchain.pem>", f"{folder}/server.pem", 1),
        ("</etc/coturn/tls/privkey.pem>", f"{folder}/server.key", 1),
        ("<the-secret>", SECRET, 1),
        ("<relay.example.org>", NAME, 1),
        ("tls-listening-port=443", f"tls-listening-port={tls_port}", 1),
        ("/run/turnserver/", f"{folder}/", 1),
    ):
        assert text.count(old) == times, (
            f"the shipped turnserver.conf has {old} another number of times than {times}"
        )
        text = text.replace(old, new)
    for name, value in changes.items():
        text, found = re.subn(rf"^{re.escape(name)}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert found == 1, f"the shipped turnserver.conf has no line {name}=, or several"
    left = _PLACEHOLDER.findall(text)
    assert left == [], f"what an operator is to change is not replaced here: {left}"
    return text


@contextlib.contextmanager
def coturn_running(changes: Mapping[str, str] | None = None) -> Generator[Coturn]:
    """A coturn for as long as the block runs, with these settings changed. Raises `ServerFailed`, `NoAddress`."""
    program = program_path(COTURN)
    with own_addresses(4, 6, 4, 6) as (host, host6, bridge, bridge6):
        folder = Path(tempfile.mkdtemp(prefix="leeside-coturn-"))
        authority = trustme.CA()
        certificate = authority.issue_cert(NAME, host)
        certificate.private_key_pem.write_to_path(str(folder / "server.key"))
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        # The address is ours alone, and so is every port of it.
        tls_port = 443 if os.geteuid() == 0 else free_port()
        path = folder / "turnserver.conf"
        path.write_text(configuration(folder, (host, host6, bridge, bridge6), tls_port, changes or {}))
        command: list[str | Path] = [program, "-c", path, f"--pidfile={folder}/pid"]
        server = Coturn(ServerProcess(command, folder), authority, host, host6, bridge, bridge6, tls_port)
        try:
            server.process.start_until(server.answers)
            yield server
        finally:
            server.process.end(signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
