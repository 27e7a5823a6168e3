"""The vector file: every case brings what it says, and the file is what its maker writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.attachments import CHUNK_BYTES, AttachmentKey
from leeside_protocol.sealing.opening.body import encode_body
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.grants import accept_grant
from leeside_protocol.sealing.opening.keys import DeviceKeys, HeldKey, SigningKey
from leeside_protocol.sealing.opening.media import MediaKey, MediaReceiver, base_key, key_and_salt
from leeside_protocol.sealing.opening.records import RecordsPrivateKey, open_archive, open_records_box
from leeside_protocol.sealing.public.acceptance import Receipt
from leeside_protocol.sealing.public.archive import Archive, verify_archive
from leeside_protocol.sealing.public.boxes import Box, BoxList
from leeside_protocol.sealing.public.device_key import parse_device_key
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import digest, pae, sha256
from leeside_protocol.sealing.public.entries import DURABLE, MEDIA, SignedEntry
from leeside_protocol.sealing.public.grant import SealedGrant
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.video.formats import MediaKind
from tests.protocol.sealing.staging import Attempt
from tests.support.make_sealing_vectors import PATH, build

VECTORS: dict[str, Any] = json.loads(PATH.read_text())
POOL: list[bytes] = [bytes.fromhex(item) for item in VECTORS["pool"]]
CHANNEL = VECTORS["channel"]
Case = dict[str, Any]


def un(text: str) -> bytes:
    return bytes.fromhex(text)


def named(section: str) -> pytest.MarkDecorator:
    cases: list[Case] = VECTORS[section]
    return pytest.mark.parametrize("case", cases, ids=[c["name"].replace(" ", "_") for c in cases])


def outcome(error: SealingError | None) -> str | None:
    return None if error is None else error.code.value


def keys_of(name: str) -> DeviceKeys:
    device = CHANNEL["devices"][name]
    keys = DeviceKeys(SigningKey(un(device["identity_seed"])))
    signed = Signed.decode(un(device["device_key"]))
    key = parse_device_key(signed.payload)
    held = HeldKey(key.kid, key.suite, un(device["hpke_private"]), key.kseq, key.not_after_ms, signed)
    keys._held[key.kid] = held  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return keys


def directory() -> Directory:
    entries: list[str] = CHANNEL["entries"]
    return Directory.replay(un(CHANNEL["root"]), [un(e) for e in entries])


def view(name: str) -> SealedChannel:
    keys, known = keys_of(name), directory()
    channel = SealedChannel(ChannelId(un(CHANNEL["channel_id"])), DeviceId(keys.device_id))
    for step in CHANNEL["commits"]:
        boxes = [Box.decode(un(b)) for b in step["boxes"]]
        mine = next((b for b in boxes if b.recipient == keys.device_id), None)
        box_list = BoxList(tuple(un(h) for h in step["box_hashes"]), un(step["box_list_signature"]))
        installed = channel.process_commit(
            Signed.decode(un(step["commit"])),
            Delivery(mine, box_list),
            keys,
            {known.agency_id: known},
            now_ms=VECTORS["now_ms"],
        )
        assert installed.alarm is None
        assert installed.commit.hash.hex() == step["hash"]
        if mine is not None:
            secrets = {str(c): s.hex() for c, s in channel.secrets(installed.commit.epoch).items()}
            assert secrets == step["class_secrets"]
    return channel


def test_the_file_is_what_its_maker_writes() -> None:
    assert build() == VECTORS, "run python -m tests.support.make_sealing_vectors"


def test_encoding() -> None:
    for case in VECTORS["encoding"]["pae"]:
        assert pae(*(un(p) for p in case["parts"])).hex() == case["result"]
    case = VECTORS["encoding"]["digest"]
    assert digest(case["label"].encode(), *(un(p) for p in case["parts"])).hex() == case["result"]


@named("directory")
def test_directory(case: Case) -> None:
    before: list[int] = case["before"]
    known = Directory.replay(un(case["root"]), [POOL[n] for n in before])
    error = None
    try:
        known.apply(SignedEntry.decode(un(case["entry"])), case["now_ms"])
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]


@named("commits")
def test_commit(case: Case) -> None:
    keys: list[int] | None = case["device_keys"]
    before: list[int] = case["before"]
    attempt = Attempt(
        [(un(a["root"]), [POOL[n] for n in a["entries"]]) for a in case["agencies"]],
        [Signed.decode(POOL[n]) for n in before],
        Signed.decode(un(case["commit"])),
        case["now_ms"],
        case["storing"],
        None if keys is None else [Signed.decode(POOL[n]) for n in keys],
    )
    error = None
    try:
        attempt.run()
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]


@pytest.mark.parametrize("name", ["dispatcher", "unit", "clinician"])
def test_boxes(name: str) -> None:
    assert view(name).line.epoch == 1


def test_records_boxes() -> None:
    records = RecordsPrivateKey(un(CHANNEL["records"]["private"]))
    assert records.records_id.hex() == CHANNEL["records"]["id"]
    line = view("unit").line
    for epoch, step in enumerate(CHANNEL["commits"]):
        box = next(b for b in map(Box.decode, map(un, step["boxes"])) if b.recipient == records.records_id)
        classes = open_records_box(records, line.commits[epoch], box).classes
        assert classes == {DURABLE: un(step["class_secrets"]["1"])}


@named("frames")
def test_frame(case: Case) -> None:
    known = directory()
    directories = {known.agency_id: known}
    channel, error = view(case["reader"]), None
    for frame in case["before"]:
        channel.open(un(frame), directories)
    try:
        opened = channel.open(un(case["frame"]), directories)
        assert encode_body(opened.body).hex() == case["body"]
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]


@named("grants")
def test_grant(case: Case) -> None:
    known = directory()
    channel, error = view(case["reader"]), None
    try:
        sealed = SealedGrant.decode(un(case["grant"]))
        accept_grant(channel, sealed, keys_of(case["reader"]), {known.agency_id: known})
        assert channel.secrets(0)[DURABLE].hex() == CHANNEL["commits"][0]["class_secrets"]["1"]
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]


@named("attachments")
def test_attachment(case: Case) -> None:
    key = AttachmentKey(un(case["file_id"]), un(case["key"]), case["size_bytes"])
    error = None
    if "chunk_hashes" in case:
        sealed = key.seal_all([bytes(CHUNK_BYTES)] * (key.size_bytes // CHUNK_BYTES))
        assert [sha256(c).hex() for c in sealed] == case["chunk_hashes"]
        return
    try:
        assert b"".join(key.open_all(un(c) for c in case["chunks"])).hex() == case["plain"]
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]


def test_media() -> None:
    case = VECTORS["media"]
    channel = view("unit")
    epoch = case["epoch"]
    base = base_key(channel.secrets(epoch)[MEDIA], channel.line.commits[epoch].hash, un(case["call_id"]))
    assert base.hex() == case["base_key"]
    kid = int(case["kid"], 16)
    assert tuple(v.hex() for v in key_and_salt(base, kid)) == (case["key"], case["salt"])
    key = MediaKey.derive(base, kid)
    for frame in case["frames"]:
        assert key.decrypt(un(frame), un(case["metadata"])).hex() == case["plain"]


def test_sealed_frames() -> None:
    case = VECTORS["media"]
    channel = view("unit")
    receiver = MediaReceiver(un(case["call_id"]))
    epoch = case["epoch"]
    receiver.start_epoch(channel.secrets(epoch)[MEDIA], channel.line.commits[epoch], VECTORS["now_ms"])
    for frame in case["sealed_frames"]:
        plain, error = None, None
        try:
            sender, media = DeviceId(un(frame["sender"])), MediaKind(frame["media"])
            now_ms = VECTORS["now_ms"] + frame["after_ms"]
            plain = receiver.open_frame(media, un(frame["frame"]), sender, now_ms).hex()
        except SealingError as caught:
            error = caught
        assert (frame["name"], plain, outcome(error)) == (frame["name"], frame["plain"], frame["code"])


def test_seen() -> None:
    head = LogHead()
    for step in VECTORS["seen"]:
        head = head.after(step["seq"], un(step["frame_hash"]))
        assert head.hash.hex() == step["hash"]


@named("archives")
def test_archive(case: Case) -> None:
    records = RecordsPrivateKey(un(CHANNEL["records"]["private"]))
    known, error = directory(), None
    directories, line = {known.agency_id: known}, view("unit").line
    try:
        archive = Archive.decode(un(case["archive"]))
        if case["now_ms"] is not None:
            verify_archive(line, archive, directories, Receipt(case["now_ms"]))
        opened = open_archive(records, archive, line, directories)
        assert {str(e): {str(c): x.hex() for c, x in held.items()} for e, held in opened.items()} == case[
            "secrets"
        ]
    except SealingError as caught:
        error = caught
    assert outcome(error) == case["code"]
