"""What an operator can set: one frozen object, read once (`config_file.read`).

Every setting says here what it is for, what it must be, and its default; the sample file `deploy/leeside.toml`
is generated from this module and a test keeps the two equal. Settings without a unit in their name have none.
Secrets never stand in the file: settings that end in `_file` name a file that holds one.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from leeside_protocol.limits import BLOB_BYTES, MESSAGE_ID_KEPT_S
from leeside_server.core.rates import Rate

Network: TypeAlias = IPv4Network | IPv6Network

DEFAULT_PORT: Final = 8470
STATUS_PORT: Final = 8471
"""Of a bridge that stands apart: its relay may be on the same machine."""
_DAY_S: Final = 86_400


def said(text: str, *, must: str, example: str = "", **bounds: Any) -> Meta:
    """What the sample file says of a setting, what errors say that it must be, and msgspec's own bounds."""
    return Meta(description=text, extra={"must": must, "example": example}, **bounds)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class ServerSection(_Section, frozen=True, kw_only=True):
    """Where the server listens, and for whom."""

    host: Annotated[
        str,
        said(
            "Address to listen on. Anything but a loopback address needs TLS (tls_cert, tls_key), or a proxy in "
            "front that has it (trusted_proxies).",
            must="an IP address or `localhost`",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        said(
            "TCP port to listen on; 0 takes any free one and logs which.",
            must="a whole number from 0 to 65535",
            ge=0,
            le=65_535,
        ),
    ] = DEFAULT_PORT
    public_origins: Annotated[
        tuple[str, ...],
        said(
            "Origins whose pages may open a socket, such as https://relay.example.org. Native clients send none "
            "and need no entry.",
            must='a list of origins such as "https://relay.example.org"',
        ),
    ] = ()
    roles: Annotated[
        tuple[Literal["relay", "video"], ...],
        said(
            "What this process does: relay carries messages, video holds the bridge of calls. Both in one process, or each "
            "in its own with [bus] kind redis between them.",
            must='a list of "relay" and "video"',
            min_length=1,
        ),
    ] = ("relay",)
    tls_cert: Annotated[
        Path | None,
        said(
            "Certificate chain and private key, PEM. Renewed files are read at the next start.",
            must="the path of a file",
            example="/etc/leeside/tls/fullchain.pem",
        ),
    ] = None
    tls_key: Annotated[
        Path | None, said("", must="the path of a file", example="/etc/leeside/tls/privkey.pem")
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        said(
            "Networks of the proxies that end TLS in front of this server. They, and nobody else, are believed "
            "about a client's address (X-Forwarded-For). On an address that others can reach, a server without TLS "
            "answers nobody but them and this machine.",
            must='a list of addresses or networks such as "10.0.0.5" or "10.0.0.0/24"',
        ),
    ] = ()
    data_dir: Annotated[
        Path,
        said(
            "Folder for the database, attachments and the server's own keys. Relative paths, here and below, "
            "start at the folder of this file.",
            must="the path of a folder",
        ),
    ] = Path("leeside-data")
    drain_s: Annotated[
        float,
        said(
            "How long a stopping server finishes writes and lets clients move on.",
            must="a number of seconds from 0 to 300",
            ge=0,
            le=300,
        ),
    ] = 20.0

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """`trusted_proxies`, read."""
        return tuple(ip_network(text, strict=False) for text in self.trusted_proxies)

    @property
    def tls(self) -> bool:
        """True when this process speaks TLS itself."""
        return self.tls_cert is not None and self.tls_key is not None

    @property
    def loopback(self) -> bool:
        """True when only this machine can connect."""
        return self.host == "localhost" or ip_address(self.host).is_loopback


class StoreSection(_Section, frozen=True, kw_only=True):
    """Where messages are kept."""

    kind: Annotated[
        Literal["sqlite", "postgres"],
        said(
            "sqlite: one file, one process, nothing to run beside it. postgres: several nodes.",
            must='"sqlite" or "postgres"',
        ),
    ] = "sqlite"
    path: Annotated[
        Path | None,
        said(
            "The SQLite file; leeside.db in data_dir when not set. A local disk, never a network share.",
            must="the path of a file",
            example="/var/lib/leeside/leeside.db",
        ),
    ] = None
    synchronous: Annotated[
        Literal["full", "extra"],
        said(
            "When SQLite syncs: full at each commit, extra also the folder. Weaker settings lose acknowledged "
            "messages at a power cut and are refused.",
            must='"full" or "extra"',
        ),
    ] = "full"
    dsn_file: Annotated[
        Path | None,
        said(
            "A file with the address of PostgreSQL: postgresql://user:password@host/database",
            must="the path of a file",
            example="/etc/leeside/postgres-dsn",
        ),
    ] = None


class BusSection(_Section, frozen=True, kw_only=True):
    """How nodes tell each other that something is new."""

    kind: Annotated[
        Literal["memory", "redis"],
        said("memory: this is the only node. redis: there are several.", must='"memory" or "redis"'),
    ] = "memory"
    url_file: Annotated[
        Path | None,
        said(
            "A file with the address of Redis: rediss://user:password@host:6380/0 (rediss with TLS, redis without)",
            must="the path of a file",
            example="/etc/leeside/redis-url",
        ),
    ] = None
    prefix: Annotated[
        str,
        said(
            "Begins every key and topic in Redis, so that two clusters can share one.",
            must="1 to 40 letters, digits or any of - _ . :",
            pattern=r"^[A-Za-z0-9_.:-]{1,40}$",
        ),
    ] = "leeside:"


_RATE_MUST: Final = "like { per_s = 20.0, burst = 100 }, both above 0"


class LimitsSection(_Section, frozen=True, kw_only=True):
    """What one server takes on. Rates hold for each node: `per_s` in the long run, `burst` at once."""

    max_connections: Annotated[
        int,
        said(
            "Sockets open at once; more are told to come back later. Each needs a file descriptor.",
            must="a whole number from 1 to 1000000",
            ge=1,
            le=1_000_000,
        ),
    ] = 20_000
    sockets: Annotated[
        Rate,
        said(
            "New sockets of all sources together: a reconnect storm is let in at this rate. What one server can "
            "verify is some 2000 a second.",
            must=_RATE_MUST,
        ),
    ] = Rate(2_000.0, 20_000)
    sockets_per_source: Annotated[
        Rate,
        said(
            "New sockets of one source (an IPv4 address, or an IPv6 network of 64 bits), so that none shuts the "
            "others out. A whole city may come back from one address: the burst must hold it.",
            must=_RATE_MUST,
        ),
    ] = Rate(250.0, 6_000)
    requests_per_source: Annotated[
        Rate,
        said("HTTP requests of one source address; a whole agency may share one.", must=_RATE_MUST),
    ] = Rate(200.0, 2_000)
    requests_per_device: Annotated[Rate, said("HTTP requests of one device.", must=_RATE_MUST)] = Rate(
        50.0, 500
    )
    sign_ins_per_source: Annotated[
        Rate, said("Challenges, sign-ins and refreshes of one source address.", must=_RATE_MUST)
    ] = Rate(20.0, 1_000)
    enrolments_per_source: Annotated[
        Rate, said("Enrolment codes tried by one source address.", must=_RATE_MUST)
    ] = Rate(0.2, 20)
    agencies_per_source: Annotated[
        Rate, said("Agencies that one source address tries to create.", must=_RATE_MUST)
    ] = Rate(0.1, 10)
    body_deadline_s: Annotated[
        float,
        said(
            "How long the body of an HTTP request may take.",
            must="a number of seconds from 1 to 600",
            ge=1,
            le=600,
        ),
    ] = 30.0
    blob_bytes: Annotated[
        int,
        said(
            "Largest attachment, sealed.",
            must=f"a whole number of bytes from 65552 to {BLOB_BYTES}",
            ge=65_552,
            le=BLOB_BYTES,
        ),
    ] = BLOB_BYTES


class RetentionSection(_Section, frozen=True, kw_only=True):
    """How long sealed payloads are kept. 0 keeps them for good. What was pruned still counts in the order of
    its log, by its hash; the signed directory and the epochs of channels are never pruned."""

    incident_days: Annotated[
        int,
        said(
            "Days after its incident closed that a channel of it keeps messages and attachments.",
            must="a whole number of days from 0 to 36500",
            ge=0,
            le=36_500,
        ),
    ] = 0
    standing_days: Annotated[
        int,
        said(
            "Days that channels without an incident (unit, desk, agency, on-call) keep messages and attachments.",
            must="a whole number of days from 0 to 36500",
            ge=0,
            le=36_500,
        ),
    ] = 0
    inbox_days: Annotated[
        int,
        said(
            "Days that notices to a device are kept.",
            must="a whole number of days from 1 to 365",
            ge=1,
            le=365,
        ),
    ] = 30
    ids_days: Annotated[
        int,
        said(
            "Days for which the ids of replaced or deleted values are remembered, so that a late repeat stands once.",
            must=f"a whole number of days from {MESSAGE_ID_KEPT_S // _DAY_S} to 365",
            ge=MESSAGE_ID_KEPT_S // _DAY_S,
            le=365,
        ),
    ] = 30


class WebSection(_Section, frozen=True, kw_only=True):
    """The web client, which every server carries at `/`. Its page opens a socket only where [server] public_origins holds the
    origin that browsers reach it by."""

    map_file: Annotated[
        Path | None,
        said(
            "The map: one PMTiles file of the area served. An invented town when not set. Tiles come from nowhere else, "
            "because whoever serves them learns where people are.",
            must="the path of a file",
            example="/var/lib/leeside/area.pmtiles",
        ),
    ] = None


class PushSection(_Section, frozen=True, kw_only=True):
    """Telling a phone whose browser sleeps that something waits, over the push service of the browser's maker. That service
    learns when a device is told, and nothing else: what is sent says neither who nor what."""

    hosts: Annotated[
        tuple[str, ...],
        said(
            "Push services that this server connects to, `*.` for all hosts below a name. Empty: it pushes nothing, and "
            "phones that sleep stay silent.",
            must='a list of hosts such as "fcm.googleapis.com" or "*.push.apple.com"',
        ),
    ] = (
        "fcm.googleapis.com",
        "*.push.services.mozilla.com",
        "*.push.apple.com",
        "*.notify.windows.com",
    )
    contact: Annotated[
        str,
        said(
            "Where a push service reaches who runs this server: mailto:someone@example.org or an https address. The first "
            "of public_origins when not set.",
            must="an address that begins with mailto: or https://",
            pattern=r"^(mailto:[^\s@]+@[^\s@]+|https://\S+)?$",
        ),
    ] = ""


class PagingSection(_Section, frozen=True, kw_only=True):
    """Waking who is on call. A page goes over open sockets and push by itself; for text messages and calls the agency needs a
    gateway, which this server asks by a signed webhook (the operator's guide, "Text messages and calls")."""

    webhook_url: Annotated[
        str,
        said(
            "Where the gateway takes messages and calls, https and at a public address; http on this machine only. Empty: "
            "there is none, and no telephone rings.",
            must="an address that begins with https://",
            pattern=r"^(https?://\S+)?$",
        ),
    ] = ""
    webhook_secret_file: Annotated[
        Path | None,
        said(
            "A file with the secret that messages to the gateway are signed with: whsec_ and 24 to 64 random bytes in base64.",
            must="the path of a file",
            example="/etc/leeside/webhook-secret",
        ),
    ] = None
    probe_hours: Annotated[
        int,
        said(
            "Hours between two pushes that look whether a device on call still gets them. They show nothing. One that came "
            "lets a device count as reachable for 24 hours.",
            must="a whole number of hours from 1 to 23",
            ge=1,
            le=23,
        ),
    ] = 20


class VideoSection(_Section, frozen=True, kw_only=True):
    """The bridge of a consult's call: it forwards sealed packets and opens none of them. A process holds it that has the role
    video; the packages of the extra `video` must be installed there."""

    listen: Annotated[
        tuple[str, ...],
        said(
            "Addresses of this machine that media come to, IPv4 and IPv6, each by itself: clients are told exactly these, "
            "so none may stand for all. The address of this machine alone serves tests.",
            must='a list of IP addresses such as "203.0.113.20" or "2001:db8:20::1"',
            min_length=1,
            max_length=4,
        ),
    ] = ("127.0.0.1",)
    public: Annotated[
        tuple[str, ...],
        said(
            "What clients know those addresses as, in the same order, where a 1:1 NAT stands between. Empty: as they are.",
            must='a list of IP addresses such as "203.0.113.20"',
            max_length=4,
        ),
    ] = ()
    port: Annotated[
        int,
        said(
            "UDP port of the first worker; each further one takes the next. 0 takes any free ones, which no firewall knows.",
            must="a whole number from 0 to 65535",
            ge=0,
            le=65_535,
        ),
    ] = 8480
    workers: Annotated[
        int,
        said(
            "Processes that forward, each on one core and one port. 0: one for each core.",
            must="a whole number from 0 to 64",
            ge=0,
            le=64,
        ),
    ] = 0
    status_port: Annotated[
        int,
        said(
            "TCP port on which a process with the role video alone answers /healthz, /readyz and /metrics, at [server] host and by "
            "its rules; a relay has them on its own port. 0 takes any free one and logs which.",
            must="a whole number from 0 to 65535",
            ge=0,
            le=65_535,
        ),
    ] = STATUS_PORT
    elsewhere: Annotated[
        bool,
        said(
            "Another process holds the bridge: for nodes without the role video, where [bus] kind redis joins them.",
            must="true or false",
        ),
    ] = False
    phone: Annotated[
        str,
        said(
            "A telephone conference that people are shown when a call cannot be had, with its code if it has one. The consult "
            "goes on in text whatever happens.",
            must="at most 64 letters, digits, spaces or any of + - ( ) , . # * : /",
            pattern=r"^[0-9A-Za-z +\-(),.#*:/]{0,64}$",
        ),
    ] = ""


class TurnSection(_Section, frozen=True, kw_only=True):
    """A relay of media (coturn, deploy/turn) for clients that reach the bridge by no other way. Each that joins a call is given
    a credential that holds for ten minutes."""

    urls: Annotated[
        tuple[str, ...],
        said(
            "Where clients find it. Empty: none; who cannot send UDP to the bridge then has no call. One on port 443 with TLS "
            "passes where nothing but the web does.",
            must='a list such as "turn:turn.example.org:3478" or "turns:turn.example.org:443?transport=tcp"',
            max_length=4,
        ),
    ] = ()
    secret_file: Annotated[
        Path | None,
        said(
            "A file with the secret that it shares with every node (static-auth-secret), at least 32 characters.",
            must="the path of a file",
            example="/etc/leeside/turn-secret",
        ),
    ] = None


class OidcSection(_Section, frozen=True, kw_only=True):
    """An agency's own sign-in (OpenID Connect), for agencies that ask for the person by it."""

    issuer: Annotated[
        str,
        said(
            "Address of the provider, as it stands in what it signs. Empty: none. Its redirect address is the first of "
            "public_origins with /v1/oidc/callback behind it.",
            must='an address such as "https://login.example.org"',
        ),
    ] = ""
    client_id: Annotated[str, said("What the provider knows this server as.", must="a text")] = ""
    client_secret_file: Annotated[
        Path | None,
        said(
            "A file with the secret that goes with it, for providers that give one.",
            must="the path of a file",
            example="/etc/leeside/oidc-secret",
        ),
    ] = None
    agency: Annotated[
        str,
        said(
            "The agency whose people the provider knows, by its id; nobody else's sign in with it.",
            must="32 hexadecimal digits",
            pattern=r"^([0-9a-f]{32})?$",
        ),
    ] = ""
    auth_time_required: Annotated[
        bool,
        said(
            "Refuse who signed in at the provider before they came from here, and an identity that does not say when "
            "(auth_time). false takes one that does not say, for providers that cannot: then whoever finds a browser that "
            "is still signed in there is its person.",
            must="true or false",
        ),
    ] = True


class LogSection(_Section, frozen=True, kw_only=True):
    """What the server writes to standard error: event names and marked fields, never content."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        said("The least that is written.", must='"debug", "info", "warning" or "error"'),
    ] = "info"
    format: Annotated[
        Literal["json", "console"],
        said("json: one object a line, for machines. console: for people.", must='"json" or "console"'),
    ] = "json"


class BootstrapSection(_Section, frozen=True, kw_only=True):
    """Creating agencies."""

    code_file: Annotated[
        Path | None,
        said(
            "Where `leeside-server bootstrap-code` keeps the hashes of one-time codes for creating an agency; "
            "bootstrap-codes in data_dir when not set.",
            must="the path of a file",
            example="/var/lib/leeside/bootstrap-codes",
        ),
    ] = None


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. Paths are absolute once `config_file.read` has made it."""

    server: ServerSection = ServerSection()
    store: StoreSection = StoreSection()
    bus: BusSection = BusSection()
    limits: LimitsSection = LimitsSection()
    retention: RetentionSection = RetentionSection()
    web: WebSection = WebSection()
    push: PushSection = PushSection()
    paging: PagingSection = PagingSection()
    video: VideoSection = VideoSection()
    turn: TurnSection = TurnSection()
    oidc: OidcSection = OidcSection()
    log: LogSection = LogSection()
    bootstrap: BootstrapSection = BootstrapSection()

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return self.store.path or self.server.data_dir / "leeside.db"

    @property
    def blobs_path(self) -> Path:
        """The folder of attachments, where files keep them."""
        return self.server.data_dir / "blobs"

    @property
    def code_path(self) -> Path:
        """The hashes of one-time codes for creating agencies."""
        return self.bootstrap.code_file or self.server.data_dir / "bootstrap-codes"


ENVIRONMENT: Final[dict[str, tuple[str, str]]] = {
    "LEESIDE_HOST": ("server", "host"),
    "LEESIDE_PORT": ("server", "port"),
    "LEESIDE_PUBLIC_ORIGINS": ("server", "public_origins"),
    "LEESIDE_ROLES": ("server", "roles"),
    "LEESIDE_TLS_CERT": ("server", "tls_cert"),
    "LEESIDE_TLS_KEY": ("server", "tls_key"),
    "LEESIDE_TRUSTED_PROXIES": ("server", "trusted_proxies"),
    "LEESIDE_DATA_DIR": ("server", "data_dir"),
    "LEESIDE_STORE": ("store", "kind"),
    "LEESIDE_STORE_PATH": ("store", "path"),
    "LEESIDE_DSN_FILE": ("store", "dsn_file"),
    "LEESIDE_BUS": ("bus", "kind"),
    "LEESIDE_REDIS_URL_FILE": ("bus", "url_file"),
    "LEESIDE_REDIS_PREFIX": ("bus", "prefix"),
    "LEESIDE_VIDEO_LISTEN": ("video", "listen"),
    "LEESIDE_VIDEO_PUBLIC": ("video", "public"),
    "LEESIDE_VIDEO_PORT": ("video", "port"),
    "LEESIDE_VIDEO_WORKERS": ("video", "workers"),
    "LEESIDE_VIDEO_STATUS_PORT": ("video", "status_port"),
    "LEESIDE_TURN_URLS": ("turn", "urls"),
    "LEESIDE_TURN_SECRET_FILE": ("turn", "secret_file"),
    "LEESIDE_MAP_FILE": ("web", "map_file"),
    "LEESIDE_LOG_LEVEL": ("log", "level"),
    "LEESIDE_LOG_FORMAT": ("log", "format"),
    "LEESIDE_BOOTSTRAP_CODE_FILE": ("bootstrap", "code_file"),
}
"""Variables that stand over the file; lists are separated by commas."""
CONFIG_VARIABLE: Final = "LEESIDE_CONFIG"
"""Names the file when the command line does not."""
