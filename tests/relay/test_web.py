"""The web client's files: what is served, under which headers, and what never is."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from leeside_server.relay.web import ABSENT, POLICY, WebSettings, web_routes
from tests.relay.world import world

SCRIPT = b"export const answer = 42;\n" * 40
TOWN = bytes(range(256)) * 8


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A small build, beside a file that nobody may get."""
    folder = tmp_path / "web_dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "map").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Leeside</title>")
    (folder / "sw.js").write_text("self.skipWaiting;")
    (folder / "manifest.webmanifest").write_text("{}")
    (folder / "assets/main-4f2a.js").write_bytes(SCRIPT)
    (folder / "assets/main-4f2a.js.br").write_bytes(b"as brotli")
    (folder / "assets/main-4f2a.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "map/town.pmtiles").write_bytes(TOWN)
    (tmp_path / "secret").write_text("not for anybody")
    (folder / "assets/link.js").symlink_to(tmp_path / "secret")
    return folder


def client_of(settings: WebSettings) -> httpx.AsyncClient:
    app = Starlette(routes=web_routes(settings))
    headers = {"Accept-Encoding": "identity"}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://leeside.test", headers=headers
    )


@pytest_asyncio.fixture
async def client(dist: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(WebSettings(dist)) as opened:
        yield opened


async def test_the_page_is_asked_for_anew_and_answered_by_its_tag(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "<title>Leeside</title>" in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


async def test_guests_of_a_consult_get_the_same_page(client: httpx.AsyncClient) -> None:
    page, guest = await client.get("/"), await client.get("/guest")
    assert guest.status_code == 200
    assert guest.content == page.content
    assert guest.headers["Content-Security-Policy"] == page.headers["Content-Security-Policy"]
    assert (await client.get("/guest/more")).status_code == 404


async def test_what_is_named_after_its_content_is_kept_for_good(client: httpx.AsyncClient) -> None:
    script = await client.get("/assets/main-4f2a.js")
    assert script.content == SCRIPT
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", ["/sw.js", "/manifest.webmanifest", "/map/town.pmtiles"])
async def test_what_keeps_its_name_is_asked_for_anew(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).headers["cache-control"] == "no-cache"


async def test_a_manifest_has_a_type_whatever_the_system_knows(client: httpx.AsyncClient) -> None:
    answer = await client.get("/manifest.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"


@pytest.mark.parametrize(
    ("taken", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("br; q=0.0", ""),
        ("identity", ""),
    ],
)
async def test_a_form_that_was_made_small_goes_to_who_takes_it(
    client: httpx.AsyncClient, taken: str, encoding: str
) -> None:
    async with client.stream("GET", "/assets/main-4f2a.js", headers={"Accept-Encoding": taken}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding", "") == encoding
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert raw == {"br": b"as brotli", "gzip": raw, "": SCRIPT}[encoding]
    assert encoding != "gzip" or gzip.decompress(raw) == SCRIPT


async def test_each_form_has_a_tag_of_its_own(client: httpx.AsyncClient) -> None:
    tags = {
        (await client.head("/assets/main-4f2a.js", headers={"Accept-Encoding": taken})).headers["etag"]
        for taken in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


async def test_head_says_what_get_would_send(client: httpx.AsyncClient) -> None:
    answer = await client.head("/assets/main-4f2a.js")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(SCRIPT))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_done_but_read(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/assets/../../secret",
        "/%2e%2e/secret",
        "/assets/%2e%2e%2f%2e%2e%2fsecret",
        "/assets/link.js",
        "//etc/passwd",
        "/assets",
        "/assets/",
        "/unit/7",
        "/index.html/",
        "/assets/%00",
        "/" + "x" * 5000,
    ],
)
async def test_nothing_else_is_reached(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code in {404, 200}
    assert b"not for anybody" not in answer.content
    assert answer.status_code == 404 or b"<title>Leeside" in answer.content


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/missing", {}, 404),
        ("/map/town.pmtiles", {"Range": "bytes=0-6"}, 206),
        ("/map/town.pmtiles", {"Range": "bytes=99999-"}, 416),
        ("/map/town.pmtiles", {"Range": "furlongs=1-2"}, 400),
    ],
)
async def test_every_answer_carries_the_policy(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "geolocation=(self)" in answer.headers["permissions-policy"]
    assert "cache-control" in answer.headers
    assert "set-cookie" not in answer.headers
    assert "strict-transport-security" not in answer.headers


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    rules = {part.partition(" ")[0]: part.partition(" ")[2] for part in POLICY.split("; ")}
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert rules.pop("trusted-types") == "default svelte-trusted-html"
    assert set(" ".join(rules.values()).split()) == {"'none'", "'self'", "blob:", "data:"}
    assert (
        rules["script-src"] == rules["worker-src"] == rules["connect-src"] == rules["style-src"] == "'self'"
    )


async def test_who_speaks_tls_says_that_it_is_for_good(dist: Path) -> None:
    async with client_of(WebSettings(dist, tls=True)) as client:
        assert "strict-transport-security" in (await client.get("/")).headers


class TestMap:
    async def test_a_range(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/map/town.pmtiles", headers={"Range": "bytes=10-19"})
        assert answer.status_code == 206
        assert answer.content == TOWN[10:20]
        assert answer.headers["content-range"] == f"bytes 10-19/{len(TOWN)}"
        assert answer.headers["content-length"] == "10"
        assert "content-encoding" not in answer.headers

    @pytest.mark.parametrize(("asked", "sent"), [("bytes=2040-", TOWN[2040:]), ("bytes=-4", TOWN[-4:])])
    async def test_an_open_range(self, client: httpx.AsyncClient, asked: str, sent: bytes) -> None:
        assert (await client.get("/map/town.pmtiles", headers={"Range": asked})).content == sent

    async def test_several_ranges(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/map/town.pmtiles", headers={"Range": "bytes=0-3,100-103"})
        assert answer.status_code == 206
        assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert f"Content-Range: bytes 0-3/{len(TOWN)}\r\n\r\n".encode() + TOWN[:4] in answer.content
        assert f"Content-Range: bytes 100-103/{len(TOWN)}\r\n\r\n".encode() + TOWN[100:104] in answer.content

    async def test_a_range_that_is_not_there(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/map/town.pmtiles", headers={"Range": f"bytes={len(TOWN)}-"})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(TOWN)}"

    async def test_a_range_of_what_has_changed_gets_the_whole(self, client: httpx.AsyncClient) -> None:
        tag = (await client.head("/map/town.pmtiles")).headers["etag"]
        same = await client.get("/map/town.pmtiles", headers={"Range": "bytes=0-3", "If-Range": tag})
        assert same.status_code == 206
        other = await client.get("/map/town.pmtiles", headers={"Range": "bytes=0-3", "If-Range": '"older"'})
        assert (other.status_code, other.content) == (200, TOWN)

    async def test_a_range_is_of_the_plain_file(self, dist: Path, client: httpx.AsyncClient) -> None:
        (dist / "map/town.pmtiles.gz").write_bytes(gzip.compress(TOWN))
        headers = {"Range": "bytes=0-3", "Accept-Encoding": "gzip"}
        answer = await client.get("/map/town.pmtiles", headers=headers)
        assert answer.content == TOWN[:4]
        assert "content-encoding" not in answer.headers

    async def test_the_operators_own_takes_its_place(self, dist: Path, tmp_path: Path) -> None:
        (tmp_path / "maps").mkdir()
        (tmp_path / "maps/2026-11.pmtiles").write_bytes(b"PMTiles\x03 of the county")
        (tmp_path / "area.pmtiles").symlink_to(tmp_path / "maps/2026-11.pmtiles")
        async with client_of(WebSettings(dist, tmp_path / "area.pmtiles")) as client:
            answer = await client.get("/map/town.pmtiles", headers={"Range": "bytes=0-7"})
            assert answer.content == b"PMTiles\x03"
            assert answer.headers["cache-control"] == "no-cache"
            assert (await client.get("/map/2026-11.pmtiles")).status_code == 404

    async def test_one_that_is_gone_is_not_found(self, dist: Path, tmp_path: Path) -> None:
        async with client_of(WebSettings(dist, tmp_path / "gone/area.pmtiles")) as client:
            assert (await client.get("/map/town.pmtiles")).status_code == 404


async def test_without_a_build_the_page_says_how_to_get_it(tmp_path: Path) -> None:
    async with client_of(WebSettings(tmp_path / "nothing")) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.text) == (404, ABSENT)
        assert answer.headers["content-type"].startswith("text/plain")
        assert (await client.get("/assets/main.js")).status_code == 404


async def test_the_pages_stand_behind_everything_else(tmp_path: Path, dist: Path) -> None:
    """What a node answers itself is never looked for among the files; nor is a socket."""
    from leeside_server.relay.app import build_app
    from leeside_server.relay.http import HttpSettings, routes

    async with world(tmp_path) as w:
        app = build_app(w.node, [*routes(w.node, HttpSettings()), *web_routes(WebSettings(dist))])
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://leeside.test"
        ) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/v1/nothing")).json()["code"] == "not_found"
            assert "<title>Leeside</title>" in (await client.get("/")).text
