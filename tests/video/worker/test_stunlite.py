"""Binding requests: those that aioice writes are read and answered, and nothing else is."""

import random

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from leeside_server.video.stunlite import REQUEST_BYTES, is_proven, read_request, write_success

PASSWORD = b"0123456789abcdef0123456789abcdef"


def request(username: str = "ours:theirs", *, nominates: bool = False, password: bytes = PASSWORD) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = username
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 7
    if nominates:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password)
    return bytes(message)


def buffered(data: bytes) -> bytearray:
    return bytearray(data.ljust(2_048, b"\xff"))


@pytest.mark.parametrize("nominates", [False, True])
def test_a_request_is_read_and_proven(nominates: bool) -> None:
    data = request(nominates=nominates)
    found = read_request(buffered(data), len(data))
    assert found is not None
    assert (found.ufrag, found.nominates, found.transaction) == (b"ours", nominates, data[8:20])
    assert is_proven(buffered(data), found, PASSWORD)
    assert not is_proven(buffered(data), found, PASSWORD[:-1] + b"0")


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_the_answer_is_one_that_aioice_believes(host: str) -> None:
    answer = stun.parse_message(write_success(bytes(range(12)), host, 40_000, PASSWORD))
    assert answer.message_class is stun.Class.RESPONSE
    assert answer.transaction_id == bytes(range(12))
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == (host, 40_000)
    assert answer.check_message_integrity(PASSWORD)
    assert not answer.check_message_integrity(b"another")


def test_an_address_of_ipv4_within_ipv6_is_told_as_what_it_is() -> None:
    answer = stun.parse_message(write_success(bytes(12), "::ffff:192.0.2.7", 9, PASSWORD))
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.7", 9)


def test_every_changed_bit_is_noticed() -> None:
    data = request()
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        found = read_request(buffered(bytes(changed)), len(data))
        assert found is None or not is_proven(buffered(bytes(changed)), found, PASSWORD)


def test_every_shorter_request_is_refused() -> None:
    data = request()
    assert all(read_request(buffered(data[:length]), length) is None for length in range(len(data)))


def test_a_request_without_integrity_is_refused() -> None:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = "ours:theirs" * 4
    message.add_fingerprint()
    assert read_request(buffered(bytes(message)), len(bytes(message))) is None


def test_a_user_name_behind_the_integrity_is_not_read() -> None:
    data = request("mine:theirs")
    good = read_request(buffered(data), len(data))
    assert good is not None
    head, tail = data[: good.integrity_at], data[good.integrity_at : -8]
    # The same attributes, the proof first: what follows a proof is not covered by it.
    moved = head[:20] + tail + head[20:]
    message = moved[:2] + (len(moved) - 12).to_bytes(2, "big") + moved[4:]
    fingerprint = stun.message_fingerprint(message)
    message += b"\x80\x28\x00\x04" + fingerprint.to_bytes(4, "big")
    assert read_request(buffered(message), len(message)) is None


@given(st.binary(max_size=REQUEST_BYTES + 40))
def test_whatever_comes_raises_nothing(data: bytes) -> None:
    assert read_request(buffered(data), len(data)) is None


def test_what_is_half_a_request_raises_nothing() -> None:
    draw = random.Random(5)
    data = request(nominates=True)
    for _ in range(2_000):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(20, len(data) - 8)] = draw.randrange(256)
        body = bytes(changed[:-8])
        whole = body + b"\x80\x28\x00\x04" + stun.message_fingerprint(body).to_bytes(4, "big")
        found = read_request(buffered(whole), len(whole))
        assert found is None or len(found.ufrag) <= 256
