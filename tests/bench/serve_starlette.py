"""Stock Starlette, run in the peers' own environment: a broadcast as its documentation and every tutorial has it.

    python serve_starlette.py PORT

The strongest of uvicorn's WebSocket classes, uvloop, no compression.
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

_readers: set[WebSocket] = set()


async def subscribe(socket: WebSocket) -> None:
    """Stay in the set until the end."""
    await socket.accept()
    _readers.add(socket)
    try:
        while True:
            await socket.receive_bytes()
    except WebSocketDisconnect:
        return
    finally:
        _readers.discard(socket)


async def publish(socket: WebSocket) -> None:
    """Pass every message on to everybody."""
    await socket.accept()
    try:
        while True:
            message = await socket.receive_bytes()
            for reader in list(_readers):
                await reader.send_bytes(message)
    except WebSocketDisconnect:
        return


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/sub", subscribe), WebSocketRoute("/pub", publish)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        loop="uvloop",
        log_level="error",
        backlog=8192,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )
