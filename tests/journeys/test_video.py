"""Calls through the real bridge, on one node and on two: sealed from end to end, and repaired when something breaks.

Each peer is the client library's own, with real ICE, DTLS, SRTP and codecs. What the bridge has after SRTP is tried by an
`Outsider` beside a peer: payloads are forwarded as they are.
"""

# ruff: noqa: SLF001  (a wrong key is put where only the library puts one)
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aioice import Connection

from leeside.bodies import Consent, ConsentBy, ConsentMethod
from leeside.client import Leeside
from leeside.media import Call, CallRefused, Outsider, Pattern, Phase
from leeside.media.keys import CallKeys
from leeside.media.receiving import Frame
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId, UnitId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.media import MediaKey, base_key, decode_header
from leeside_protocol.sealing.public.entries import MEDIA
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import metadata, take_apart
from leeside_protocol.video.signalling import GoneWhy, Part
from leeside_protocol.words import Discipline, Role
from tests.faults.node import NodeSettings, VideoBy
from tests.support.shell import Shell, line_with
from tests.support.stage import EACH, Stage, one_node, two_nodes
from tests.support.town import Person, Town, now_ms, open_town, texts, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALL_S = 90.0
"""Far more than anything here takes, on two cores that others use."""
SHOWN = 10
HOUR_MS = 3_600_000


@pytest.fixture(scope="module", params=EACH)
def video_stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """Nodes that hold the bridge, too."""
    folder = tmp_path_factory.mktemp("video")
    if request.param == "one":
        with one_node(folder, NodeSettings(video_by=VideoBy())) as stage:
            yield stage
    else:
        with two_nodes(folder, request.getfixturevalue("postgres_server"), VideoBy()) as stage:
            yield stage


@pytest.fixture
async def town(video_stage: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    await video_stage.ready()
    node = video_stage.node(0)
    async with open_town(node.url, node.codes, tmp_path / "people") as found:
        yield found


@dataclass
class Scene:
    """An accepted consult with a consent in force: Ana and Ben of the unit, Dr Nair, who came, and a supervisor."""

    stage: Stage
    town: Town
    ana: Person
    ben: Person
    priya: Person
    sofia: Person
    consult: ConsultId
    channel: ChannelId
    phone: Leeside
    laptop: Leeside


@asynccontextmanager
async def accepted(stage: Stage, town: Town, *, consented: bool = True) -> AsyncGenerator[Scene]:
    """The scene, with Ana's client on the first node and Dr Nair's on the second."""
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    ben = await town.enrol("ben", Role.RESPONDER, Discipline.PEER_SPECIALIST)
    priya = await town.enrol("priya", Role.PSYCHIATRIST)
    sofia = await town.enrol("sofia", Role.SUPERVISOR)
    unit: UnitId = await town.unit(ana, ben)
    async with sofia.desk(town.url) as office:
        await office.create_ladder(o.NewLadder("nights", (o.LadderStep((), (priya.member.hex(),)),)))
    async with ana.open(stage.url(0)) as phone, priya.open(stage.url(1)) as laptop:
        asked = await phone.consults.request("He hears voices.", unit=unit)
        consult, channel = ConsultId(bytes.fromhex(asked.id)), ChannelId(bytes.fromhex(asked.channel))
        await until(lambda: consult in laptop.consults.known, "it rang")
        await laptop.consults.accept(consult)
        if consented:
            await (await phone.record_consent(channel, agreed())).wait(timeout_s=CALL_S)
        yield Scene(stage, town, ana, ben, priya, sofia, consult, channel, phone, laptop)


@asynccontextmanager
async def talking(
    stage: Stage, town: Town, *, consented: bool = True
) -> AsyncGenerator[tuple[Scene, Call, Call]]:
    """The scene with both in the call: Ana, then Dr Nair. Both send."""
    async with (
        accepted(stage, town, consented=consented) as scene,
        Call.join(scene.phone, scene.consult, source=small()) as near,
        Call.join(scene.laptop, scene.consult, source=small()) as far,
    ):
        yield scene, near, far


def goes_on(call: Call, device: DeviceId) -> Callable[[Call], bool]:
    """That half a second more of a device is heard than now. Sound is what the bridge gives up last, whatever else this machine
    does."""
    heard = call.seen[device].sounds_decoded
    return lambda one: one.seen[device].sounds_decoded > heard + 25


async def stands_still(call: Call, device: DeviceId) -> int:
    """Until half a second was heard of a device and no picture of it came; how many came before. What was on its way when
    its camera went off comes first."""
    async with asyncio.timeout(CALL_S):
        while True:
            shown = call.seen[device].pictures_decoded
            await call.wait_for(goes_on(call, device), CALL_S)
            if call.seen[device].pictures_decoded == shown:
                return shown


def way(call: Call) -> Connection | None:
    """The pair of addresses that a call's media take now."""
    route = None if call._leg is None else call._leg._route
    return None if route is None else route._now


def _nowhere(data: bytes | bytearray | memoryview, to: object = None) -> None:
    """Send a datagram that nobody gets."""
    del data, to


def small() -> Pattern:
    """A picture that a busy machine has time for."""
    return Pattern(160, 120, 8)


def agreed() -> Consent:
    return Consent(
        ConsentBy.PERSON,
        "picture and sound",
        "a consult with a psychiatrist",
        tuple(Part),
        now_ms() + HOUR_MS,
        ConsentMethod.SPOKEN,
    )


def workers(stage: Stage) -> list[int]:
    """The processes that forward, of every node."""
    found: list[int] = []
    for node in stage.nodes:
        for listed in Path(f"/proc/{node.pid}/task").glob("*/children"):
            found += [
                int(pid)
                for pid in _now(listed).split()
                if b"leeside_server.video" in _now(Path(f"/proc/{int(pid)}/cmdline"))
            ]
    return found


def _now(path: Path) -> bytes:
    """What the kernel says there; nothing of a thread or process that has ended meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def shows(device: DeviceId, more_than: int = SHOWN) -> Callable[[Call], bool]:
    """That so many pictures and sounds of a device were decoded."""

    def holds(call: Call) -> bool:
        seen = call.seen.get(device)
        return seen is not None and seen.pictures_decoded > more_than and seen.sounds_decoded > more_than

    return holds


async def sent_by(call: Call, device: DeviceId) -> list[Frame]:
    """Frames of somebody that came to this call, a second and more from now."""
    came: list[Frame] = []

    def tap(sender: DeviceId, frame: Frame) -> None:
        if sender == device:
            came.append(frame)

    call._tap = tap
    await call.wait_for(lambda _: len(came) > 80, CALL_S)
    return came[-SHOWN:]


def none_opens(call: Call, scene: Scene, frames: list[Frame]) -> bool:
    """Whether this call's keys are those of none of these frames, which Dr Nair sent."""
    for frame in frames:
        with pytest.raises(SealingError) as refused:
            call._keys.open(frame.media, frame.data, scene.priya.device, now_ms())
        assert refused.value.code is SealingCode.E_UNKNOWN_EPOCH
    return len(frames) > 0


def media_base(call: Call, scene: Scene) -> bytes:
    """What all keys of the epoch in use come from."""
    sealed = call._channel.sealed
    return base_key(sealed.secrets(call.epoch)[MEDIA], sealed.line.commits[call.epoch].hash, scene.consult)


def opens(base: bytes, frame: Frame) -> bool:
    """Whether a frame can be opened by what this base gives for the very key that it names."""
    parts = take_apart(frame.media, frame.data)
    assert parts is not None
    clear, sealed = parts
    try:
        MediaKey.derive(base, decode_header(sealed)[0]).decrypt(sealed, metadata(frame.media, clear))
    except SealingError as refused:
        if refused.code is not SealingCode.E_AEAD:
            raise
        return False
    return True


async def test_three_see_and_hear_each_other_and_the_bridge_nobody(video_stage: Stage, town: Town) -> None:
    outsider = Outsider()
    async with (
        accepted(video_stage, town) as scene,
        scene.ben.open(video_stage.url(1)) as tablet,
    ):
        consult = scene.consult
        async with (
            Call.join(scene.phone, consult, source=small(), person=True) as near,
            Call.join(scene.laptop, consult, source=small(), sink=outsider, tap=outsider) as far,
        ):
            await near.wait_for(shows(scene.priya.device), CALL_S)
            await far.wait_for(shows(scene.ana.device), CALL_S)
            async with Call.join(tablet, consult, source=small()) as third:
                for call, others in (
                    (near, (scene.priya, scene.ben)),
                    (far, (scene.ana, scene.ben)),
                    (third, (scene.ana, scene.priya)),
                ):
                    for other in others:
                        before = call.seen[other.device].pictures_decoded if other.device in call.seen else 0
                        await call.wait_for(shows(other.device, before + 2), CALL_S)
                assert far.participants[scene.ana.device].person
                # Who came has a new epoch, and so had everybody before.
                await far.wait_for(lambda call: call.epoch == third.epoch == near.epoch, CALL_S)
            await near.wait_for(lambda call: scene.ben.device not in call.participants, CALL_S)
            for call in (near, far):
                for seen in call.seen.values():
                    wrong = set(seen.dropped) - {SealingCode.E_UNKNOWN_EPOCH}
                    assert not wrong, f"dropped: {dict(seen.dropped)}"
                    assert seen.alarm is None
        assert outsider.frames > 2 * SHOWN
        assert outsider.recognised == 0
        # Messaging goes on beside it.
        await scene.phone.send(scene.channel, "thank you")
        await until(lambda: "thank you" in texts(scene.laptop, scene.channel), "the message came")


async def test_a_wrong_key_shows_nothing(video_stage: Stage, town: Town) -> None:
    async with talking(video_stage, town) as (scene, near, far):
        # Everything is right but the call that the keys are of.
        wrong = CallKeys(lambda: near._channel.sealed, scene.ana.device, bytes(16), os.urandom)
        near._showing._keys = wrong
        await far.wait_for(shows(scene.ana.device), CALL_S)
        await near.wait_for(lambda call: bool(call.seen), CALL_S)
        seen = near.seen[scene.priya.device]
        await near.wait_for(lambda _: seen.dropped[SealingCode.E_AEAD] > SHOWN, CALL_S)
        assert seen.pictures_decoded == seen.sounds_decoded == 0
        assert seen.alarm is SealingCode.E_AEAD


async def test_who_is_removed_in_mid_call_opens_nothing_of_the_new_epoch(
    video_stage: Stage, town: Town
) -> None:
    async with (
        talking(video_stage, town) as (scene, near, far),
        scene.ben.open(video_stage.url(0)) as tablet,
        Call.join(tablet, scene.consult) as removed,
    ):
        await removed.wait_for(shows(scene.priya.device), CALL_S)
        await scene.laptop.openings.remove(scene.channel, [scene.ben.device])
        await far.wait_for(lambda call: scene.ben.device not in call.participants, CALL_S)
        epoch = scene.laptop.inside.channel(scene.channel).epoch
        await near.wait_for(lambda call: call.epoch >= epoch, CALL_S)
        assert removed.epoch < epoch
        await removed.wait_for(lambda call: call.phase is Phase.OVER, CALL_S)
        assert removed.gone is GoneWhy.REMOVED
        assert none_opens(removed, scene, await sent_by(near, scene.priya.device))


async def test_nothing_is_sent_before_consent_and_the_team_goes_on_after_a_withdrawal(
    video_stage: Stage, town: Town
) -> None:
    async with talking(video_stage, town, consented=False) as (scene, near, far):
        for call in (near, far):
            await call.wait_for(lambda one: one.phase is Phase.LIVE and bool(one.participants), CALL_S)
        assert [call.speaking.sounds for call in (near, far) if call.speaking is not None] == [0, 0]
        consent = await scene.phone.record_consent(scene.channel, agreed())
        await near.wait_for(shows(scene.priya.device), CALL_S)
        async with asyncio.timeout(CALL_S):
            frames = await sent_by(near, scene.priya.device)
            # A new epoch may be under way, since somebody came a moment ago.
            while not all(opens(before := media_base(far, scene), frame) for frame in frames):
                frames = await sent_by(near, scene.priya.device)
        epoch = far.epoch
        await scene.phone.withdraw_consent(scene.channel, consent.id)
        await far.wait_for(lambda call: call.restricted, CALL_S)
        for call in (near, far):
            await call.wait_for(lambda call: call.epoch > epoch, CALL_S)
        for frame in await sent_by(near, scene.priya.device):
            assert not opens(before, frame), "the keys of before the withdrawal open nothing of after it"
        await scene.phone.record_consent(scene.channel, agreed())
        await far.wait_for(lambda call: not call.restricted, CALL_S)


async def test_a_worker_killed_in_mid_call_is_replaced_and_messages_notice_nothing(
    video_stage: Stage, town: Town
) -> None:
    async with talking(video_stage, town) as (scene, near, far):
        pairs = ((near, scene.priya.device), (far, scene.ana.device))
        for call, other in pairs:
            await call.wait_for(shows(other), CALL_S)
        since_ms = scene.phone.link.since_ms
        killed = workers(video_stage)
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        shown = [call.seen[other].pictures_decoded for call, other in pairs]
        for (call, other), before in zip(pairs, shown, strict=True):
            await call.wait_for(goes_on(call, other), CALL_S)
            await call.wait_for(shows(other, before + 1), CALL_S)
        assert scene.phone.link.since_ms == since_ms
        await scene.phone.send(scene.channel, "still here")
        await until(lambda: "still here" in texts(scene.laptop, scene.channel), "the message came")


async def test_a_muted_picture_stays_away_and_sound_goes_on(video_stage: Stage, town: Town) -> None:
    async with talking(video_stage, town) as (scene, near, far):
        await near.wait_for(shows(scene.priya.device), CALL_S)
        await far.mute(MediaKind.VIDEO)
        shown = await stands_still(near, scene.priya.device)
        await far.mute(MediaKind.VIDEO, muted=False)
        await near.wait_for(shows(scene.priya.device, shown + SHOWN), CALL_S)


async def test_a_path_that_falls_silent_is_replaced_by_another_and_the_seat_stays(
    video_stage: Stage, town: Town
) -> None:
    async with talking(video_stage, town) as (scene, near, far):
        ana = scene.ana.device
        await far.wait_for(shows(ana), CALL_S)
        since_ms = far.participants[ana].since_ms
        dead = way(near)
        assert dead is not None

        # Whatever this side sends by the way it has goes nowhere from now on. Also what proves that the way is there: who still did
        # that would be one who has nothing to send.
        for protocol in dead._protocols:
            protocol.transport.sendto = _nowhere  # type: ignore[method-assign, assignment]
        await near.wait_for(lambda call: way(call) not in (None, dead), CALL_S)
        await far.wait_for(goes_on(far, ana), CALL_S)
        assert far.participants[ana].since_ms == since_ms


async def test_a_supervisor_waits_until_somebody_of_the_call_lets_them_in(
    video_stage: Stage, town: Town
) -> None:
    async with (
        talking(video_stage, town) as (scene, near, far),
        scene.sofia.open(video_stage.url(1)) as office,
        Call.join(office, scene.consult, source=small()) as late,
    ):
        sofia = scene.sofia.device
        await late.wait_for(lambda call: call.phase is Phase.WAITING, CALL_S)
        await near.wait_for(lambda call: sofia in call.waiting and bool(call.participants), CALL_S)
        assert sofia not in near.participants
        assert late.seen == {}
        await near.admit(sofia)
        await late.wait_for(shows(scene.priya.device), CALL_S)
        for call in (near, far):
            await call.wait_for(shows(sofia), CALL_S)
            assert call.participants[sofia].part is Part.SUPERVISOR
        assert near.waiting == {}


async def test_a_consult_that_nobody_accepted_has_no_call(video_stage: Stage, town: Town) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    priya = await town.enrol("priya", Role.PSYCHIATRIST)
    sofia = await town.enrol("sofia", Role.SUPERVISOR)
    async with sofia.desk(town.url) as office:
        await office.create_ladder(o.NewLadder("nights", (o.LadderStep((), (priya.member.hex(),)),)))
    async with ana.open(video_stage.url(0)) as phone:
        asked = await phone.consults.request("He hears voices.")
        async with Call.join(phone, ConsultId(bytes.fromhex(asked.id)), source=small()) as call:
            with pytest.raises(CallRefused) as refused:
                await call.wait_for(lambda one: one.phase is Phase.LIVE, CALL_S)
            assert refused.value.code is WireError.CONFLICT
            assert call.phase is Phase.REFUSED


async def test_a_terminal_is_in_the_call_and_says_what_comes(
    video_stage: Stage, town: Town, tmp_path: Path
) -> None:
    async with talking(video_stage, town) as (scene, near, far):
        home = tmp_path / "terminal"
        profile = scene.ben.save_profile(home, video_stage.url(0))
        shell = Shell.at(home)
        async with shell.following(
            "--json", "--profile", profile, "consult", "video", scene.consult.hex()
        ) as lines:
            for call in (near, far):
                await call.wait_for(shows(scene.ben.device), CALL_S)
            told = {scene.ana.device.hex(), scene.priya.device.hex()}
            while told:
                line = msgspec.json.decode(await line_with(lines, '"device"'))
                assert line["alarm"] is None
                if line["pictures"] > SHOWN and line["sounds"] > SHOWN:
                    told.discard(line["device"])
