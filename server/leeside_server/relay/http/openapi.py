"""The OpenAPI 3.1 document, made from the route table and the structures of the protocol.

`protocol/openapi.json` is this document; a test keeps the two equal, and the server serves it at /openapi.json.
Write the file anew with `python -m tests.support.generate`.

MessagePack bodies cannot be described by JSON Schema byte for byte: they are `binary`, and `x-messagepack` refers to
the schema of the value inside, in which `bytes` stand for MessagePack `bin`.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any, Final

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.limits import PAGE_ENTRIES
from leeside_protocol.routes import ROUTES, Route
from leeside_server.core.recurrence import FIRST_MS, LAST_MS

Json = dict[str, Any]
OCTETS: Final = "application/octet-stream"
_REF: Final = "#/components/schemas/{name}"
_QUERY: Final[dict[str, Json]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_ENTRIES, "description": "Items at most."},
    "state": {"type": "string", "enum": ["pending", "active", "revoked"]},
    "from_epoch": {"type": "integer", "minimum": 0},
    "recipient": {
        "type": "string",
        "pattern": "^[0-9a-f]{32}$",
        "description": "A records key; for records officers.",
    },
    "from_ms": {"type": "integer", "minimum": FIRST_MS, "maximum": LAST_MS},
    "until_ms": {"type": "integer", "minimum": FIRST_MS, "maximum": LAST_MS},
    "zone": {"type": "string", "description": "A name of the IANA time zone database."},
    "language": {
        "type": "string",
        "pattern": "^([a-z]{2,3})?$",
        "description": "A primary subtag of BCP 47.",
    },
}
_PATH: Final[dict[str, Json]] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "address": {"type": "string", "pattern": "^[0-9a-f]{34}$"},
    "index": {"type": "integer", "minimum": 0, "maximum": 999_999},
}
_OFFSETS: Final = frozenset({"directory", "log", "security_events"})


def document() -> Json:
    """The whole document as plain values."""
    types: dict[str, Any] = {"ErrorAnswer": r.ErrorAnswer}
    for route in ROUTES:
        for kind in (route.request, route.response):
            if kind is not None and kind is not bytes:
                types[kind.__name__] = kind
    _, schemas = msgspec.json.schema_components(list(types.values()), ref_template=_REF)
    paths: Json = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leeside",
            "version": version("leeside"),
            "summary": "Management, sign-in and signed objects of a Leeside server.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "responses": {"Error": _errors()},
        },
    }


def _errors() -> Json:
    names = ", ".join(f"{error.http_status} `{error.label}`" for error in WireError)
    return {
        "description": f"A refusal: {names}; 405 for a method that the path has not.",
        "content": {r.JSON: {"schema": {"$ref": _REF.format(name="ErrorAnswer")}}},
    }


def _operation(route: Route) -> Json:
    operation: Json = {"operationId": route.name, "summary": route.summary, "parameters": _parameters(route)}
    if route.access == "device":
        operation["security"] = [{"session": []}]
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(route, route.request, many=False)}
    success: Json = {"description": "Done."}
    if route.response is not None:
        success["content"] = _content(route, route.response, many=route.listing)
    operation["responses"] = {str(route.status): success, "default": {"$ref": "#/components/responses/Error"}}
    return operation


def _parameters(route: Route) -> list[Json]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PATH.items()
        if f"{{{name}}}" in route.path
    ]
    query = [
        {"name": name, "in": "query", "required": False, "schema": _query(route, name)}
        for name in route.query
    ]
    return [*path, *query]


def _query(route: Route, name: str) -> Json:
    if name == "after" and route.name in _OFFSETS:
        return {"type": "integer", "minimum": 0, "description": "The offset or seq last seen."}
    if name == "after":
        return {
            "type": "string",
            "pattern": "^([0-9a-f]{32})?$",
            "description": "The cursor `next` of the page before.",
        }
    return _QUERY[name]


def _content(route: Route, kind: type[Any], *, many: bool) -> Json:
    if route.media == r.JSON:
        return {r.JSON: {"schema": {"$ref": _REF.format(name=kind.__name__)}}}
    schema: Json = {"type": "string", "format": "binary"}
    if route.media == r.MSGPACK:
        inner: Json = {"type": "string", "contentEncoding": "base64"} if kind is bytes else _ref(kind)
        schema["x-messagepack"] = {"type": "array", "items": inner} if many else inner
    return {route.media: {"schema": schema}}


def _ref(kind: type[Any]) -> Json:
    return {"$ref": _REF.format(name=kind.__name__)}


@functools.cache
def encoded() -> bytes:
    """The document as it stands in the file and is served. Made when it is first asked for: at the start of a server,
    clients wait."""
    return msgspec.json.format(msgspec.json.encode(document(), order="deterministic"), indent=2) + b"\n"
