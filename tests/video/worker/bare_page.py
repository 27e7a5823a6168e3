"""A bare page of a real browser in a call: no client of ours, a peer connection and a transform that makes frames look sealed.

What the bridge itself owes a browser is seen here without anything that could make up for it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from playwright.async_api import Browser, Page, Route

from leeside_protocol.video import signalling as s
from tests.support.call_browser import Media, watching
from tests.support.patience import PATIENCE_S

SEES_S: Final = PATIENCE_S
ADDRESS: Final = "http://localhost/call"
_DOCUMENT: Final = """\
<!doctype html><title>call</title><body><script>
const code = `onrtctransform = ({ transformer }) => {
    const { seals } = transformer.options;
    transformer.readable.pipeThrough(new TransformStream({
        transform(frame, controller) {
            const old = new Uint8Array(frame.data);
            if (seals) {
                const made = new Uint8Array(old.length + 4);
                made.set(old);
                made.set([1, 0x4c, 0x53, 1], old.length);
                frame.data = made.buffer;
            } else frame.data = old.slice(0, Math.max(0, old.length - 4)).buffer;
            controller.enqueue(frame);
        },
    })).pipeTo(transformer.writable);
};`;
const worker = new Worker(URL.createObjectURL(new Blob([code])));
let link;
globalThis.answer = async (sdp, sealed) => {
    const first = link === undefined;
    if (first) {
        link = new RTCPeerConnection({ iceServers: [] });
        link.ontrack = ({ track, receiver }) => {
            receiver.transform = new RTCRtpScriptTransform(worker, { seals: false });
            const element = document.createElement(track.kind);
            Object.assign(element, { autoplay: true, muted: true, srcObject: new MediaStream([track]) });
            document.body.append(element);
        };
    }
    await link.setRemoteDescription({ type: 'offer', sdp });
    if (first) {
        const up = link.getTransceivers().filter(({ mid }) => mid === '0' || mid === '1');
        for (const one of up) {
            one.direction = 'sendonly';
            if (sealed) one.sender.transform = new RTCRtpScriptTransform(worker, { seals: true });
        }
        const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
        for (const one of up) {
            const kind = one.mid === '0' ? 'audio' : 'video';
            await one.sender.replaceTrack(media.getTracks().find((track) => track.kind === kind));
            // The smallest size alone: several browsers share two cores here, and what they cannot keep up with looks like a full link.
            const parameters = one.sender.getParameters();
            for (const encoding of parameters.encodings) encoding.active = (encoding.rid ?? 'q') === 'q';
            await one.sender.setParameters(parameters);
        }
    }
    await link.setLocalDescription();
    return link.localDescription.sdp;
};
globalThis.again = () => { link.close(); link = undefined; };
</script>
"""


class BarePage:
    """A device in a call. `say` hands a signal to the bridge; what it says is given to `hear`."""

    def __init__(self, page: Page, say: Callable[[s.ClientSignal], None], *, sealed: bool = True) -> None:
        self.page = page
        self.media = Media(page)
        self.say = say
        self.sealed = sealed
        self.generation = 1
        self.heard: list[s.BridgeSignal] = []
        self._offers: asyncio.Queue[s.Offer] = asyncio.Queue()
        self._answering = asyncio.ensure_future(self._answer())

    @classmethod
    async def open(
        cls, browser: Browser, say: Callable[[s.ClientSignal], None], *, sealed: bool = True
    ) -> "BarePage":
        """A page of a context of its own."""
        context = await browser.new_context(permissions=["camera", "microphone"])
        await watching(context)
        page = await context.new_page()

        async def serve(route: Route) -> None:
            await route.fulfill(body=_DOCUMENT, content_type="text/html")

        await page.route("**/*", serve)
        await page.goto(ADDRESS)
        return cls(page, say, sealed=sealed)

    def hear(self, body: bytes) -> None:
        signal = s.decode_bridge_signal(body)
        self.heard.append(signal)
        if isinstance(signal, s.Offer) and signal.generation == self.generation:
            self._offers.put_nowait(signal)

    def join(self) -> None:
        self.say(s.Join(self.generation))

    async def join_again(self) -> None:
        """With a new connection."""
        self.generation += 1
        await self.page.evaluate("() => again()")
        self.join()

    async def sees(self, others: int = 1) -> None:
        """Until so many others' pictures move. On a busy machine the estimate of a link takes its time to find room for all."""
        async with asyncio.timeout(SEES_S):
            while True:
                with contextlib.suppress(TimeoutError):
                    await self.media.decodes(others)
                    return

    async def hears(self, others: int = 1) -> None:
        """Until so many others are heard."""
        async with asyncio.timeout(SEES_S):
            while True:
                with contextlib.suppress(TimeoutError):
                    await self.media.hears(others)
                    return

    async def sees_no_more(self, mid: str) -> None:
        """Until the picture of this line stands still while another's moves on."""
        async with asyncio.timeout(SEES_S):
            while True:
                before = (await self.media.now())["decoded"][mid]
                await self.sees(1)
                if (await self.media.now())["decoded"][mid] == before:
                    return

    async def close(self) -> None:
        self._answering.cancel()
        await asyncio.gather(self._answering, return_exceptions=True)
        await self.page.context.close()

    async def _answer(self) -> None:
        while True:
            offer = await self._offers.get()
            sdp: str = await self.page.evaluate(
                "([sdp, sealed]) => answer(sdp, sealed)", [offer.sdp, self.sealed]
            )
            self.say(s.Answer(offer.generation, offer.version, sdp))
