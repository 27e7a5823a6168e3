"""Writes the generated files of `protocol/` and the compiled statements of the store: run `python -m tests.support.generate` after changing a message
or a statement.

A test compares what stands in the repository with what this would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from leeside_protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES, SUBPROTOCOL
from leeside_server.adapters.definitions import source
from leeside_server.relay.http.openapi import encoded
from tests.support.message_vectors import message_vectors
from tests.support.signal_vectors import signal_vectors

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = ROOT / "protocol"


def _schema() -> dict[str, Any]:
    types = (*CLIENT_MESSAGES, *SERVER_MESSAGES)
    _, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Messages of {SUBPROTOCOL}",
        "description": "MessagePack arrays; `bin` is described as a base64 string, and lengths are of bytes.",
        "$defs": dict(sorted(components.items())),
        "oneOf": [{"$ref": f"#/$defs/{t.__name__}"} for t in types],
    }


def _asyncapi() -> dict[str, Any]:
    def message(t: type[msgspec.Struct]) -> dict[str, Any]:
        lines = (t.__doc__ or "").strip().splitlines()
        return {
            "name": t.__name__,
            "title": f"{t.__name__} (tag {t.__struct_config__.tag})",
            "summary": lines[0],
            "contentType": "application/msgpack",
            "payload": {"$ref": f"messages.schema.json#/$defs/{t.__name__}"},
        }

    def refs(types: tuple[type[msgspec.Struct], ...]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/socket/messages/{t.__name__}"} for t in types]

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Leeside relay",
            "version": SUBPROTOCOL,
            "description": "Sealed messages over one WebSocket; see spec/02-session.md and spec/03-channels.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/msgpack",
        "channels": {
            "socket": {
                "address": "/v1/socket",
                "messages": {t.__name__: message(t) for t in (*CLIENT_MESSAGES, *SERVER_MESSAGES)},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "fromClient": {
                "action": "receive",
                "channel": {"$ref": "#/channels/socket"},
                "messages": refs(CLIENT_MESSAGES),
            },
            "fromServer": {
                "action": "send",
                "channel": {"$ref": "#/channels/socket"},
                "messages": refs(SERVER_MESSAGES),
            },
        },
    }


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def generated() -> dict[Path, str]:
    """Every generated file of this module and its text."""
    return {
        PROTOCOL / "messages.schema.json": _text(_schema()),
        PROTOCOL / "asyncapi.json": _text(_asyncapi()),
        PROTOCOL / "vectors/messages.json": _text(message_vectors()),
        PROTOCOL / "vectors/signals.json": _text(signal_vectors()),
        PROTOCOL / "openapi.json": encoded().decode(),
        ROOT / "server/leeside_server/adapters/statements.py": source(),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
