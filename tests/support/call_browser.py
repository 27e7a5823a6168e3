"""Calls in real browsers: cameras that pretend, and what `getStats` of the page's own connections says.

`watching` goes into a context before its first page. Then `Media(page)` counts what was decoded, sent and sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, async_playwright

from deploy.devtool.services import CHROMIUM
from leeside_protocol.video import signalling as s
from tests.support.browser import FLAGS, Scripted
from tests.support.services import program_path

CALL_FLAGS: Final = (
    *(flag for flag in FLAGS if not flag.startswith("--disable-features=")),
    "--disable-features=Translate,OptimizationHints,MediaRouter,WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream=fps=15",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
)
MEDIA_S: Final = 120.0
"""How long pictures may take on a machine that encodes and decodes all of them, and does much else."""
CAMERA: Final = {"width": 640, "height": 360, "rate": 15}
"""What a camera is asked for here: two cores encode, forward and decode all of it."""

_WATCHING: Final = """\
{
    const Own = window.RTCPeerConnection;
    const paths = [];
    window.leesidePaths = paths;
    window.RTCPeerConnection = class extends Own {
        constructor(...given) {
            super(...given);
            paths.push(this);
        }
    };
    const devices = navigator.mediaDevices;
    // An empty page has none.
    if (devices !== undefined) {
        const open = devices.getUserMedia.bind(devices);
        devices.getUserMedia = (wanted) => {
            const video = wanted.video && { ...wanted.video, width: WIDTH, height: HEIGHT, frameRate: RATE };
            return open({ ...wanted, video });
        };
    }
    window.leesideMedia = async () => {
        const live = paths.filter(({ connectionState }) => connectionState !== 'closed');
        const found = { decoded: {}, columns: {}, heard: {}, loud: {}, ways: {}, sent: 0, encoded: 0, live: live.length,
            made: paths.length, freezes: 0, frozenS: 0, samples: 0, concealed: 0 };
        for (const path of live) {
            let pair = '';
            let pictures = 0;
            for (const one of (await path.getStats()).values()) {
                if (one.type === 'transport') pair = one.selectedCandidatePairId ?? '';
                if (one.type === 'inbound-rtp' && one.kind === 'video') {
                    pictures += one.framesDecoded ?? 0;
                    found.decoded[one.mid] = (found.decoded[one.mid] ?? 0) + (one.framesDecoded ?? 0);
                    found.columns[one.mid] = one.frameWidth ?? 0;
                    found.freezes += one.freezeCount ?? 0;
                    found.frozenS += one.totalFreezesDuration ?? 0;
                }
                if (one.type === 'inbound-rtp' && one.kind === 'audio') {
                    found.heard[one.mid] = (one.totalSamplesReceived ?? 0) - (one.concealedSamples ?? 0);
                    found.loud[one.mid] = (found.loud[one.mid] ?? 0) + (one.totalAudioEnergy ?? 0);
                    found.samples += one.totalSamplesReceived ?? 0;
                    found.concealed += (one.concealedSamples ?? 0) - (one.silentConcealedSamples ?? 0);
                }
                if (one.type === 'outbound-rtp') {
                    found.sent += one.packetsSent ?? 0;
                    found.encoded += one.framesEncoded ?? 0;
                }
            }
            found.ways[`${paths.indexOf(path)}/${pair}`] = pictures;
        }
        return found;
    };
    // What a test that fails shows of every line: it is only read by people.
    window.leesideLines = async () => {
        const lines = [];
        for (const [number, path] of paths.entries()) {
            lines.push(`path ${number}: ${path.connectionState}, ${path.iceConnectionState}, ${path.signalingState}`);
            if (path.connectionState === 'closed') continue;
            for (const one of (await path.getStats()).values()) {
                const shown = SHOWN[one.type];
                if (shown === undefined || (one.type === 'candidate-pair' && !one.nominated)) continue;
                if (one.type === 'inbound-rtp' && !one.packetsReceived) continue;
                const told = shown.filter((key) => one[key] !== undefined).map((key) => `${key} ${one[key]}`);
                lines.push(`  ${one.type} ${told.join(', ')}`);
            }
        }
        return lines.join('\\n');
    };
    const SHOWN = {
        'inbound-rtp': ['mid', 'kind', 'packetsReceived', 'packetsLost', 'framesReceived', 'framesDecoded', 'framesDropped',
            'keyFramesDecoded', 'frameWidth', 'pliCount', 'nackCount', 'totalSamplesReceived', 'concealedSamples'],
        'outbound-rtp': ['mid', 'kind', 'rid', 'active', 'packetsSent', 'framesEncoded', 'keyFramesEncoded', 'frameWidth',
            'framesPerSecond', 'targetBitrate', 'qualityLimitationReason', 'pliCount'],
        'candidate-pair': ['state', 'currentRoundTripTime', 'availableOutgoingBitrate', 'bytesSent', 'bytesReceived'],
    };
}
"""


def watching_script(width: int, height: int, rate: int) -> str:
    """A script of a page, before anything of its own; cameras are asked for pictures of this size, so many a second."""
    return _WATCHING.replace("WIDTH", str(width)).replace("HEIGHT", str(height)).replace("RATE", str(rate))


WATCHING: Final = watching_script(**CAMERA)


@asynccontextmanager
async def call_browser_running() -> AsyncGenerator[Browser]:
    """A Chromium with cameras and microphones that pretend, which may reach a bridge on this machine."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program_path(CHROMIUM),
            headless=True,
            args=list(CALL_FLAGS),
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            await browser.close()


async def watching(context: BrowserContext, script: str = WATCHING) -> None:
    """Before the context's first page."""
    await context.add_init_script(script)


@dataclass(frozen=True, slots=True)
class Media:
    """The media of one page."""

    page: Scripted

    async def now(self) -> dict[str, Any]:
        """`decoded` frames, the newest one's `columns`, `heard` samples and how `loud` they were (energy) by m-line; of all of them
        `freezes`, `frozenS`, `samples` and those `concealed`, without what is made up in silence; `sent` packets, `encoded`
        frames, `live` and `made` connections; frames decoded by `ways`: a connection and the pair of ports that it uses now."""
        found: dict[str, Any] = await self.page.evaluate("() => window.leesideMedia()")
        return found

    async def decodes(self, others: int = 1, frames: int = 10) -> None:
        """Until the pictures of so many others have been decoded, so many frames each from now on."""
        await self._grows("decoded", others, frames)

    async def hears(self, others: int = 1, samples: int = 24_000) -> None:
        """Until so much real sound of so many others came, from now on: nothing that was made up for what was lost."""
        await self._grows("heard", others, samples)

    async def story(self) -> str:
        """What the page's connections say of every line, and what the bridge told it of every seat: for who reads a failure."""
        lines: str = await self.page.evaluate("() => window.leesideLines()")
        shown: str = await self.page.evaluate("() => document.body.innerText")
        return "\n".join([lines, "the bridge's newest words:", *_newest(await self.told()), "shown:", shown])

    async def told(self) -> list[s.BridgeSignal]:
        """What the bridge said to the page, as far as an `Engine` listens there, since it last forgot."""
        bodies: list[list[int]] = await self.page.evaluate(_TOLD)
        return [s.decode_bridge_signal(bytes(body)) for body in bodies]

    async def shows_columns(self, columns: int) -> None:
        """Until the newest picture of somebody has so many columns."""
        async with asyncio.timeout(MEDIA_S):
            while True:
                if columns in (await self.now())["columns"].values():
                    return
                await asyncio.sleep(0.2)

    async def stands_still(self) -> None:
        """Until no picture of anybody has come for a second."""
        await self._rests("decoded")

    async def is_deaf(self) -> None:
        """Until no sound of anybody has come for a second."""
        await self._rests("heard")

    async def _rests(self, what: str) -> None:
        async with asyncio.timeout(MEDIA_S):
            before, now = {"": 0}, (await self.now())[what]
            while before != now:
                await asyncio.sleep(1)
                before, now = now, (await self.now())[what]

    async def _grows(self, what: str, others: int, by: int) -> None:
        """A new path counts from nothing, and so from now on all the same."""
        counts = (await self.now())[what]
        grown: dict[str, int] = {}
        try:
            async with asyncio.timeout(MEDIA_S):
                while sum(more >= by for more in grown.values()) < others:
                    await asyncio.sleep(0.2)
                    before, counts = counts, (await self.now())[what]
                    for mid, count in counts.items():
                        grown[mid] = grown.get(mid, 0) + max(0, count - before.get(mid, 0))
        except TimeoutError:
            wanted = f"{what} by line in {MEDIA_S:.0f} s: {grown}; wanted {by} of {others} others"
            raise AssertionError(f"{wanted}\n{await self.story()}") from None


_TOLD: Final = """() => (window.leesideEngine?.told ?? [])
    .filter(({ kind, body }) => kind === 'video' && body).map(({ body }) => [...body])"""


def _newest(signals: Iterable[s.BridgeSignal]) -> list[str]:
    """Of each kind of word, and each person and medium that it speaks of, the newest; of an offer its version alone."""
    found: dict[tuple[object, ...], str] = {}
    for signal in signals:
        about = getattr(signal, "device", None)
        if isinstance(signal, s.Slot):
            about = signal.participant.device
        key = type(signal), about, getattr(signal, "media", None)
        found.pop(key, None)
        found[key] = f"  {_short(signal)}"
    return list(found.values())


def _short(signal: s.BridgeSignal) -> str:
    match signal:
        case s.Offer():
            return f"Offer {signal.generation}, version {signal.version}"
        case s.Welcome():
            return f"Welcome {signal.generation}, {len(signal.participants)} there, waiting {signal.waiting}"
        case s.Slot():
            who = signal.participant
            muted = f"muted {who.audio_muted} {who.video_muted}"
            return f"Slot {who.device.hex()}, {who.part.name}: {signal.audio_mid} {signal.video_mid}, {muted}"
        case s.Paused():
            return f"Paused {signal.device.hex()}: {signal.why.name}, {signal.lines} lines"
        case _:
            return str(signal)
