"""Whatever bytes come in, a decoder answers with a value or a `SealingError`, never otherwise."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.body import decode_body
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.grants import make_grant
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.media import decode_header
from leeside_protocol.sealing.public.archive import Archive, parse_archive_label
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.commit import parse_commit
from leeside_protocol.sealing.public.device_key import parse_device_key
from leeside_protocol.sealing.public.encoding import decode
from leeside_protocol.sealing.public.entries import DURABLE, SignedEntry, parse_entry
from leeside_protocol.sealing.public.frame import parse_frame
from leeside_protocol.sealing.public.grant import SealedGrant, parse_grant
from leeside_protocol.sealing.public.signed import Signed
from tests.protocol.sealing.world import NOW_MS, body, small_world

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def _signed(payload: bytes) -> Signed:
    return Signed(payload, bytes(16), bytes(64))


DECODERS: dict[str, Callable[[bytes], object]] = {
    "value": decode,
    "signed": Signed.decode,
    "entry": lambda b: parse_entry(SignedEntry.decode(b).signed.payload),
    "entry payload": parse_entry,
    "commit": lambda b: parse_commit(_signed(b)),
    "device key": parse_device_key,
    "grant": lambda b: parse_grant(SealedGrant.decode(b).signed),
    "grant payload": lambda b: parse_grant(_signed(b)),
    "box": Box.decode,
    "frame": parse_frame,
    "body": decode_body,
    "archive": Archive.decode,
    "archive label": lambda b: parse_archive_label(_signed(b)),
    "media header": decode_header,
    "channel export": SealedChannel.restore,
    "keys export": DeviceKeys.restore,
}


def _samples() -> list[bytes]:
    world = small_world()
    made = world.genesis("dispatcher", "unit", "clinician", records=True)
    dispatcher = world.view("dispatcher", made)
    grant = make_grant(
        dispatcher,
        world.keys["dispatcher"],
        to=world.id("unit"),
        epochs=(0,),
        class_mask=1 << DURABLE,
        directories=world.directories,
        device_keys=world.book,
        now_ms=NOW_MS,
    )
    return [
        made.commit.signed.payload,
        made.commit.signed.encode(),
        made.boxes[0].encode(),
        world.log[-1],
        SignedEntry.decode(world.log[-1]).signed.payload,
        world.keys["unit"].newest.payload,
        grant.encode(),
        grant.signed.payload,
        world.say("dispatcher", dispatcher),
        world.keys["unit"].export(),
        dispatcher.export(),
        msgpack.packb(["chat", NOW_MS, bytes(16), None, body().data]),
    ]


SAMPLES = _samples()


def survive(data: bytes) -> None:
    for name, decoder in DECODERS.items():
        try:
            decoder(data)
        except SealingError:
            continue
        except Exception as error:
            raise AssertionError(f"{name} let {type(error).__name__} through") from error


@SETTINGS
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    survive(data)


@SETTINGS
@given(st.sampled_from(SAMPLES), st.integers(0, 2**16), st.binary(max_size=4), st.integers(0, 6))
def test_good_bytes_changed(sample: bytes, at: int, put: bytes, cut: int) -> None:
    at %= len(sample) + 1
    survive(sample[:at] + put + sample[at + cut :])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=24,
)


@SETTINGS
@given(st.lists(VALUES, max_size=19))
def test_any_array(values: list[object]) -> None:
    survive(msgpack.packb(values))


@SETTINGS
@given(st.sampled_from(SAMPLES), st.integers(0, 20), VALUES)
def test_good_arrays_with_another_field(sample: bytes, index: int, value: object) -> None:
    try:
        fields: list[object] = list(decode(sample, maps=True))
    except SealingError:
        return  # a frame is no array
    fields[index % len(fields)] = value
    survive(msgpack.packb(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",  # an array said to hold 4 billion values
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 5000 + b"\xc0",
        b"\x81\xa1a" * 2000,
        b"\x92\x82\xa1a\x01\xa1a\x02\xc0",  # a key twice
        b"\x91\xa2\xff\xfe",  # not UTF-8
        b"\x91\xd6\xff\0\0\0\0",  # a timestamp
        b"\x91\xc7\0\5",
        b"\x91\xc1",
        b"\x91" + b"\xa1\xed",
    ],
)
def test_bombs_and_oddities(data: bytes) -> None:
    survive(data)
    with pytest.raises(SealingError):
        decode(data, maps=True)
