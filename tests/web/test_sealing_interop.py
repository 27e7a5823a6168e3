"""One channel, two clients: what Python sealed opens in a browser, and what the browser sealed opens in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leeside_protocol.sealing.opening.body import encode_body
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.opening.grants import accept_grant
from leeside_protocol.sealing.opening.records import open_records_box
from leeside_protocol.sealing.public.acceptance import Receipt, verify_commit
from leeside_protocol.sealing.public.boxes import Box, verify_boxes
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.device_key import parse_device_key
from leeside_protocol.sealing.public.encoding import Value
from leeside_protocol.sealing.public.enrolment import short_code
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL
from leeside_protocol.sealing.public.grant import SealedGrant
from leeside_protocol.sealing.public.signed import Signed
from tests.protocol.sealing.world import NOW_MS, World
from tests.web.sealing_page import BROWSERS, page_run, run_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SAY: list[tuple[int, str]] = [
    (DURABLE, "on my way"),
    (DURABLE, "Straße gesperrt, über den Hof: 世界"),
    (DURABLE, "long " * 2000),
    (EPHEMERAL, "typing"),
]
TOLD: list[tuple[Value, int]] = [
    ("on my way", DURABLE),
    ({"text": "ü", "numbers": [-1, 0, 2**53 - 1, -(2**53) + 1], "none": None, "bytes": b"\x00\xff"}, DURABLE),
    (["nested", [[[["deep"]]]], {"a": {"b": True}}], DURABLE),
    ({"lat_e7": 525200000, "lon_e7": -134050000}, EPHEMERAL),
]


class Stage:
    """A channel of two whose second commit, made in Python, admits a third."""

    def __init__(self) -> None:
        w = self.world = World()
        for name in ("python", "browser", "newcomer"):
            w.enrol(name)
        w.add_records()
        self.made: list[MadeCommit] = [w.genesis("python", "browser", records=True)]
        self.channel = w.view("python", *self.made)
        self.frames: list[tuple[bytes, bytes]] = []
        self.tell()
        admit = Change(CommitReason.MEMBER, admit=(w.seat("newcomer"),))
        self.made.append(w.commit("python", self.channel, admit))
        w.process("python", self.channel, self.made[-1])
        self.tell()

    def tell(self) -> None:
        """Say all of `TOLD` in the newest epoch."""
        # A frame is opened by another device than its sender, as here by a view that is not kept.
        reader = self.world.view("browser", *self.made)
        for data, key_class in TOLD:
            frame = self.world.say("python", self.channel, data, key_class=key_class)
            opened = reader.open(frame, self.world.directories)
            self.frames.append((frame, encode_body(opened.body)))

    def given(self) -> dict[str, Any]:
        """All that the page needs, in the shape of the vectors."""
        w = self.world
        keys = w.keys["browser"]
        held = keys.held(parse_device_key(keys.newest.payload).kid)
        return {
            "now_ms": NOW_MS,
            "channel": {
                "root": w.root.key.public.hex(),
                "entries": [entry.hex() for entry in w.log],
                "channel_id": self.channel.channel_id.hex(),
                "devices": {
                    "browser": {
                        "device_id": keys.device_id.hex(),
                        "identity_seed": keys.identity.seed.hex(),
                        "hpke_private": held.private.hex(),
                        "device_key": keys.newest.encode().hex(),
                    }
                },
                "records": {"id": w.records.records_id.hex(), "private": ""},
                "commits": [self.step(made) for made in self.made],
            },
            "device_keys": [k.newest.encode().hex() for k in w.keys.values()],
            "frames": [{"frame": frame.hex(), "body": body.hex()} for frame, body in self.frames],
            "say": [{"key_class": key_class, "text": text} for key_class, text in SAY],
            "grant_to": w.id("newcomer").hex(),
        }

    def step(self, made: MadeCommit) -> dict[str, Any]:
        secrets = self.channel.secrets(made.commit.epoch)
        return {
            "commit": made.commit.signed.encode().hex(),
            "hash": made.commit.hash.hex(),
            "boxes": [box.encode().hex() for box in made.boxes],
            "box_hashes": [h.hex() for h in made.box_list.hashes],
            "box_list_signature": made.box_list.signature.hex(),
            "class_secrets": {str(c): secret.hex() for c, secret in secrets.items()},
        }

    def process(self, name: str, channel: SealedChannel, signed: Signed, delivery: Delivery) -> None:
        keys = self.world.keys[name]
        installed = channel.process_commit(signed, delivery, keys, self.world.directories, now_ms=NOW_MS)
        assert installed.alarm is None


@pytest.mark.parametrize("browser_name", BROWSERS)
def test_each_opens_what_the_other_sealed(browser_name: str, tmp_path: Path) -> None:
    stage = Stage()
    world, directories = stage.world, stage.world.directories
    file = tmp_path / "interop.json"
    file.write_text(json.dumps(stage.given()))
    report = run_page(browser_name, interop=file)
    assert report["passed"]["interop with Python"] == 2 + len(stage.frames)
    made = report["made"]

    # The server's checks, then a member's.
    signed = Signed.decode(bytes.fromhex(made["commit"]))
    receipt = Receipt(NOW_MS, world.book, storing=True)
    commit = verify_commit(stage.channel.line, signed, directories, receipt)
    assert (commit.committer, commit.epoch) == (world.id("browser"), 2)
    boxes = {box.recipient: box for box in (Box.decode(bytes.fromhex(b)) for b in made["boxes"])}
    signature = bytes.fromhex(made["box_list_signature"])
    committer = world.keys["browser"].identity.public
    box_list = verify_boxes(commit, list(boxes.values()), signature, committer)
    newcomer = world.view("newcomer", *stage.made)
    for name, channel in (("python", stage.channel), ("newcomer", newcomer)):
        stage.process(name, channel, signed, Delivery(boxes[world.id(name)], box_list))
    opened_box = open_records_box(world.records, commit, boxes[world.records.records_id])
    assert opened_box.classes == {DURABLE: stage.channel.secrets(2)[DURABLE]}

    for (key_class, text), sealed in zip(SAY, made["frames"], strict=True):
        opened = stage.channel.open(bytes.fromhex(sealed["frame"]), directories)
        assert (opened.header.sender, opened.header.key_class) == (world.id("browser"), key_class)
        assert encode_body(opened.body).hex() == sealed["body"]
        urgent = key_class == DURABLE
        assert opened.body.data == {"text": text, "urgent": urgent, "ephemeral": not urgent}

    assert DURABLE not in newcomer.secrets(0)
    grant = SealedGrant.decode(bytes.fromhex(made["grant"]))
    accept_grant(newcomer, grant, world.keys["newcomer"], directories)
    assert newcomer.secrets(0)[DURABLE] == stage.channel.secrets(0)[DURABLE]

    device_key = Signed.decode(bytes.fromhex(made["device_key"]))
    added = world.book.add(device_key, world.directory.live_device(world.id("browser")))
    assert added.kseq == 2
    assert made["short_code"] == short_code(committer, device_key.payload)


def test_a_check_that_fails_is_told(tmp_path: Path) -> None:
    """Lest a page that checks nothing pass: one frame is altered, and one says something else than it should."""
    given = Stage().given()
    altered, other = given["frames"][0], given["frames"][1]
    altered["frame"] = altered["frame"][:-2] + ("00" if altered["frame"][-2:] != "00" else "01")
    other["body"] = given["frames"][2]["body"]
    file = tmp_path / "interop.json"
    file.write_text(json.dumps(given))
    code, report = page_run("chromium", interop=file)
    assert code == 1
    assert [failure["name"] for failure in report["failed"]] == ["its frame 0", "its frame 1"]
    assert "E_AEAD" in report["failed"][0]["why"]
