"""What an operator can set of the HTTP half."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import msgspec

from leeside_protocol.ids import AgencyId
from leeside_protocol.limits import BLOB_BYTES
from leeside_server.core.rates import Rate


class OidcSettings(msgspec.Struct, frozen=True):
    """The provider of one agency's own sign-in."""

    issuer: str
    client_id: str
    client_secret: str
    agency: AgencyId
    auth_time_required: bool = True

    def __repr__(self) -> str:
        return f"OidcSettings(issuer={self.issuer!r}, ...)"


class HttpSettings(msgspec.Struct, frozen=True):
    """Limits and places. The defaults suit one city behind one address (a whole agency may share it).

    `bootstrap_codes` is a file with one SHA-256 (hexadecimal) of an operator's one-time code a line; without it
    no agency can be created. `trusted_proxies` may name the client in `X-Forwarded-For`.
    `public_origins` are where our pages are served from; passkeys belong to the first one's host.
    `incident_days` is how long an ended incident is kept, 0 for good. `video`: the server has a bridge for calls;
    `video_phone` is shown to people when a call cannot be had.
    """

    bootstrap_codes: Path | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    public_origins: tuple[str, ...] = ()
    oidc: OidcSettings | None = None
    tls: bool = False
    blob_bytes: int = BLOB_BYTES
    incident_days: int = 0
    video: bool = False
    video_phone: str = ""
    body_deadline_s: float = 30.0
    requests_per_source: Rate = Rate(200.0, 2_000)
    requests_per_device: Rate = Rate(50.0, 500)
    sign_ins_per_source: Rate = Rate(20.0, 1_000)
    enrolments_per_source: Rate = Rate(0.2, 20)
    agencies_per_source: Rate = Rate(0.1, 10)
