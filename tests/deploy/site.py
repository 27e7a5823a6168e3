"""Two nodes behind a real nginx, as deploy/README.md puts them up: the shipped files, with other addresses.

    with site(folder, postgres, redis) as place:
        place.url                       # https://localhost:…, through nginx
        place.nodes[0].url              # past it
        await place.reload()

The nodes are named by their variables, as in deploy/compose/cluster.yaml. Of nginx.conf ports, paths, nodes and the patience
with old workers are replaced; everything else is the file that is shipped.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

from deploy.devtool.place import ROOT
from tests.faults.node import Node, NodeFailed, NodeSettings
from tests.support.patience import PATIENCE_S
from tests.support.services import HOST, free_port

PROXY_CONF: Final = ROOT / "deploy/proxy/nginx.conf"
NAME: Final = "localhost"
START_S: Final = PATIENCE_S
POLL_S: Final = 0.02
ENROLMENTS: Final = 6
"""Codes that one source address may try on these nodes before it has to wait."""
_PLACEHOLDER: Final = re.compile(r"<[^>\n]+>")


class ProxyFailed(RuntimeError):
    """nginx did not start, reload or stop; the text holds what it wrote."""


@dataclass(slots=True)
class BehindProxy(Node):
    """A node that trusts the proxy, and is strict with enrolment codes."""

    def start_settings(self) -> dict[str, str]:
        """Its variables, by the names that deploy/compose/cluster.yaml uses."""
        return {
            "LEESIDE_HOST": HOST,
            "LEESIDE_PORT": str(self.port),
            "LEESIDE_TRUSTED_PROXIES": HOST,
            "LEESIDE_DATA_DIR": str(self.data),
            "LEESIDE_STORE": "postgres",
            "LEESIDE_DSN_FILE": str(self.folder / "postgres-dsn"),
            "LEESIDE_BUS": "redis",
            "LEESIDE_REDIS_URL_FILE": str(self.folder / "redis-url"),
        }

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, value in (("postgres-dsn", self.settings.dsn), ("redis-url", self.settings.redis_url)):
            (self.folder / name).write_text(value)
            (self.folder / name).chmod(0o600)
        config = self.folder / "leeside.toml"
        config.write_text(
            "[server]\ndrain_s = 5.0\n"
            f"[limits]\nenrolments_per_source = {{ per_s = 0.001, burst = {ENROLMENTS} }}\n"
        )
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LEESIDE_")}
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("leeside-server")), "serve", "--config", str(config)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | self.start_settings(),
                start_new_session=True,
            )


def proxy_configuration(folder: Path, port: int, nodes: tuple[Node, ...], patience_s: int) -> str:
    """The shipped nginx.conf, at home in `folder`."""
    text = PROXY_CONF.read_text()
    for old, new in (
        ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid;"),
        ("error_log /var/log/nginx/error.log warn;", f"error_log {folder}/error.log warn;"),
        ("worker_shutdown_timeout 60s;", f"worker_shutdown_timeout {patience_s}s;"),
        ("worker_processes auto;", "worker_processes 2;\nuser " + _user() + ";"),
        ("worker_rlimit_nofile 65536;", "worker_rlimit_nofile 4096;"),
        ("worker_connections 32768;", "worker_connections 1024;"),
        ("listen 443 ssl;", f"listen {HOST}:{port} ssl;"),
        ("listen 80;", f"listen {HOST}:{free_port()};"),
        ("</etc/letsencrypt/live/relay.example.org/fullchain.pem>", f"{folder}/server.pem"),
        ("</etc/letsencrypt/live/relay.example.org/privkey.pem>", f"{folder}/server.key"),
        ("<relay.example.org>", NAME),
        ("<10.0.0.11>:8470", f"{HOST}:{nodes[0].port}"),
        ("<10.0.0.12>:8470", f"{HOST}:{nodes[1].port}"),
    ):
        assert text.count(old) == 1, f"the shipped nginx.conf has no line {old}, or several"
        text = text.replace(old, new)
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    left = [found for found in _PLACEHOLDER.findall(re.sub(r"#.*", "", text)) if found]
    assert left == [], f"what an operator is to change is not replaced here: {left}"
    # Folders for bodies, which nginx makes at its start and this file never lets it use.
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return text.replace("http {\n", "http {\n" + temporary, 1)


def _user() -> str:
    return "root" if os.geteuid() == 0 else "nobody"


@dataclass(slots=True)
class Proxy:
    """nginx, running."""

    program: Path
    folder: Path
    port: int
    authority: trustme.CA = field(default_factory=trustme.CA)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The authority that its certificate comes from."""
        return self.folder / "ca.pem"

    @property
    def log(self) -> str:
        path = self.folder / "error.log"
        return path.read_text() if path.exists() else ""

    def prepare(self, nodes: tuple[Node, ...], patience_s: int) -> Path:
        """Certificate and configuration; returns the latter's path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate = self.authority.issue_cert(NAME)
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.folder / "server.pem").write_bytes(chain)
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        path = self.folder / "nginx.conf"
        path.write_text(proxy_configuration(self.folder, self.port, nodes, patience_s))
        return path

    async def start(self, configuration: Path) -> None:
        """Check the configuration, start, and wait until it listens. Raises `ProxyFailed`."""
        arguments = [str(self.program), "-c", str(configuration), "-p", str(self.folder)]
        checked = await asyncio.to_thread(
            subprocess.run, [*arguments, "-t"], capture_output=True, text=True, check=False
        )
        if checked.returncode or "[warn]" in checked.stderr:
            raise ProxyFailed(checked.stderr)
        self._running = self._spawn([*arguments, "-g", "daemon off;"])
        deadline_s = time.monotonic() + START_S
        while not await self._listens():
            if self._running.poll() is not None or time.monotonic() > deadline_s:
                raise ProxyFailed(self.log + (self.folder / "out.log").read_text())
            await asyncio.sleep(POLL_S)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "out.log").open("ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        return True

    def workers(self) -> frozenset[int]:
        """The process ids of its workers, old ones included."""
        assert self._running is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._running.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return frozenset(int(word) for word in listed.stdout.split())

    def reload(self) -> None:
        """Read the configuration anew: new workers, and the old ones end once their sockets have."""
        assert self._running is not None
        self._running.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """End at once."""
        running, self._running = self._running, None
        if running is None:
            return
        running.terminate()
        await asyncio.to_thread(running.wait, START_S)


@dataclass(frozen=True, slots=True)
class Site:
    """The whole place."""

    nodes: tuple[BehindProxy, BehindProxy]
    proxy: Proxy

    @property
    def url(self) -> str:
        return self.proxy.url


async def start_on_a_free_port(node: BehindProxy) -> None:
    """Start; on another port when somebody else took the first one meanwhile. Raises `NodeFailed`."""
    try:
        await node.start()
    except NodeFailed as failure:
        if "cannot be listened on" not in str(failure):
            raise
        node.port = free_port()
        await node.start()


@asynccontextmanager
async def site(
    folder: Path, program: Path, dsn: str, redis_url: str, *, patience_s: int = 1
) -> AsyncGenerator[Site]:
    """Two nodes with one data folder, behind nginx. `patience_s`: how long nginx keeps old workers."""
    settings = NodeSettings(dsn, redis_url)
    nodes = (
        BehindProxy(folder / "node1", folder / "data", settings),
        BehindProxy(folder / "node2", folder / "data", settings),
    )
    proxy = Proxy(program, folder / "nginx", free_port())
    try:
        for node in nodes:
            await start_on_a_free_port(node)
        await proxy.start(proxy.prepare(nodes, patience_s))
        yield Site(nodes, proxy)
    finally:
        await proxy.stop()
        for node in nodes:
            await node.kill()
