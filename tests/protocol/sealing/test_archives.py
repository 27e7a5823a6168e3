"""An ended incident's archive: who may make it, what is in it, and that it can be shredded by itself."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.records import (
    RecordsPrivateKey,
    archivable,
    make_archive,
    open_archive,
)
from leeside_protocol.sealing.public.acceptance import Receipt
from leeside_protocol.sealing.public.archive import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_EPOCHS,
    Archive,
    encode_archive_label,
    is_archive,
    parse_archive_label,
    verify_archive,
)
from leeside_protocol.sealing.public.encoding import PREFIX, Packable, encode, pae, sha256
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL, RecordsId
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE, KIND_GRANT
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.test_sharing import Joined
from tests.protocol.sealing.world import NOW_MS, PERIODIC, seed, seeded


@pytest.fixture
def joined() -> Joined:
    return Joined()


def archive_of(joined: Joined, name: str = "dispatcher", *, now_ms: int = NOW_MS) -> Archive:
    w = joined.world
    channel = {"dispatcher": joined.dispatcher, "clinician": joined.clinician}[name]
    made = make_archive(
        channel, w.keys[name], w.records.records_id, w.directories, now_ms=now_ms, random=seeded("archive")
    )
    assert made is not None
    return made


def labelled(
    joined: Joined, keys: DeviceKeys, good: Archive, *, records_id: RecordsId | None = None, **changes: object
) -> Archive:
    """The archive under another label, validly signed."""
    label = parse_archive_label(good.signed)
    fields: dict[str, object] = {
        "class_mask": label.class_mask,
        "epochs": label.epochs,
        "ts_ms": label.ts_ms,
        "wrapped_hash": label.wrapped_hash,
        **changes,
    }
    payload = encode_archive_label(joined.dispatcher.head, records_id or label.records_id, **fields)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return replace(good, signed=keys.identity.sign(KIND_ARCHIVE, keys.device_id, payload))


def sealed_anew(joined: Joined, content: Packable, **label: object) -> Archive:
    """An archive of other content, as a member who lies would make it."""
    w, head = joined.world, joined.dispatcher.head
    keys, key = w.keys["dispatcher"], w.records
    aad = pae(PREFIX + b"archive", head.channel_id, head.incident_id, key.records_id)
    wrapped = AESGCM(seed("key")).encrypt(bytes(12), encode(content), aad)
    fields: dict[str, object] = {"class_mask": 1 << DURABLE, "epochs": (0, 1), "ts_ms": NOW_MS, **label}
    payload = encode_archive_label(head, key.records_id, wrapped_hash=sha256(wrapped), **fields)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    signed = keys.identity.sign(KIND_ARCHIVE, keys.device_id, payload)
    info = pae(PREFIX + b"archivekey", signed.hash(b"archive"), key.records_id, key.held.kid)
    return Archive(signed, 1, hpke.seal(1, key.public, info, seed("key")), wrapped)


def test_an_incident_is_archived_opened_and_shredded_by_itself(joined: Joined) -> None:
    w = joined.world
    data = archive_of(joined).encode()
    assert is_archive(data)
    assert not is_archive(joined.grant().encode())
    archive = Archive.decode(data)
    secrets = open_archive(w.records, archive, joined.dispatcher.line, w.directories)
    assert {e: set(s) for e, s in secrets.items()} == {0: {DURABLE}, 1: {DURABLE}}
    assert secrets[0] == {DURABLE: joined.dispatcher.secrets(0)[DURABLE]}
    shredded = replace(archive, key_box=bytes(80))
    with refused(SealingCode.E_BOX):
        open_archive(w.records, shredded, joined.dispatcher.line, w.directories)


def test_the_label_names_what_its_archiver_held(joined: Joined) -> None:
    w = joined.world
    for name, epochs in (("dispatcher", (0, 1)), ("clinician", (1,))):
        archive = archive_of(joined, name)
        label = verify_archive(joined.dispatcher.line, archive, w.directories, Receipt(NOW_MS))
        assert (label.epochs, label.archiver) == (epochs, w.id(name))
        assert set(open_archive(w.records, archive, joined.unit.line, w.directories)) == set(epochs)


def test_who_holds_nothing_archives_nothing(joined: Joined) -> None:
    w = joined.world
    joined.dispatcher.forget_all()
    made = make_archive(
        joined.dispatcher,
        w.keys["dispatcher"],
        w.records.records_id,
        w.directories,
        now_ms=NOW_MS,
        random=seeded("archive"),
    )
    assert made is None
    assert archivable(joined.unit, 1 << EPHEMERAL) == ()


def test_only_to_a_records_key_of_the_channel(joined: Joined) -> None:
    w = joined.world
    with refused(SealingCode.E_RECORDS):
        make_archive(
            joined.dispatcher,
            w.keys["dispatcher"],
            RecordsId(bytes(16)),
            w.directories,
            now_ms=NOW_MS,
            random=seeded("archive"),
        )


def test_altered_archives(joined: Joined) -> None:
    w, good = joined.world, archive_of(joined)
    line, spare = joined.dispatcher.line, w.keys["spare"]
    keys = w.keys["dispatcher"]
    cases = [
        (SealingCode.E_AEAD, replace(good, wrapped=good.wrapped[:-1] + b"\0")),
        (SealingCode.E_SIG, replace(good, signed=replace(good.signed, signature=bytes(64)))),
        (SealingCode.E_SIG, replace(good, signed=keys.identity.sign(KIND_GRANT, keys.device_id, good.signed.payload))),
        (SealingCode.E_AUTHZ, labelled(joined, spare, good)),
        (SealingCode.E_RECORDS, labelled(joined, keys, good, records_id=RecordsId(bytes(16)))),
        (SealingCode.E_RECORDS, labelled(joined, keys, good, class_mask=1 << DURABLE | 1 << EPHEMERAL)),
        (SealingCode.E_RECORDS, labelled(joined, keys, good, epochs=(0, 1, 2))),
        (SealingCode.E_ENCODING, labelled(joined, keys, good, epochs=())),
        (SealingCode.E_ENCODING, labelled(joined, keys, good, epochs=(1, 0))),
        (SealingCode.E_BOX, replace(good, key_box=good.key_box[:-1] + bytes([good.key_box[-1] ^ 1]))),
    ]  # fmt: skip
    for code, bad in cases:
        with refused(code):
            open_archive(w.records, bad, line, w.directories)
    with refused(SealingCode.E_RECORDS):
        open_archive(RecordsPrivateKey(seed("other")), good, line, w.directories)
    other = w.view("unit", w.genesis("dispatcher", "unit"))
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        open_archive(w.records, good, other.line, w.directories)
    stranger = w.genesis("dispatcher", "unit", "spare", records=True)
    line_of_another = w.view("unit", stranger)
    made = w.commit("dispatcher", w.view("dispatcher", stranger), PERIODIC)
    w.process("unit", line_of_another, made)
    with refused(SealingCode.E_RECORDS):
        open_archive(w.records, good, line_of_another.line, w.directories)


def test_a_version_that_is_not_known_is_refused(joined: Joined) -> None:
    w, good = joined.world, archive_of(joined)
    payload = bytearray(good.signed.payload)
    assert payload[1] == 1
    payload[1] = 2
    keys = w.keys["dispatcher"]
    bad = replace(good, signed=keys.identity.sign(KIND_ARCHIVE, keys.device_id, bytes(payload)))
    with refused(SealingCode.E_FORMAT):
        verify_archive(joined.dispatcher.line, bad, w.directories)


def test_what_a_lying_member_archives_does_not_open(joined: Joined) -> None:
    w = joined.world
    real = [joined.dispatcher.secrets(n)[DURABLE] for n in (0, 1)]
    both: list[Packable] = [[n, [[DURABLE, real[n]]]] for n in (0, 1)]
    line = joined.dispatcher.line
    assert set(open_archive(w.records, sealed_anew(joined, both), line, w.directories)) == {0, 1}
    cases: list[tuple[SealingCode, Archive]] = [
        (SealingCode.E_COMMITMENT, sealed_anew(joined, [[0, [[DURABLE, real[0]]]], [1, [[DURABLE, bytes(32)]]]])),
        (SealingCode.E_RECORDS, sealed_anew(joined, both[:1])),
        (SealingCode.E_RECORDS, sealed_anew(joined, both, epochs=(1,))),
        (SealingCode.E_RECORDS, sealed_anew(joined, [[0, [[EPHEMERAL, real[0]]]], both[1]])),
        (SealingCode.E_ENCODING, sealed_anew(joined, [[0]])),
    ]  # fmt: skip
    for code, bad in cases:
        with refused(code):
            open_archive(w.records, bad, line, w.directories)


def test_on_live_receipt_the_archiver_is_still_one_and_the_time_is_right(joined: Joined) -> None:
    w, line = joined.world, joined.dispatcher.line
    live = Receipt(NOW_MS)
    late = archive_of(joined, now_ms=NOW_MS + 600_000)
    with refused(SealingCode.E_CLOCK):
        verify_archive(line, late, w.directories, live)
    early = labelled(joined, w.keys["dispatcher"], late, ts_ms=NOW_MS - 600_000)
    with refused(SealingCode.E_CLOCK):
        verify_archive(line, early, w.directories, live)
    good = archive_of(joined, "clinician")
    w.revoke("clinician")
    with refused(SealingCode.E_REVOKED):
        verify_archive(line, good, w.directories, live)
    # Read later, it was right when it was made.
    assert verify_archive(line, good, w.directories, Receipt()).archiver == w.id("clinician")


def test_the_largest_archive_fits_in_one_entry(joined: Joined) -> None:
    epochs = tuple(range(100_000, 100_000 + MAX_ARCHIVE_EPOCHS))
    content: list[Packable] = [[n, [[DURABLE, bytes(32)]]] for n in epochs]
    large = sealed_anew(joined, content, epochs=epochs)
    assert len(large.encode()) <= MAX_ARCHIVE_BYTES
    assert parse_archive_label(Archive.decode(large.encode()).signed).epochs == epochs
