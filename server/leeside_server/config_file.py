"""From `leeside.toml` and the environment to a `Config`; and the commented sample, back from `Config`.

Reading finds everything that is wrong at once, and says it in sentences of our own: a decoder's text may repeat
what stands in the file.
"""

from __future__ import annotations

import difflib
import math
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from leeside_server.config import CONFIG_VARIABLE, ENVIRONMENT, Config
from leeside_server.core.rates import Rate
from leeside_server.errors import ConfigInvalid, Problem

FILE_NAME: Final = "leeside.toml"
_WIDTH: Final = 100
_FOREIGN_VARIABLES: Final = (
    "LEESIDE_TEST_",
    "LEESIDE_UV",
    "LEESIDE_NO_APT",
    "LEESIDE_DEBUG",
    # Of the client's command line, which the same shell may have been set up for.
    "LEESIDE_SERVER",
    "LEESIDE_PROFILE",
    "LEESIDE_HOME",
    "LEESIDE_CA_FILE",
    "LEESIDE_PASSPHRASE",
)
"""Variables of other programs of the project, which look like none of ours."""
_UNSET: Final = object()
_TURN_URL: Final = re.compile(
    r"turns?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?"
)
"""RFC 7065, without what no client of ours could use."""

Table: TypeAlias = dict[str, Any]


def read(path: Path | None, environment: Mapping[str, str]) -> Config:
    """The configuration: the file (none: defaults), under the environment.

    Raises `ConfigInvalid` with every problem found. Touches no file but this one: whether certificates and
    secrets can be read is `places`' business.
    """
    problems: list[Problem] = []
    table = _parse(path) if path is not None else {}
    folder = path.resolve().parent if path is not None else Path.cwd()
    overrides = _overrides(environment, problems)
    sections: dict[str, Any] = {}
    known = get_type_hints(Config, include_extras=True)
    problems += _unknown("section", "", table, known)
    for name, section in known.items():
        given = table.get(name, {})
        if not isinstance(given, dict):
            problems.append(Problem(f"`{name}` is a section.", f"Write [{name}] on a line of its own."))
            continue
        values = cast("Table", given)
        sections[name] = _section(name, section, values, overrides, folder, problems)
    if problems:
        raise ConfigInvalid(*problems)
    config = Config(**sections)
    problems = list(contradictions(config))
    if problems:
        raise ConfigInvalid(*problems)
    return config


def find(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file to read: the one given, the one that LEESIDE_CONFIG names, `leeside.toml` here, or none."""
    named = environment.get(CONFIG_VARIABLE)
    if given is not None or named:
        return given or Path(str(named))
    here = Path(FILE_NAME)
    return here if here.exists() else None


def contradictions(config: Config) -> Iterator[Problem]:
    """What single values do not show."""
    server, store, bus = config.server, config.store, config.bus
    if server.host != "localhost" and not _is_address(server.host):
        yield Problem(
            "[server] host must be an IP address or `localhost`.", 'For every address write host = "0.0.0.0".'
        )
        return
    if (server.tls_cert is None) != (server.tls_key is None):
        missing = "tls_key" if server.tls_key is None else "tls_cert"
        yield Problem(
            f"[server] {missing} is missing: certificate and key go together.", f"Set {missing} too."
        )
    networks_read = True
    for text in server.trusted_proxies:
        problem = _proxy_problem(text)
        if problem is not None:
            networks_read = False
            yield problem
    if networks_read and not server.loopback and not server.tls and not server.trusted_proxies:
        yield Problem(
            f"[server] host {server.host} can be reached from other machines, and there is neither TLS nor a "
            "proxy that has it: tokens and one-time codes would travel in the open.",
            "Set tls_cert and tls_key; or put a proxy with TLS in front and name it in trusted_proxies; or "
            'listen on this machine only with host = "127.0.0.1".',
        )
    for origin in server.public_origins:
        if not _is_origin(origin):
            yield Problem(
                "[server] public_origins holds something that is not an origin.",
                'An origin is a scheme, a host and perhaps a port, such as "https://relay.example.org"; '
                "http only for localhost.",
            )
    if store.kind == "postgres" and store.dsn_file is None:
        yield Problem(
            "[store] kind is postgres, and dsn_file is not set.", "Name a file that holds the address."
        )
    if store.kind == "sqlite" and store.dsn_file is not None:
        yield Problem(
            "[store] dsn_file is set, and kind is sqlite.", 'Write kind = "postgres", or remove dsn_file.'
        )
    if bus.kind == "redis" and bus.url_file is None:
        yield Problem("[bus] kind is redis, and url_file is not set.", "Name a file that holds the address.")
    if bus.kind == "memory" and bus.url_file is not None:
        yield Problem(
            "[bus] url_file is set, and kind is memory.", 'Write kind = "redis", or remove url_file.'
        )
    if bus.kind == "redis" and store.kind == "sqlite" and "relay" in server.roles:
        yield Problem(
            "[bus] kind is redis and [store] kind is sqlite: SQLite serves one process, which needs no Redis.",
            'Write [bus] kind = "memory", or [store] kind = "postgres" for several nodes.',
        )
    yield from _oidc_problems(config)
    yield from _paging_problems(config)
    yield from _video_problems(config)
    yield from _turn_problems(config)
    for name in (
        "sockets",
        "sockets_per_source",
        "requests_per_source",
        "requests_per_device",
        "sign_ins_per_source",
    ):
        yield from _rate_problem(name, getattr(config.limits, name))
    for name in ("enrolments_per_source", "agencies_per_source"):
        yield from _rate_problem(name, getattr(config.limits, name))


def _oidc_problems(config: Config) -> Iterator[Problem]:
    oidc = config.oidc
    if not oidc.issuer:
        if oidc.client_id or oidc.agency:
            yield Problem("[oidc] has settings, and no issuer.", "Set issuer, or remove the others.")
        return
    parts = urlsplit(oidc.issuer)
    if not _is_origin(f"{parts.scheme}://{parts.netloc}") or parts.query or parts.fragment:
        yield Problem(
            "[oidc] issuer is not the address of a provider.",
            'It is like "https://login.example.org/realm"; http only for localhost.',
        )
    for name in ("client_id", "agency"):
        if not getattr(oidc, name):
            yield Problem(f"[oidc] {name} is not set.", "A provider needs issuer, client_id and agency.")
    if not config.server.public_origins:
        yield Problem(
            "[oidc] needs a public origin: that is where the provider sends people back to.",
            "Set [server] public_origins.",
        )


def _paging_problems(config: Config) -> Iterator[Problem]:
    url = config.paging.webhook_url
    if url and config.paging.webhook_secret_file is None:
        yield Problem(
            "[paging] webhook_url is set, and webhook_secret_file is not: a gateway could not tell who asks it.",
            "Name a file that holds the secret.",
        )
    parts = urlsplit(url)
    if url and (not _is_origin(f"{parts.scheme}://{parts.netloc}") or parts.fragment):
        yield Problem(
            "[paging] webhook_url is not the address of a gateway.",
            'It is like "https://gateway.example.org/leeside"; http only for localhost.',
        )


def _video_problems(config: Config) -> Iterator[Problem]:
    roles, video = config.server.roles, config.video
    if len(set(roles)) != len(roles):
        yield Problem("[server] roles names one of them twice.", 'Write roles = ["relay", "video"].')
    if config.bus.kind == "memory" and "relay" not in roles:
        yield Problem(
            "[server] roles has video alone, and [bus] kind is memory: no node would find this bridge.",
            'Write roles = ["relay", "video"] for one process, or [bus] kind = "redis" for several.',
        )
    if video.elsewhere and config.bus.kind == "memory":
        yield Problem(
            "[video] elsewhere is true, and [bus] kind is memory: no other process is found.",
            'Write [bus] kind = "redis", or give this process the role video.',
        )
    for name, addresses in (("listen", video.listen), ("public", video.public)):
        for text in addresses:
            if not _is_address(text) or ip_address(text).is_unspecified or ip_address(text).is_multicast:
                yield Problem(
                    f"[video] {name} holds something that is no address of one machine.",
                    'Write each address by itself, such as "203.0.113.20"; 0.0.0.0 and :: stand for all.',
                )
                return
    if video.public and len(video.public) != len(video.listen):
        yield Problem(
            "[video] public and listen differ in length: each public address belongs to the one at its place.",
            "Name as many public addresses as listen has, or none.",
        )
    elif any(
        ip_address(public).version != ip_address(own).version
        for public, own in zip(video.public, video.listen, strict=False)
    ):
        yield Problem(
            "[video] public has an IPv4 address where listen has an IPv6 one, or the other way round.",
            "Keep the same order in both.",
        )
    if video.port and video.port + max(video.workers, 1) - 1 > 65_535:
        yield Problem("[video] port leaves no room for its workers' ports.", "Choose a lower one.")


def _turn_problems(config: Config) -> Iterator[Problem]:
    turn = config.turn
    if turn.urls and turn.secret_file is None:
        yield Problem(
            "[turn] urls is set, and secret_file is not: no credential could be made.",
            "Name a file that holds the TURN server's secret.",
        )
    for url in turn.urls:
        if url.startswith(("stun:", "stuns:")):
            yield Problem(
                "[turn] urls holds a STUN server: nobody needs it, and it would learn who is in a call.",
                "Remove it. Clients reach the bridge at its own addresses, or over TURN.",
            )
        elif not _TURN_URL.fullmatch(url):
            yield Problem(
                "[turn] urls holds something that is no TURN server.",
                'It is like "turn:turn.example.org:3478" or "turns:turn.example.org:443?transport=tcp".',
            )


def _rate_problem(name: str, rate: Rate) -> Iterator[Problem]:
    if not (math.isfinite(rate.per_s) and rate.per_s > 0 and rate.burst >= 1):
        yield Problem(f"[limits] {name} would let nobody in.", "per_s and burst must be numbers above 0.")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _proxy_problem(text: str) -> Problem | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return Problem(
            "[server] trusted_proxies holds something that is no network.",
            'Write addresses or networks, such as "10.0.0.5" or "10.0.0.0/24".',
        )
    if network.prefixlen == 0:
        return Problem(
            "[server] trusted_proxies trusts everyone: any client could claim any address.",
            "Name the proxy's own address.",
        )
    return None


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return False
    host = parts.hostname or ""
    local = host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return bool(host) and bare and (parts.scheme == "https" or (parts.scheme == "http" and local))


# ---- reading


def _parse(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigInvalid(
            Problem(f"There is no file {path}.", "Make one: leeside-server default-config > leeside.toml")
        ) from None
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid(
            Problem(f"{path} cannot be read.", "It must be a UTF-8 text file that this user may read.")
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(
            Problem(f"{path} is not TOML{_place(error)}.", "Compare with: leeside-server default-config")
        ) from None


def _place(error: tomllib.TOMLDecodeError) -> str:
    """Where the parser stopped, without its text, which repeats the line."""
    _, found, place = str(error).rpartition("(at ")
    return f" (at {place}" if found and place.startswith(("line ", "end ")) else ""


def _overrides(environment: Mapping[str, str], problems: list[Problem]) -> dict[tuple[str, str], str]:
    names = (*ENVIRONMENT, CONFIG_VARIABLE)
    for name in sorted(environment):
        if name.startswith("LEESIDE_") and name not in names and not name.startswith(_FOREIGN_VARIABLES):
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
            if near:
                problems.append(Problem(f"The variable {name} is not known.", f"Is {near[0]} meant?"))
    return {place: environment[name] for name, place in ENVIRONMENT.items() if name in environment}


def _unknown(what: str, where: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Problem]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            fix = f"Is `{near[0]}` meant?" if near else f"Known here: {', '.join(known)}."
            yield Problem(f"{where}The {what} `{name[:60]}` is not known.", fix)


def _section(
    name: str,
    section: type[Any],
    given: Table,
    overrides: Mapping[tuple[str, str], str],
    folder: Path,
    problems: list[Problem],
) -> object:
    hints = get_type_hints(section, include_extras=True)
    problems += _unknown("setting", f"[{name}] ", given, hints)
    values: Table = {}
    for key, hint in hints.items():
        text = overrides.get((name, key))
        raw = given.get(key, _UNSET)
        where = f"[{name}] {key}"
        if text is not None:
            raw = _from_text(text, hint)
            where = next(variable for variable, place in ENVIRONMENT.items() if place == (name, key))
        if raw is _UNSET:
            continue
        try:
            values[key] = _value(raw, hint, strict=text is None)
        except msgspec.ValidationError:
            problems.append(Problem(f"{where} is not valid.", f"It must be {_meta(hint)['must']}."))
    made = section(**values)
    return msgspec.structs.replace(made, **_absolute(made, folder))


def _value(raw: object, hint: Any, *, strict: bool) -> object:
    value: object = msgspec.convert(raw, hint, strict=strict, dec_hook=_path)
    if isinstance(value, float) and not math.isfinite(value):
        raise msgspec.ValidationError
    return value


def _from_text(text: str, hint: Any) -> object:
    """A variable's text as the file would have it."""
    if "tuple" in str(hint.__origin__):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _path(kind: type[Any], value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError


def _absolute(section: Any, folder: Path) -> Table:
    fields = ((field, getattr(section, field)) for field in section.__struct_fields__)
    return {field: folder / value.expanduser() for field, value in fields if isinstance(value, Path)}


def _meta(hint: Any) -> Table:
    meta: Meta = next(found for found in hint.__metadata__ if isinstance(found, Meta))
    extra: Table = meta.extra or {}
    return {"text": meta.description or "", **extra}


# ---- the sample


def sample() -> str:
    """`leeside.toml` with every setting, what it is for, and its default."""
    lines = [
        "# Leeside's server. Every setting stands here with its default; a setting that is left out has it too.",
        "# Check a changed file with: leeside-server check-config leeside.toml",
        "#",
        *_comment(f"Variables stand over this file: {', '.join(ENVIRONMENT)}."),
    ]
    for name, section in get_type_hints(Config, include_extras=True).items():
        about = " ".join((section.__doc__ or "").split())
        lines += ["", "", *_comment(about), f"[{name}]"]
        default = section()
        for key, hint in get_type_hints(section, include_extras=True).items():
            meta = _meta(hint)
            if meta["text"]:
                lines += ["", *_comment(meta["text"])]
            value = getattr(default, key)
            lines.append(f'# {key} = "{meta["example"]}"' if value is None else f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False)]


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str() | Path():
            return f'"{value}"'
        case Rate():
            return f"{{ per_s = {value.per_s}, burst = {value.burst} }}"
        case tuple():
            return f"[{', '.join(_toml(one) for one in cast('tuple[object, ...]', value))}]"
        case _:
            raise TypeError(type(value).__name__)
