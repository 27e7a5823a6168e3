"""What the web client sealed opens here: commits, boxes, frames, grants, archives, media, attachments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leeside_protocol.ids import ChannelId
from leeside_protocol.sealing.opening.attachments import AttachmentKey
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.grants import open_grant
from leeside_protocol.sealing.opening.keys import DeviceKeys, HeldKey, SigningKey
from leeside_protocol.sealing.opening.media import MediaReceiver
from leeside_protocol.sealing.opening.records import RecordsPrivateKey, open_archive, open_records_box
from leeside_protocol.sealing.public.acceptance import ChannelLine, Receipt, verify_commit
from leeside_protocol.sealing.public.archive import Archive
from leeside_protocol.sealing.public.boxes import Box, verify_boxes
from leeside_protocol.sealing.public.device_key import DeviceKeyBook, parse_device_key
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import decode
from leeside_protocol.sealing.public.entries import DURABLE, MEDIA
from leeside_protocol.sealing.public.grant import SealedGrant, verify_grant
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.video.formats import MediaKind
from tests.support.make_sealing_vectors import PATH

SEALED: dict[str, Any] = json.loads(PATH.with_name("sealed-by-web.json").read_text())
NOW_MS: int = SEALED["now_ms"]
un = bytes.fromhex


class Side:
    """The unit's part, the server's and the custodian's."""

    def __init__(self) -> None:
        self.directory = Directory.replay(un(SEALED["root"]), [un(e) for e in SEALED["entries"]])
        self.directories = {self.directory.agency_id: self.directory}
        self.records = RecordsPrivateKey(un(SEALED["records_private"]))
        self.book = DeviceKeyBook()
        self.keys = DeviceKeys(SigningKey(un(SEALED["unit"]["identity_seed"])))
        for text in SEALED["device_keys"]:
            signed = Signed.decode(un(text))
            key = parse_device_key(signed.payload)
            self.book.add(signed, self.directory.live_device(key.device_id))
            if key.device_id == self.keys.device_id:
                private = un(SEALED["unit"]["hpke_private"])
                held = HeldKey(key.kid, key.suite, private, key.kseq, key.not_after_ms, signed)
                self.keys._held[key.kid] = held  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self.line = ChannelLine(ChannelId(un(SEALED["channel_id"])))
        self.unit = SealedChannel(self.line.channel_id, self.keys.device_id)
        for step in SEALED["commits"]:
            self.take(step)

    def take(self, step: dict[str, Any]) -> None:
        signed = Signed.decode(un(step["commit"]))
        commit = verify_commit(self.line, signed, self.directories, Receipt(NOW_MS, self.book, storing=True))
        committer = self.directory.device(commit.committer)
        assert committer is not None
        boxes = [Box.decode(un(b)) for b in step["boxes"]]
        box_list = verify_boxes(commit, boxes, un(step["box_list_signature"]), committer.public)
        assert [h.hex() for h in box_list.hashes] == step["box_hashes"]
        self.line.install(commit)
        by_recipient = {b.recipient: b for b in boxes}
        delivery = Delivery(by_recipient[self.keys.device_id], box_list)
        installed = self.unit.process_commit(signed, delivery, self.keys, self.directories, now_ms=NOW_MS)
        assert installed.alarm is None
        opened = open_records_box(self.records, commit, by_recipient[self.records.records_id])
        assert opened.classes == {DURABLE: self.unit.secrets(commit.epoch)[DURABLE]}


@pytest.fixture(scope="module")
def side() -> Side:
    return Side()


def test_commits_and_boxes(side: Side) -> None:
    assert side.unit.epochs_held() == (0, 1)


def test_frames(side: Side) -> None:
    for said in SEALED["frames"]:
        assert side.unit.open(un(said["frame"]), side.directories).body.data == said["data"]


def test_grant(side: Side) -> None:
    sealed = SealedGrant.decode(un(SEALED["grant"]))
    grant = verify_grant(side.line, sealed.signed, side.directories, Receipt(NOW_MS))
    for epoch, secrets in open_grant(grant, sealed, side.records.held).items():
        assert secrets == {DURABLE: side.unit.secrets(epoch)[DURABLE]}


def test_archive(side: Side) -> None:
    archive = Archive.decode(un(SEALED["archive"]))
    opened = open_archive(side.records, archive, side.line, side.directories)
    assert opened == {epoch: {DURABLE: side.unit.secrets(epoch)[DURABLE]} for epoch in (0, 1)}


def test_media(side: Side) -> None:
    receiver = MediaReceiver(un(SEALED["call_id"]))
    receiver.start_epoch(side.unit.secrets(1)[MEDIA], side.unit.head, NOW_MS)
    sender = side.unit.head.roster[0].device_id
    for frame, plain in SEALED["media"]:
        assert receiver.open_frame(MediaKind.VIDEO, un(frame), sender, NOW_MS) == un(plain)


def test_attachment() -> None:
    key = AttachmentKey.parse(list(decode(un(SEALED["attachment"]))))
    assert b"".join(key.open_all(un(c) for c in SEALED["chunks"])) == b"photo"
