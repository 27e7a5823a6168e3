"""Writes `protocol/vectors/sealing.json`: sealing by example, right and wrong, from fixed seeds.

    python -m tests.support.make_sealing_vectors

Byte strings are lowercase hexadecimal.  Long strings that recur stand once in `pool`, and
are named by their index.  A case with a `code` must be refused with exactly that code; one
with `code` null must be accepted.  The same bytes come out each time, because the boxes are
sealed by the reference with fixed ephemeral keys.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.attachments import CHUNK_BYTES, AttachmentKey
from leeside_protocol.sealing.opening.body import encode_body
from leeside_protocol.sealing.opening.boxes import box_info
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.opening.frames import FrameSender
from leeside_protocol.sealing.opening.grants import grant_info, make_grant
from leeside_protocol.sealing.opening.media import DUPLICATE_MS, MediaKey, base_key, media_sender
from leeside_protocol.sealing.public.archive import Archive, encode_archive_label
from leeside_protocol.sealing.public.boxes import Box, BoxList, box_list_input
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.encoding import PREFIX, Packable, digest, encode, pae, sha256
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL, MEDIA, RecordsId
from leeside_protocol.sealing.public.grant import SealedGrant, encode_grant, parse_grant
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE, KIND_GRANT
from leeside_protocol.video import frames
from leeside_protocol.video.formats import MediaKind
from tests.protocol.sealing.cases import CASES, GOOD
from tests.protocol.sealing.staging import Attempt, Stage
from tests.protocol.sealing.test_directory import CASES as DIRECTORY_CASES
from tests.protocol.sealing.test_frames import TAMPERED
from tests.protocol.sealing.world import NOW_MS, World, body, seed, seeded, small_world
from tests.support.hpke_reference import Reference

PATH = Path(__file__).parents[2] / "protocol" / "vectors" / "sealing.json"

Json = dict[str, Any]


class Pool:
    """Byte strings that recur, each written once."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}

    def put(self, data: bytes) -> int:
        return self.items.setdefault(data.hex(), len(self.items))


def build() -> Json:
    """The whole file as plain values."""
    pool = Pool()
    members = _Members()
    document: Json = {
        "about": "Leeside sealing, spec chapter 04. Byte strings are hexadecimal; numbers in `pool` name its items.",
        "now_ms": NOW_MS,
        "encoding": _encoding(),
        "directory": _directory(pool),
        "commits": [_commit(pool, name, None, GOOD[name](Stage())) for name in GOOD]
        + [_commit(pool, name, code, make(Stage())) for name, (code, make) in CASES.items()],
        "channel": members.channel(),
        "frames": members.frames(),
        "grants": members.grants(),
        "archives": members.archives(),
        "attachments": _attachments(),
        "media": members.media(),
        "seen": _seen(),
    }
    document["pool"] = list(pool.items)
    return document


def _encoding() -> Json:
    return {
        "pae": [
            {"parts": [p.hex() for p in parts], "result": pae(*parts).hex()}
            for parts in ((), (b"",), (b"a", b"bc"))
        ],
        "digest": {"label": "agency", "parts": ["00"], "result": digest(b"agency", b"\0").hex()},
    }


def _directory(pool: Pool) -> list[Json]:
    whole = small_world()
    whole.revoke("spare")
    cases: list[Json] = [
        {
            "name": "accepted",
            "code": None,
            "root": whole.root.key.public.hex(),
            "before": [pool.put(e) for e in whole.log[:-1]],
            "entry": whole.log[-1].hex(),
            "now_ms": NOW_MS,
        }
    ]
    for name, (code, make) in DIRECTORY_CASES.items():
        world = World()
        signed = make(world)
        cases.append(
            {
                "name": name,
                "code": code.value,
                "root": world.root.key.public.hex(),
                "before": [pool.put(e) for e in world.log],
                "entry": signed.encode().hex(),
                "now_ms": NOW_MS if code.value == "E_CLOCK" else None,
            }
        )
    return cases


def _commit(pool: Pool, name: str, code: str | None, attempt: Attempt) -> Json:
    keys = attempt.device_keys
    return {
        "name": name,
        "code": code,
        "agencies": [
            {"root": root.hex(), "entries": [pool.put(e) for e in log]} for root, log in attempt.agencies
        ],
        "before": [pool.put(s.encode()) for s in attempt.before],
        "commit": attempt.signed.encode().hex(),
        "now_ms": attempt.now_ms,
        "storing": attempt.storing,
        "device_keys": None if keys is None else [pool.put(k.encode()) for k in keys],
    }


class _Members:
    """Dispatcher, unit and records key through two epochs; a clinician joins in the second."""

    def __init__(self) -> None:
        w = self.world = small_world()
        self.first = self._fixed(w.genesis("dispatcher", "unit", records=True), "first")
        self.dispatcher = w.view("dispatcher", self.first)
        change = Change(CommitReason.MEMBER, admit=(w.seat("clinician"),))
        self.second = self._fixed(w.commit("dispatcher", self.dispatcher, change), "second")
        w.process("dispatcher", self.dispatcher, self.second)

    def _private(self, recipient: bytes, kid: bytes) -> bytes:
        if recipient == self.world.records.records_id:
            return self.world.records.held.private
        return next(k for k in self.world.keys.values() if k.device_id == recipient).held(kid).private

    def _fixed(self, made: MadeCommit, name: str) -> MadeCommit:
        """The same commit with boxes sealed by the reference."""
        boxes: list[Box] = []
        for number, box in enumerate(made.boxes):
            private = self._private(box.recipient, box.kid)
            info = box_info(made.commit.hash, box.recipient, box.kid)
            plain = hpke.unseal(box.suite, private, info, box.sealed)
            sealed = Reference.seal(hpke.public_of(private), info, plain, seed(f"{name}{number}"))
            boxes.append(replace(box, sealed=sealed))
        hashes = tuple(b.hash for b in boxes)
        signature = self.world.keys["dispatcher"].identity.sign_raw(box_list_input(made.commit, hashes))
        return MadeCommit(made.commit, tuple(boxes), BoxList(hashes, signature))

    def channel(self) -> Json:
        w = self.world
        return {
            "root": w.root.key.public.hex(),
            "entries": [e.hex() for e in w.log],
            "channel_id": self.first.commit.channel_id.hex(),
            "devices": {
                name: {
                    "device_id": keys.device_id.hex(),
                    "identity_seed": keys.identity.seed.hex(),
                    "hpke_private": self._private(keys.device_id, _kid(keys.newest.payload)).hex(),
                    "device_key": keys.newest.encode().hex(),
                }
                for name, keys in w.keys.items()
            },
            "records": {"id": w.records.records_id.hex(), "private": w.records.held.private.hex()},
            "commits": [
                {
                    "commit": made.commit.signed.encode().hex(),
                    "hash": made.commit.hash.hex(),
                    "boxes": [b.encode().hex() for b in made.boxes],
                    "box_hashes": [h.hex() for h in made.box_list.hashes],
                    "box_list_signature": made.box_list.signature.hex(),
                    "class_secrets": {
                        str(c): s.hex() for c, s in self.dispatcher.secrets(made.commit.epoch).items()
                    },
                }
                for made in (self.first, self.second)
            ],
        }

    def _sender(
        self, name: str, as_name: str, *, key_class: int, sid: bytes, made: MadeCommit
    ) -> FrameSender:
        return FrameSender(
            self.world.keys[name].identity,
            self.world.id(as_name),
            made.commit,
            self.dispatcher.secrets(made.commit.epoch),
            key_class=key_class,
            sid=sid,
        )

    def frames(self) -> list[Json]:
        said = body({"text": "on the bridge, calm"})
        durable = self._sender(
            "dispatcher", "dispatcher", key_class=DURABLE, sid=seed("sid")[:16], made=self.first
        )
        frame = durable.seal(said)
        ephemeral = self._sender("unit", "unit", key_class=EPHEMERAL, sid=seed("sid2")[:16], made=self.second)
        early, late = ephemeral.seal(body([1], ts_ms=NOW_MS)), ephemeral.seal(body([2], ts_ms=NOW_MS + 1))
        cases: list[Json] = [
            {
                "name": "durable",
                "reader": "unit",
                "before": [],
                "frame": frame.hex(),
                "body": encode_body(said).hex(),
                "code": None,
            },
            {
                "name": "ephemeral",
                "reader": "dispatcher",
                "before": [],
                "frame": early.hex(),
                "body": encode_body(body([1])).hex(),
                "code": None,
            },
            {
                "name": "replay",
                "reader": "unit",
                "before": [frame.hex()],
                "frame": frame.hex(),
                "code": "E_REPLAY",
            },
            {
                "name": "older position",
                "reader": "dispatcher",
                "before": [late.hex()],
                "frame": early.hex(),
                "code": "E_STALE_POSITION",
            },
            {
                "name": "before I joined",
                "reader": "clinician",
                "before": [],
                "frame": frame.hex(),
                "code": "E_NO_KEY",
            },
        ]
        forger = self._sender("unit", "dispatcher", key_class=DURABLE, sid=bytes(16), made=self.first)
        forged = forger.seal(said).hex()
        cases.append(
            {
                "name": "a member speaks as another",
                "reader": "unit",
                "before": [],
                "frame": forged,
                "code": "E_SIG",
            }
        )
        for name, (code, change) in TAMPERED.items():
            changed = bytearray(frame)
            change(changed)
            cases.append(
                {"name": name, "reader": "unit", "before": [], "frame": changed.hex(), "code": code.value}
            )
        return cases

    def grants(self) -> list[Json]:
        w = self.world
        made = make_grant(
            self.dispatcher,
            w.keys["dispatcher"],
            to=w.id("clinician"),
            epochs=(0,),
            class_mask=1 << DURABLE,
            directories=w.directories,
            device_keys=w.book,
            now_ms=NOW_MS,
        )
        secret = self.dispatcher.secrets(0)[DURABLE]
        good = self._reseal(made, secret)
        payload = encode_grant(
            channel_id=self.first.commit.channel_id,
            epoch=1,
            head_hash=self.second.commit.hash,
            to=w.id("spare"),
            kid=bytes(8),
            epochs=(0,),
            class_mask=1 << DURABLE,
            ts_ms=NOW_MS,
        )
        keys = w.keys["dispatcher"]
        outside = replace(good, signed=keys.identity.sign(KIND_GRANT, keys.device_id, payload))
        unit = w.keys["unit"]
        unable = replace(good, signed=unit.identity.sign(KIND_GRANT, unit.device_id, made.signed.payload))
        cases: list[tuple[str, str | None, SealedGrant]] = [
            ("context of epoch 0", None, good),
            ("made-up secret", "E_COMMITMENT", self._reseal(made, bytes(32))),
            ("box altered", "E_BOX", replace(good, box=good.box[:-1] + bytes([good.box[-1] ^ 1]))),
            ("signature altered", "E_SIG", replace(good, signed=replace(good.signed, signature=bytes(64)))),
            ("receiver not in the roster", "E_GRANT", outside),
            ("granter may not grant", "E_AUTHZ", unable),
        ]
        return [
            {"name": name, "reader": "clinician", "grant": sealed.encode().hex(), "code": code}
            for name, code, sealed in cases
        ]

    def _reseal(self, made: SealedGrant, secret: bytes) -> SealedGrant:
        grant = parse_grant(made.signed)
        public = hpke.public_of(self._private(grant.to, grant.kid))
        content = encode([(0, [(DURABLE, secret)])])
        box = Reference.seal(public, grant_info(grant.hash, grant.to, grant.kid), content, seed("grant"))
        return SealedGrant(made.signed, made.suite, box)

    def archives(self) -> list[Json]:
        w, head = self.world, self.second.commit
        keys, key = w.keys["dispatcher"], w.records
        real: list[Packable] = [[n, [[DURABLE, self.dispatcher.secrets(n)[DURABLE]]]] for n in (0, 1)]
        good = self._archive(real)
        unit = w.keys["spare"]
        stranger = unit.identity.sign(KIND_ARCHIVE, unit.device_id, good.signed.payload)
        foreign = encode_archive_label(
            head,
            RecordsId(bytes(16)),
            class_mask=1 << DURABLE,
            epochs=(0, 1),
            ts_ms=NOW_MS,
            wrapped_hash=sha256(good.wrapped),
        )
        cases: list[tuple[str, str | None, Archive]] = [
            ("two epochs", None, good),
            ("shredded", "E_BOX", replace(good, key_box=bytes(80))),
            ("wrapped altered", "E_AEAD", replace(good, wrapped=good.wrapped[:-1] + b"\0")),
            ("signature altered", "E_SIG", replace(good, signed=replace(good.signed, signature=bytes(64)))),
            ("archiver not in the roster", "E_AUTHZ", replace(good, signed=stranger)),
            ("another records key", "E_RECORDS", replace(good, signed=keys.identity.sign(KIND_ARCHIVE, keys.device_id, foreign))),
            ("fewer epochs than the label says", "E_RECORDS", self._archive(real[:1])),
            ("more classes than the key may see", "E_RECORDS", self._archive(real, class_mask=1 << DURABLE | 1 << EPHEMERAL)),
            ("an epoch yet to come", "E_RECORDS", self._archive(real, epochs=(0, 1, 2))),
            ("no epochs", "E_ENCODING", self._archive(real, epochs=())),
            ("made-up secret", "E_COMMITMENT", self._archive([real[0], [1, [[DURABLE, bytes(32)]]]])),
        ]  # fmt: skip
        opened = {str(n): {"1": self.dispatcher.secrets(n)[DURABLE].hex()} for n in (0, 1)}
        listed: list[Json] = [
            {
                "name": name,
                "archive": archive.encode().hex(),
                "now_ms": None,
                "secrets": opened if code is None else None,
                "code": code,
            }
            for name, code, archive in cases
        ]
        live = {"archive": good.encode().hex(), "secrets": None, "code": "E_CLOCK"}
        listed.append({"name": "ten minutes off when live", "now_ms": NOW_MS + 600_000, **live})
        assert key.records_id in {r.records_id for r in head.records}
        return listed

    def _archive(
        self, content: list[Packable], *, epochs: tuple[int, ...] = (0, 1), class_mask: int = 1 << DURABLE
    ) -> Archive:
        """An archive whose key is sealed by the reference."""
        head, key = self.second.commit, self.world.records
        keys = self.world.keys["dispatcher"]
        aad = pae(PREFIX + b"archive", head.channel_id, head.incident_id, key.records_id)
        wrapped = AESGCM(seed("archive key")).encrypt(bytes(12), encode(content), aad)
        payload = encode_archive_label(
            head,
            key.records_id,
            class_mask=class_mask,
            epochs=epochs,
            ts_ms=NOW_MS,
            wrapped_hash=sha256(wrapped),
        )
        signed = keys.identity.sign(KIND_ARCHIVE, keys.device_id, payload)
        info = pae(PREFIX + b"archivekey", signed.hash(b"archive"), key.records_id, key.held.kid)
        sealed = Reference.seal(key.public, info, seed("archive key"), seed("archive"))
        return Archive(signed, 1, sealed, wrapped)

    def media(self) -> Json:
        secret, call = self.dispatcher.secrets(1)[MEDIA], seed("call")[:16]
        key = media_sender(secret, self.second.commit, call, 1, seeded("media"))
        return {
            "call_id": call.hex(),
            "epoch": 1,
            "base_key": base_key(secret, self.second.commit.hash, call).hex(),
            "kid": f"{key.kid:x}",
            "key": key.key.hex(),
            "salt": key.salt.hex(),
            "metadata": b"clear".hex(),
            "plain": b"frame".hex(),
            "frames": [key.encrypt(b"frame", b"clear").hex() for _ in range(10)],
            "sealed_frames": self._sealed_frames(),
        }

    def _sealed_frames(self) -> list[Json]:
        """One receiver is given them in this order, `after_ms` after the vectors' time."""
        secret, call, commit = self.dispatcher.secrets(1)[MEDIA], seed("call")[:16], self.second.commit
        audio, video = MediaKind.AUDIO, MediaKind.VIDEO
        opus, key_frame, delta = (
            b"\x78sound",
            b"\x10\x02\x00\x9d\x01\x2a\x80\x02\x68\x01picture",
            b"\x11\x02\x00change",
        )
        sender = media_sender(secret, commit, call, 1, seeded("sealed frames"))
        other = MediaKey.derive(base_key(secret, commit.hash, call), sender.kid ^ 1 << 8)
        far = MediaKey.derive(base_key(secret, commit.hash, call), sender.kid | 0xFF00)
        late = MediaKey.derive(base_key(secret, commit.hash, call), sender.kid ^ 1)
        sealed = [
            sender.seal_frame(audio, opus),
            sender.seal_frame(video, key_frame),
            sender.seal_frame(video, delta),
        ]
        clear_eleven = frames.put_together(
            key_frame[:11], sender.encrypt(b"", frames.metadata(video, key_frame[:11]))
        )
        cases: list[tuple[str, MediaKind, bytes, bytes | SealingCode]] = [
            ("sound", audio, sealed[0], opus),
            ("a key frame", video, sealed[1], key_frame),
            ("another frame", video, sealed[2], delta),
            ("nothing", audio, sender.seal_frame(audio, b""), b""),
            ("two bytes of picture", video, sender.seal_frame(video, b"\x01\x02"), b"\x01\x02"),
            ("again", audio, sealed[0], SealingCode.E_DUPLICATE),
            ("sound as picture", video, sender.seal_frame(audio, opus), SealingCode.E_AEAD),
            ("another clear byte", audio, b"\x79" + sender.seal_frame(audio, opus)[1:], SealingCode.E_AEAD),
            (
                "one clear byte fewer",
                video,
                sender.seal_frame(video, delta)[1:-4] + b"\x02LS\x01",
                SealingCode.E_AEAD,
            ),
            ("more clear bytes than of a picture", video, clear_eleven, SealingCode.E_FORMAT),
            ("more clear bytes than of sound", audio, sender.seal_frame(video, delta), SealingCode.E_FORMAT),
            ("more clear bytes than there are", video, b"\x03LS\x01", SealingCode.E_FORMAT),
            ("no trailer", audio, sender.seal_frame(audio, opus)[:-1], SealingCode.E_FORMAT),
            (
                "a trailer of the future",
                audio,
                sender.seal_frame(audio, opus)[:-1] + b"\x02",
                SealingCode.E_FORMAT,
            ),
            ("plaintext", video, key_frame, SealingCode.E_FORMAT),
            ("of another's place", audio, other.seal_frame(audio, opus), SealingCode.E_AUTHZ),
            ("of a place beyond the roster", audio, far.seal_frame(audio, opus), SealingCode.E_AUTHZ),
            ("of another epoch", audio, late.seal_frame(audio, opus), SealingCode.E_UNKNOWN_EPOCH),
        ]
        sender.counter = 1_030
        cases.append(("far ahead", audio, sender.seal_frame(audio, opus), opus))
        sender.counter = 6
        cases.append(
            ("a counter before the window", audio, sender.seal_frame(audio, opus), SealingCode.E_REPLAY)
        )
        sender.counter = 7
        oldest = sender.seal_frame(audio, opus)
        cases += [
            ("the oldest counter of the window", audio, oldest, opus),
            ("a counter of the window again", audio, oldest, SealingCode.E_DUPLICATE),
        ]
        later: list[tuple[str, MediaKind, bytes, bytes | SealingCode]] = [
            ("a counter of the window long after", audio, oldest, SealingCode.E_REPLAY)
        ]
        return [
            {
                "name": name,
                "media": int(media),
                "sender": commit.roster[1].device_id.hex(),
                "frame": frame.hex(),
                "plain": None if isinstance(result, SealingCode) else result.hex(),
                "code": result.value if isinstance(result, SealingCode) else None,
                "after_ms": after_ms,
            }
            for given, after_ms in ((cases, 0), (later, 3 * DUPLICATE_MS))
            for name, media, frame, result in given
        ]


def _kid(payload: bytes) -> bytes:
    return sha256(payload)[:8]


def _attachments() -> list[Json]:
    key = AttachmentKey(seed("file")[:16], seed("file key"), 5)
    fields = {"file_id": key.file_id.hex(), "key": key.key.hex(), "size_bytes": 5}
    good = key.seal_chunk(0, b"photo")
    longer = dataclasses.replace(key, size_bytes=2 * CHUNK_BYTES)
    pieces = list(longer.seal_all([bytes(2 * CHUNK_BYTES)]))
    return [
        {"name": "five bytes", **fields, "chunks": [good.hex()], "plain": b"photo".hex(), "code": None},
        {"name": "cut short", **fields, "chunks": [good[:-1].hex()], "code": "E_ATTACHMENT"},
        {"name": "no chunk", **fields, "chunks": [], "code": "E_ATTACHMENT"},
        {"name": "twice", **fields, "chunks": [good.hex()] * 2, "code": "E_ATTACHMENT"},
        {
            "name": "altered",
            **fields,
            "chunks": [(bytes([good[0] ^ 1]) + good[1:]).hex()],
            "code": "E_ATTACHMENT",
        },
        {
            "name": "another file",
            **fields,
            "file_id": bytes(16).hex(),
            "chunks": [good.hex()],
            "code": "E_ATTACHMENT",
        },
        {
            "name": "131,072 zero bytes: SHA-256 of each sealed chunk",
            **fields,
            "size_bytes": 2 * CHUNK_BYTES,
            "chunk_hashes": [sha256(p).hex() for p in pieces],
            "code": None,
        },
    ]


def _seen() -> list[Json]:
    head, steps = LogHead(), list[Json]()
    for seq in (1, 2, 5):
        frame_hash = seed(str(seq))
        head = head.after(seq, frame_hash)
        steps.append({"seq": seq, "frame_hash": frame_hash.hex(), "hash": head.hash.hex()})
    return steps


def main() -> None:
    PATH.write_text(json.dumps(build(), indent=1) + "\n")


if __name__ == "__main__":
    main()
