"""The files and folders that a configuration names: whether they are there, and what they hold.

Reads secrets. What is read is never shown: an error names the setting and the path, not the content.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from leeside_server.adapters.webhook import read_secret as webhook_secret
from leeside_server.config import Config
from leeside_server.errors import ConfigInvalid, Problem, StartRefused

SECRET_BYTES: Final = 4_096
TURN_SECRET_CHARS: Final = 32
TURN_SECRET_DIFFERENT: Final = 10
_DSN_SCHEMES: Final = ("postgresql", "postgres")
_REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


def read_secret(setting: str, path: Path) -> str:
    """The one line that a secret file holds. Raises `ConfigInvalid`."""
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES + 1)
    except FileNotFoundError:
        raise ConfigInvalid(
            Problem(f"{setting} names {path}, which is not there.", "Write the secret there.")
        ) from None
    except OSError:
        raise ConfigInvalid(
            Problem(f"{setting} names {path}, which cannot be read.", "Check its owner and mode.")
        ) from None
    text = data.decode("utf-8", "replace").strip()
    if not text or len(data) > SECRET_BYTES or not text.isprintable():
        raise ConfigInvalid(
            Problem(f"{setting} names {path}, which holds no secret.", "It must hold one line of text.")
        )
    return text


def read_dsn(config: Config) -> str:
    """The address of PostgreSQL. Raises `ConfigInvalid`."""
    assert config.store.dsn_file is not None, "a configuration with postgres has a dsn_file"
    return _address("[store] dsn_file", config.store.dsn_file, _DSN_SCHEMES)


def read_redis_url(config: Config) -> str:
    """The address of Redis. Raises `ConfigInvalid`."""
    assert config.bus.url_file is not None, "a configuration with redis has a url_file"
    url = _address("[bus] url_file", config.bus.url_file, _REDIS_SCHEMES)
    options = parse_qs(urlsplit(url).query)
    if options.keys() & {"ssl_cert_reqs", "ssl_check_hostname"}:
        raise ConfigInvalid(
            Problem(
                f"[bus] url_file: {config.bus.url_file} changes how Redis's certificate is checked.",
                "Leave ssl_cert_reqs and ssl_check_hostname out; name your own authority with ssl_ca_certs=/path.",
            )
        )
    return url


def read_oidc_secret(config: Config) -> str:
    """The secret that goes with `client_id`; empty where there is none. Raises `ConfigInvalid`."""
    path = config.oidc.client_secret_file
    return "" if path is None else read_secret("[oidc] client_secret_file", path)


def read_webhook_secret(config: Config) -> bytes:
    """The secret that messages to the gateway are signed with; empty where there is no gateway. Raises `ConfigInvalid`."""
    path = config.paging.webhook_secret_file
    if path is None:
        return b""
    try:
        return webhook_secret(read_secret("[paging] webhook_secret_file", path))
    except ValueError:
        raise ConfigInvalid(
            Problem(
                f"[paging] webhook_secret_file names {path}, which holds no such secret.",
                'Write whsec_ and base64, as this does: echo "whsec_$(openssl rand -base64 32)"',
            )
        ) from None


def read_turn_secret(config: Config) -> str:
    """The secret shared with the TURN server; empty where there is none. Raises `ConfigInvalid`."""
    path = config.turn.secret_file
    if path is None:
        return ""
    secret = read_secret("[turn] secret_file", path)
    # Whoever guesses it relays through our address whatever they like.
    if len(secret) < TURN_SECRET_CHARS or len(set(secret)) < TURN_SECRET_DIFFERENT:
        raise ConfigInvalid(
            Problem(
                f"[turn] secret_file names {path}, which holds a secret that can be guessed.",
                "Make one with: openssl rand -hex 32. The TURN server needs the same.",
            )
        )
    return secret


def crosses_in_the_open(url: str) -> bool:
    """True when a Redis address leads to another machine without TLS."""
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.hostname in {None, "localhost"}:
        return False
    try:
        return not ip_address(str(parts.hostname)).is_loopback
    except ValueError:
        return True


def _address(setting: str, path: Path, schemes: tuple[str, ...]) -> str:
    text = read_secret(setting, path)
    try:
        parts = urlsplit(text)
        known = parts.scheme in schemes
        _ = parts.port  # raises for what is no port
    except ValueError:
        known = False
    if not known:
        raise ConfigInvalid(
            Problem(f"{setting}: {path} does not hold an address.", f"It must begin with {schemes[0]}:// .")
        )
    return text


def tls_context(config: Config) -> ssl.SSLContext | None:
    """What the listening socket speaks; None without TLS. TLS 1.2 at least. Raises `ConfigInvalid`."""
    cert, key = config.server.tls_cert, config.server.tls_key
    if cert is None or key is None:
        return None
    for setting, path in (("tls_cert", cert), ("tls_key", key)):
        if not os.access(path, os.R_OK):
            raise ConfigInvalid(
                Problem(
                    f"[server] {setting} names {path}, which is not there or cannot be read.",
                    "Check the path, its owner and its mode.",
                )
            )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a passphrase would stop and ask: a server cannot.
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except (ssl.SSLError, OSError, ValueError):
        raise ConfigInvalid(
            Problem(
                "[server] tls_cert and tls_key do not make a pair.",
                "Both must be PEM, the key without a passphrase, and the certificate made for that key.",
            )
        ) from None
    return context


def _no_passphrase() -> bytes:
    raise ValueError


def make_data_dir(config: Config) -> Path:
    """The data folder, made for this user alone when it is not there. Raises `StartRefused`."""
    folder = config.server.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        raise StartRefused(
            Problem(f"The data folder {folder} cannot be made.", "Make it, owned by this user.")
        ) from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartRefused(
            Problem(f"The data folder {folder} cannot be written.", "It must belong to this user.")
        )
    return folder


def problems(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with the files that the configuration names."""
    if config.store.dsn_file is not None:
        yield from _problems_of(lambda: read_dsn(config))
    if config.bus.url_file is not None:
        yield from _problems_of(lambda: read_redis_url(config))
    yield from _problems_of(lambda: read_oidc_secret(config))
    yield from _problems_of(lambda: read_webhook_secret(config))
    yield from _problems_of(lambda: read_turn_secret(config))
    if "video" in config.server.roles and importlib.util.find_spec("aiortc") is None:
        yield Problem(
            "[server] roles has video, and the packages that it needs are not installed.",
            "Install them: pip install 'leeside[video]'; or take video out of roles.",
        )
    yield from _problems_of(lambda: tls_context(config))


def open_to_others(config: Config) -> Iterator[Path]:
    """Files with secrets, and the data folder, that other users of this machine may read."""
    named = (
        config.server.tls_key,
        config.store.dsn_file,
        config.bus.url_file,
        config.oidc.client_secret_file,
        config.paging.webhook_secret_file,
        config.turn.secret_file,
        config.server.data_dir,
    )
    for path in named:
        if path is not None and path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield path


def _problems_of(read: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        read()
    except ConfigInvalid as error:
        return error.problems
    return ()
