"""What a client does without being asked: its own keys renewed, published and kept, and those of quiet channels."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from leeside.api import Unreachable
from leeside_protocol import resources as r
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.device_key import parse_device_key
from tests.client.people import Person, channel_of, person, texts
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import eventually, play


def test_keys_are_renewed_daily_and_published(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana = person(relay, tmp_path)
        async with ana.open() as a:
            before = relay.device_keys[a.device]
            await asyncio.sleep(90_000)
            assert relay.device_keys[a.device] != before
            assert ana.keystore.values["device/keys"] == ana.keys.export()

    play(story())


def test_a_new_key_is_published_until_the_server_has_it_and_the_old_one_kept_until_then(
    tmp_path: Path,
) -> None:
    """Who is sealed to under a key that is gone reads nothing; the signal that fails just then must not cost a day."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            before = relay.device_keys[a.device]
            real = ana.http.put_device_key

            async def unreachable(body: r.PutDeviceKey) -> None:
                raise Unreachable("the server did not answer in time", sent=True)

            ana.http.put_device_key = unreachable  # type: ignore[method-assign]
            await asyncio.sleep(90_000)
            assert relay.device_keys[a.device] == before
            await b.openings.rekey(channel)
            await (await b.send(channel, "sealed to the old key")).wait(timeout_s=30)
            await eventually(lambda: "sealed to the old key" in texts(a, channel))
            ana.http.put_device_key = real  # type: ignore[method-assign]
            await asyncio.sleep(180)
            assert relay.device_keys[a.device] == ana.keys.newest.encode() != before

    play(story())


def test_a_key_that_a_crash_kept_from_being_published_is_published_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana = person(relay, tmp_path)
        ana.keys.rotate(secrets.token_bytes, relay.clock.now_ms())
        async with ana.open() as a:
            await eventually(lambda: relay.device_keys[a.device] == ana.keys.newest.encode())
            assert ana.keystore.values["device/keys"] == ana.keys.export()

    play(story())


def test_of_two_processes_one_renews_the_devices_key_and_its_private_half_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        window = person(relay, tmp_path)
        window.keystore.put("device/keys", window.keys.export())
        command = Person(
            relay, DeviceKeys.restore(window.keys.export()), window.folder, keystore=window.keystore
        )
        async with window.open() as one, command.open():
            before = relay.device_keys[one.device]
            await asyncio.sleep(90_000)
            published = relay.device_keys[one.device]
            kept = DeviceKeys.restore(window.keystore.values["device/keys"])
            assert before != published == kept.newest.encode()

    play(story())


def test_a_key_that_the_server_finds_too_old_is_followed_by_a_newer_one(tmp_path: Path) -> None:
    """A keystore brought back from a copy counts where the device was then."""

    async def story() -> None:
        relay = RelayDouble()
        ana = person(relay, tmp_path)
        beyond = DeviceKeys.restore(ana.keys.export())
        for _ in range(2):
            beyond.rotate(secrets.token_bytes, relay.clock.now_ms())
        relay.device_keys[ana.keys.device_id] = beyond.newest.encode()
        async with ana.open() as a:
            await eventually(lambda: parse_device_key(ana.keys.newest.payload).kseq == 4, 600)
            await asyncio.sleep(90)
            assert relay.device_keys[a.device] == ana.keys.newest.encode()
            assert parse_device_key(ana.keys.newest.payload).kseq == 4

    play(story())


def test_a_quiet_channel_gets_new_keys_after_four_hours(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            await asyncio.sleep(4 * 3_600 + 120)
            assert relay.rooms[channel].line.epoch == 1

    play(story())
