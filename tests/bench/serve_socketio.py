"""Socket.IO, run in the peers' own environment: one room, and whoever publishes reaches it.

    python serve_socketio.py PORT

The same WebSocket class and loop as the stock Starlette peer has. No types: the library is not among ours.
"""

import importlib
import sys
from typing import Any

import uvicorn

socketio: Any = importlib.import_module("socketio")
server: Any = socketio.AsyncServer(
    async_mode="asgi", ping_interval=600, ping_timeout=600, cors_allowed_origins="*"
)


async def connect(sid: str, environ: dict[str, Any]) -> None:
    """Readers say so in the query."""
    if "sub=1" in environ.get("QUERY_STRING", ""):
        await server.enter_room(sid, "room")


async def publish(_sid: str, data: bytes) -> None:
    """To everybody in the room."""
    await server.emit("message", data, room="room")


if __name__ == "__main__":
    server.on("connect", connect)
    server.on("publish", publish)
    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        loop="uvloop",
        log_level="error",
        backlog=8192,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )
