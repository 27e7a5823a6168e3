"""Two people at two terminals: `leeside chat` in processes of their own, over the server's real sockets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.shell import Shell, line_with
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, settled, texts, until

pytestmark = pytest.mark.slow


async def test_a_sealed_message_goes_from_one_terminal_to_the_other(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    unit = await town.unit(ana)
    async with town.admin.open(stage.url(0)) as office, deniz.open(stage.url(1)) as desk:
        names = await office.openings.channel(ChannelPurpose.AGENCY, [ana.device, deniz.device])
        await (await office.name_unit(names, unit, "Crisis 7")).wait(timeout_s=WAIT_S)
        await (await office.name_member(names, ana.member, "Ana Ruiz")).wait(timeout_s=WAIT_S)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=unit)
    shell = Shell.at(tmp_path / "home")
    ana.save_profile(shell.home, stage.url(0))
    deniz.save_profile(shell.home, stage.url(1))
    async with shell.following("--profile", "deniz", "chat", "Crisis 7", "--follow") as screen:
        await line_with(screen, "Live link")
        sent = await shell.leeside(
            "--json", "--profile", "ana", "chat", "Crisis 7", "--urgent", "--send", "we need a second unit"
        )
        assert sent.value["progress"] == "accepted"
        line = await line_with(screen, "we need a second unit")
        assert "URGENT" in line
        assert "Ana Ruiz" in line
    again = await shell.leeside("--json", "--profile", "deniz", "channel", "list")
    assert channel.hex() in {c["id"] for c in again.value}


# No server is the same on every kind of server.
@pytest.mark.parametrize("shared_stage", ["one"], indirect=True)
async def test_what_is_said_without_a_server_is_kept_and_sent_with_the_next_command(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(stage.url(1)) as desk, ana.open(stage.url(0)) as phone:
        channel = await town.unit_channel(desk, phone)
    shell = Shell.at(tmp_path / "home")
    ana.save_profile(shell.home, stage.url(0))
    profile = ("--json", "--profile", "ana")
    await shell.leeside(*profile, "chat", channel.hex(), "--send", "with signal")
    nowhere = ("--server", "http://127.0.0.1:9")
    kept = await shell.leeside(
        *profile, *nowhere, "chat", channel.hex(), "--send", "without", "--timeout", "1", code=4
    )
    assert msgspec.json.decode(kept.out.splitlines()[0])["progress"] == "waiting"
    await shell.leeside(*profile, "chat", channel.hex(), "--send", "with signal again")
    async with deniz.open(stage.url(1)) as desk:
        await settled(desk, channel)
        said = ["with signal", "without", "with signal again"]
        await until(lambda: texts(desk, channel) == said, "all three, in order")


async def test_a_second_device_of_ones_own_is_held_back_until_its_person_says_that_it_is_theirs(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(stage.url(1)) as desk, ana.open(stage.url(0)) as phone:
        channel = await town.unit_channel(desk, phone)
    shell = Shell.at(tmp_path / "home")
    ana.save_profile(shell.home, stage.url(0))
    profile = ("--json", "--profile", "ana")
    await shell.leeside(*profile, "chat", channel.hex(), "--send", "alone")
    tablet = await town.enrol("tablet", Role.RESPONDER, Discipline.CLINICIAN, member=ana.member)
    # What is said before the phone hears of the tablet is sealed without it; from then on nothing is.
    async with deniz.open(stage.url(1)) as desk:
        await settled(desk, channel)
        await desk.openings.admit(channel, [tablet.device])
        await desk.send(channel, "under the new keys")
        async with shell.following(*profile, "chat", channel.hex(), "--follow") as screen:
            await line_with(screen, "under the new keys")
    send = ("chat", channel.hex(), "--timeout", "60", "--send")
    await shell.leeside(*profile, *send, "who is this?", code=5)
    # Not forgotten when the next command starts.
    await shell.leeside(*profile, *send, "who is this, again?", code=5)
    # Nobody but its own person can say so.
    deniz.save_profile(shell.home, stage.url(1))
    await shell.leeside("--json", "--profile", "deniz", "device", "confirm", tablet.device.hex(), code=1)
    await shell.leeside(*profile, "device", "confirm", tablet.device.hex())
    await shell.leeside(*profile, *send, "it is me")
    async with tablet.open(stage.url(1)) as second:
        await settled(second, channel)
        await until(lambda: texts(second, channel)[-1:] == ["it is me"], "the tablet reads along")
