"""Real browsers in a call through a real worker of the bridge, for measuring: one page a participant.

    async with worker_running(folder) as worker, callers_running() as browser:
        camera = await caller(browser, worker, room, sends=True)
        screen = await caller(browser, worker, room, through=relay.address)
        before = await screen.seen()

Everybody speaks. The page is bare: a peer connection, the browser's false microphone (open before it joins, as after the device
test of the waiting room), a moving picture in three sizes, and an encoded transform that gives each frame the trailer of a sealed
one. What sealing itself costs is measured elsewhere; here it is the network.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from playwright.async_api import Browser, Page, Route, async_playwright

from deploy.devtool.services import CHROMIUM
from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.signalling import Part
from leeside_server.core.video import Spoken, Ticket
from leeside_server.video.words import Configure, Ready, Told, read_from_worker, write_word
from tests.bench.programs import MeasureFailed
from tests.faults.machine import on_cores, server_cores
from tests.support.browser import FLAGS
from tests.support.impair import Address
from tests.support.services import HOST, program_path

SIGNAL_S: Final = 30.0
STOP_S: Final = 10.0
PAGE: Final = "http://localhost/call"
_FALSE_DEVICES: Final = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
)
_CANDIDATE: Final = re.compile(r"(a=candidate:\d+ 1 udp \d+) (\S+) (\d+) (typ host)")

_DOCUMENT: Final = """\
<!doctype html><title>call</title><script>
const code = `
onrtctransform = ({ transformer }) => {
    const { seals, sound } = transformer.options;
    transformer.readable.pipeThrough(new TransformStream({
        transform(frame, controller) {
            const old = new Uint8Array(frame.data);
            if (seals) {
                const clear = Math.min(old.length, sound ? 1 : frame.type === 'key' ? 10 : 3);
                const made = new Uint8Array(old.length + 4);
                made.set(old);
                made.set([clear, 0x4c, 0x53, 1], old.length);
                frame.data = made.buffer;
            } else {
                frame.data = old.slice(0, Math.max(0, old.length - 4)).buffer;
            }
            controller.enqueue(frame);
        },
    })).pipeTo(transformer.writable);
};`;
const worker = new Worker(URL.createObjectURL(new Blob([code])));
const through = (seals, kind) => new RTCRtpScriptTransform(worker, { seals, sound: kind === 'audio' });
const SIZES = { q: [4, 100_000], h: [2, 300_000], f: [1, 800_000] };

// The browser's false camera is too easy a picture to need any rate. Chromium sends three sizes from 960 columns on.
const moving = () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 960, height: 544 });
    const context = canvas.getContext('2d');
    let turn = 0;
    setInterval(() => {
        turn += 1;
        for (let tile = 0; tile < 8; tile += 1) {
            context.fillStyle = `hsl(${(turn * 7 + tile * 47) % 360} 60% ${30 + ((turn + tile * 13) % 40)}%)`;
            context.fillRect((tile * 97 + turn * 11) % 960, (tile * 61 + turn * 5) % 544, 64, 40);
        }
    }, 1000 / 15);
    return canvas.captureStream(15).getVideoTracks();
};

let firstPicture;
globalThis.pictured = new Promise((resolve) => { firstPicture = resolve; });
globalThis.connected_s = 0;

// Before anybody joins: the waiting room tries out the devices, and a join takes what it opened.
let spoken;
globalThis.prepare = async () => { spoken = await navigator.mediaDevices.getUserMedia({ audio: true }); };

// Everybody in a call speaks, and so knows the round trip (by the reports of what it sends); whoever `shows` is seen as well.
globalThis.answer = async (sdp, shows) => {
    const link = globalThis.link = new RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle' });
    link.onconnectionstatechange = () => {
        if (link.connectionState === 'connected') globalThis.connected_s ||= Date.now() / 1000;
    };
    link.ontrack = ({ track, transceiver }) => {
        transceiver.receiver.transform = through(false, track.kind);
        const element = document.createElement(track.kind);
        if (track.kind === 'video') element.addEventListener('loadeddata', () => firstPicture(Date.now() / 1000), { once: true });
        Object.assign(element, { autoplay: true, muted: track.kind === 'video', srcObject: new MediaStream([track]) });
        document.body.append(element);
    };
    const tracks = [...spoken.getTracks(), ...(shows ? moving() : [])];
    await link.setRemoteDescription({ type: 'offer', sdp });
    const all = link.getTransceivers().filter(({ mid }) => mid === '0' || mid === '1');
    const up = all.filter(({ mid }) => shows || mid === '0');
    for (const one of all) one.direction = up.includes(one) ? 'sendonly' : 'inactive';
    // All of them before anything is waited for: Chromium ignores a transform that is set later, and says nothing.
    for (const one of up) {
        one.sender.transform = through(true, one.mid === '0' ? 'audio' : 'video');
    }
    for (const one of up) {
        const kind = one.mid === '0' ? 'audio' : 'video';
        await one.sender.replaceTrack(tracks.find((track) => track.kind === kind));
        const parameters = one.sender.getParameters();
        for (const encoding of parameters.encodings) {
            const size = SIZES[encoding.rid];
            if (size !== undefined) [encoding.scaleResolutionDownBy, encoding.maxBitrate] = size;
        }
        await one.sender.setParameters(parameters);
    }
    await link.setLocalDescription();
    return link.localDescription.sdp;
};

globalThis.seen = async () => {
    const found = { at_s: performance.now() / 1000, state: link.connectionState };
    for (const report of (await link.getStats()).values()) {
        if (report.type === 'inbound-rtp' && report.packetsReceived > 0) found[report.kind] = report;
        if (report.type === 'outbound-rtp' && report.kind === 'video') (found.sent ??= []).push(report);
    }
    return found;
};
</script><body></body>
"""


class Worker:
    """A worker of the bridge, as a supervisor starts one; we speak the supervisor's words."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.port = 0
        self._reader, self._writer = reader, writer
        self._callers: dict[DeviceId, asyncio.Queue[s.BridgeSignal]] = {}

    async def listen(self) -> None:
        """Hear it until it ends or this is cancelled."""
        while (word := await read_from_worker(self._reader)) is not None:
            if isinstance(word, Ready):
                self.port = word.port
            elif isinstance(word, Told) and (heard := self._callers.get(word.heard.device)) is not None:
                heard.put_nowait(s.decode_bridge_signal(word.heard.body))

    def heard(self, device: DeviceId) -> asyncio.Queue[s.BridgeSignal]:
        """What it says to this device from now on."""
        return self._callers.setdefault(device, asyncio.Queue())

    async def say(self, room: bytes, device: DeviceId, part: Part, signal: s.ClientSignal) -> None:
        """Say this to it as that device."""
        until_ms = time.time_ns() // 1_000_000 + 3_600_000
        ticket = Ticket(room, device, part, admits=True, team=True, node=b"bench..1", until_ms=until_ms)
        self._writer.write(write_word(Spoken(1, ticket, s.encode_signal(signal))))
        await self._writer.drain()


@asynccontextmanager
async def worker_running(folder: Path) -> AsyncGenerator[Worker]:
    """A worker in a process of its own, on the servers' core."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "leeside_server.video.worker", str(theirs.fileno())]
    with (folder / "worker.log").open("ab") as log, on_cores(server_cores()):
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),)
        )
    theirs.close()
    try:
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = Worker(reader, writer)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(worker.listen())
            writer.write(write_word(Configure((HOST,), 0)))
            async with asyncio.timeout(SIGNAL_S):
                while not worker.port:
                    if process.poll() is not None:
                        raise MeasureFailed((folder / "worker.log").read_text()[-2_000:])
                    await asyncio.sleep(0.05)
            yield worker
            listening.cancel()
        writer.close()
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        if process.poll() is None:
            process.kill()
            process.wait()


@asynccontextmanager
async def callers_running() -> AsyncGenerator[Browser]:
    """The system's Chromium with a false microphone that nobody is asked for."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program_path(CHROMIUM),
            headless=True,
            args=[*FLAGS, *_FALSE_DEVICES],
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            await browser.close()


class Seen(msgspec.Struct, frozen=True):
    """What a page's own statistics say it got (W3C webrtc-stats); counts and sums since it joined."""

    at_s: float
    frames: int = 0
    lines: int = 0
    frozen_s: float = 0.0
    sound_samples: int = 0
    concealed_samples: int = 0
    """Without those in silence, which nobody hears."""
    sound_packets_lost: int = 0

    def concealed_since(self, before: Seen) -> float:
        """The share of sound that was made up by the receiver."""
        samples = self.sound_samples - before.sound_samples
        return (self.concealed_samples - before.concealed_samples) / samples if samples else 0.0

    def frozen_since(self, before: Seen) -> float:
        """The share of the time in which the picture stood still."""
        return (self.frozen_s - before.frozen_s) / (self.at_s - before.at_s)


@dataclass(frozen=True, slots=True)
class Join:
    """How a join went, in seconds since it was said: when the page had the offer, when it had its answer, when its transport stood,
    and when it could show a picture."""

    offered_s: float
    answered_s: float
    connected_s: float = 0.0
    pictured_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.pictured_s:.2f} s (offer {self.offered_s:.2f}, answer {self.answered_s:.2f}, "
            f"connected {self.connected_s:.2f})"
        )


@dataclass
class Caller:
    """A page in a call. `paused` and `quality` are the newest of what the bridge said about its link."""

    page: Page
    worker: Worker
    room: bytes
    device: DeviceId
    part: Part
    joined_unix_s: float
    lines: int = 0
    """Of the picture that the bridge sends, by name; 0: none."""
    audio_only: bool = False
    quality: tuple[int, int] = (3, 3)
    history: list[tuple[float, s.BridgeSignal]] = field(default_factory=list[tuple[float, s.BridgeSignal]])
    """All that the bridge said, with the loop's time."""
    join: Join | None = None

    def since_joined_s(self) -> float:
        """How long ago it said that it joins."""
        return time.time() - self.joined_unix_s

    async def seen(self) -> Seen:
        """The page's statistics now."""
        found = cast("dict[str, Any]", await self.page.evaluate("seen()"))
        picture, sound = found.get("video", {}), found.get("audio", {})
        return Seen(
            at_s=found["at_s"],
            frames=picture.get("framesDecoded", 0),
            lines=picture.get("frameHeight", 0),
            frozen_s=picture.get("totalFreezesDuration", 0.0),
            sound_samples=sound.get("totalSamplesReceived", 0),
            concealed_samples=sound.get("concealedSamples", 0) - sound.get("silentConcealedSamples", 0),
            sound_packets_lost=sound.get("packetsLost", 0),
        )

    async def joined(self, within_s: float) -> Join:
        """How its join went, once the page could show a picture."""
        assert self.join is not None
        try:
            async with asyncio.timeout(within_s):
                pictured_s = float(await self.page.evaluate("pictured")) - self.joined_unix_s
        except TimeoutError:
            raise MeasureFailed(f"no picture came within {within_s:.0f} s of joining") from None
        connected_s = float(await self.page.evaluate("connected_s")) - self.joined_unix_s
        return replace(self.join, connected_s=connected_s, pictured_s=pictured_s)

    async def leave(self) -> None:
        """Go, and close the page."""
        await self.worker.say(self.room, self.device, self.part, s.Leave(1))
        await self.page.context.close()

    async def hear(self) -> None:
        """Take what the bridge says, until cancelled."""
        heard = self.worker.heard(self.device)
        while True:
            signal = await heard.get()
            self.history.append((asyncio.get_running_loop().time(), signal))
            if isinstance(signal, s.Paused):
                self.lines = signal.lines if signal.why is s.PausedWhy.FLOWING else 0
            elif isinstance(signal, s.Quality):
                self.audio_only = signal.audio_only
                self.quality = (signal.up, signal.down)


async def caller(
    browser: Browser,
    worker: Worker,
    room: bytes,
    part: Part,
    *,
    sends: bool = False,
    through: Address | None = None,
    signal_s: float = 0.0,
) -> Caller:
    """A page that has joined; its media flow soon. It speaks; with `sends` it shows a picture too. `through`: the address that
    it takes for the bridge's; `signal_s`: how long each of its signals takes, and each to it."""
    context = await browser.new_context(permissions=["microphone"])
    page = await context.new_page()

    async def document(route: Route) -> None:
        await route.fulfill(body=_DOCUMENT, content_type="text/html")

    await page.route(PAGE, document)
    await page.goto(PAGE)
    await page.evaluate("prepare()")
    made = Caller(page, worker, room, DeviceId(secrets.token_bytes(16)), part, time.time())
    heard = worker.heard(made.device)
    await asyncio.sleep(signal_s)
    await worker.say(room, made.device, part, s.Join(1))
    async with asyncio.timeout(SIGNAL_S):
        while not isinstance(offer := await heard.get(), s.Offer):
            pass
    await asyncio.sleep(signal_s)
    offered_s = made.since_joined_s()
    sdp = offer.sdp
    if through is not None:
        sdp = _CANDIDATE.sub(rf"\1 {through[0]} {through[1]} \4", sdp)
    answered = await page.evaluate("([sdp, sends]) => answer(sdp, sends)", [sdp, sends])
    made.join = Join(offered_s, made.since_joined_s())
    await asyncio.sleep(signal_s)
    await worker.say(room, made.device, part, s.Answer(1, offer.version, answered))
    return made
