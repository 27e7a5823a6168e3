"""A room on aiortc's RTCPeerConnection and MediaRelay, for comparison: python serve_mediarelay.py FD

One JSON object a line over the socket pair: `{"publish": name, "sdp": offer}` or `{"subscribe": [names], "sdp": offer}`;
the answer is `{"sdp": answer}`. aiortc has no other way to hand media on: it decodes, and encodes for each who receives.
"""

import asyncio
import json
import socket
import sys
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

RELAY = MediaRelay()
FEEDS: dict[str, dict[str, Any]] = {}
KEPT: list[RTCPeerConnection] = []


async def answer(said: dict[str, Any]) -> str:
    """Take part as a publisher or a subscriber."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    KEPT.append(connection)
    if "publish" in said:
        feed = FEEDS[said["publish"]] = {}

        def keep(track: Any) -> None:
            feed[track.kind] = track

        connection.on("track", keep)
    await connection.setRemoteDescription(RTCSessionDescription(said["sdp"], "offer"))
    for name, transceivers in zip(said.get("subscribe", []), _pairs(connection), strict=False):
        for transceiver in transceivers:
            transceiver.sender.replaceTrack(RELAY.subscribe(FEEDS[name][transceiver.kind], buffered=False))
            transceiver.direction = "sendonly"
    await connection.setLocalDescription(await connection.createAnswer())
    return connection.localDescription.sdp


def _pairs(connection: RTCPeerConnection) -> list[tuple[Any, Any]]:
    every = connection.getTransceivers()
    return list(zip(every[::2], every[1::2], strict=True))


async def main() -> None:
    """Answer until the other end is gone."""
    pair = socket.socket(fileno=int(sys.argv[1]))
    pair.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=pair, limit=1 << 20)
    while line := await reader.readline():
        writer.write(json.dumps({"sdp": await answer(json.loads(line))}).encode() + b"\n")
        await writer.drain()


asyncio.run(main())
