"""The web client's own files: the page, its scripts, its map; to anybody, because there is nothing secret in them.

Vite builds them into `web_dist`, beside this package (not in git; in the wheel). Names below `/assets/` carry a hash of
their content and are kept by browsers for good; all others are asked for anew each time and answered by `ETag`. A file that
stands there a second time as `NAME.br` or `NAME.gz` is sent in that form to who takes it.

The page routes by the fragment of its address, which no server sees: only `/` is the page, and `/guest` the same page for
guests of a consult, whose link must not open what an installed client shows. A path that is not there is 404. No cookie is set or read: who a request comes from is told by its token alone, and pages have none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

DIST: Final = Path(__file__).parent.parent / "web_dist"
INDEX: Final = "index.html"
GUEST: Final = "guest"
MAP: Final = "map/town.pmtiles"
HASHED: Final = "assets/"
_ENCODINGS: Final = {"br": ".br", "gzip": ".gz"}
"""In the order in which they are preferred."""

ABSENT: Final = """\
This is a Leeside server. It works; the web client is not part of this installation.

  pip install 'leeside[server]'   the wheel carries it
  ./dev demo                      builds it in a checkout, and serves it
"""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; font-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types default svelte-trusted-html"
)
"""What the page may load: its own files and nothing else. No request leaves the origin. Text becomes a script or HTML only by
two policies: the client's own, which lets files of its origin pass, and that of Svelte's templates."""

_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TLS_HEADERS: Final = {"Strict-Transport-Security": "max-age=31536000"}
_KEPT: Final = "public, max-age=31536000, immutable"
_ASKED: Final = "no-cache"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".pbf": "application/x-protobuf",
    ".pmtiles": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""Where the system's own table could say something else, which browsers would refuse under `nosniff`."""


class WebSettings(msgspec.Struct, frozen=True):
    """Where the files are. `map_file` takes the place of the invented town's map; `tls`: this process speaks it."""

    dist: Path = DIST
    map_file: Path | None = None
    tls: bool = False


def web_routes(settings: WebSettings) -> list[BaseRoute]:
    """What the relay's application mounts behind everything else: every path that is nobody else's."""
    return [Route("/{path:path}", Pages(settings))]


class Pages:
    """The files of the web client, as an ASGI application. GET and HEAD, ranges included."""

    def __init__(self, settings: WebSettings) -> None:
        self._files = StaticFiles(directory=settings.dist, check_dir=False)
        self._map = settings.map_file
        # An operator's file may stand anywhere, and may be a link to the newest of several.
        folder = settings.dist if settings.map_file is None else settings.map_file.parent
        self._map_files = StaticFiles(directory=folder, check_dir=False, follow_symlink=True)
        self._headers = {**_HEADERS, **_TLS_HEADERS} if settings.tls else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with our headers on every answer: those too that Starlette makes for a range that cannot be."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", _ASKED)
            await send(message)

        try:
            response = await self._response(scope)
        except HTTPException as refused:
            response = PlainTextResponse(refused.detail, refused.status_code, refused.headers)
        await response(scope, receive, send_with_headers)

    async def _response(self, scope: Scope) -> Response:
        path = self._files.get_path(scope)
        if path == MAP and self._map is not None:
            return _typed(await self._map_files.get_response(self._map.name, scope), MAP)
        if path not in {".", GUEST}:
            return await self._file(path, scope)
        try:
            return await self._file(INDEX, scope)
        except HTTPException as refused:
            if refused.status_code != 404:
                raise
            return PlainTextResponse(ABSENT, 404)

    async def _file(self, path: str, scope: Scope) -> Response:
        response, encoding = await self._smallest(path, scope)
        if encoding:
            response.headers["Content-Encoding"] = encoding
        response.headers["Cache-Control"] = _KEPT if path.startswith(HASHED) else _ASKED
        response.headers["Vary"] = "Accept-Encoding"
        return _typed(response, path)

    async def _smallest(self, path: str, scope: Scope) -> tuple[Response, str]:
        headers = Headers(scope=scope)
        # A range is of the bytes of one form: who asks for one means the plain file.
        if "range" not in headers:
            taken = _accepted(headers.getlist("accept-encoding"))
            for encoding in (name for name in _ENCODINGS if name in taken):
                try:
                    return await self._files.get_response(path + _ENCODINGS[encoding], scope), encoding
                except HTTPException as refused:
                    if refused.status_code != 404:
                        raise
        return await self._files.get_response(path, scope), ""


def _accepted(lines: list[str]) -> frozenset[str]:
    """The encodings that a client takes (RFC 9110, section 12.5.3); weights but 0 are as good as 1."""
    parts = [part.partition(";") for line in lines for part in line.lower().split(",")]
    return frozenset(
        name.strip()
        for name, _, weight in parts
        if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    )


def _typed(response: Response, path: str) -> Response:
    """The response with the type that our table has for this path. One without content (304) names none."""
    kind = _TYPES.get(Path(path).suffix)
    if kind is not None and "Content-Type" in response.headers:
        response.headers["Content-Type"] = kind
    return response
