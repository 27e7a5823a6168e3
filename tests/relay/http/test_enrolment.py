"""How devices come: codes, proofs, approval by the agency's signature; and how agencies begin."""

import asyncio
import contextlib
import os
from collections.abc import Sequence

import msgspec
import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelKind, address
from leeside_protocol.limits import ENROLMENT_TTL_S
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.device_key import encode_device_key, parse_device_key
from leeside_protocol.sealing.public.enrolment import short_code
from leeside_protocol.sealing.public.entries import SUITE_X25519, AuthorityAdded, DeviceRemoved, device_id_of
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import Role
from leeside_server.core.notices import Notice
from leeside_server.core.writes import Item, Outcome
from tests.protocol.sealing.weak import ANYBODYS_SIGNATURE, NON_CANONICAL_KEY, SMALL_ORDER_KEY
from tests.relay.http.world import YEAR_MS, Agency, City, Person, Refusal, redeem


async def new_code(agency: Agency) -> str:
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    code: str = (await agency.admin.ask("create_enrolment", r.NewEnrolment("phone"), id=member)).code
    return code


def new_keys(city: City) -> DeviceKeys:
    return DeviceKeys.create(os.urandom, city.clock.now_ms())


async def inbox(person: Person) -> list[int]:
    page = await person.ask("log", address=address(ChannelKind.INBOX, person.id).hex())
    return [msgspec.msgpack.decode(entry.payload)[0] for entry in page.entries]


# ---- devices


async def test_a_code_admits_a_pending_device_that_admins_are_told_of(agency: Agency) -> None:
    keys = new_keys(agency.city)
    enrolled = await agency.city.ask("redeem", body=redeem(keys, await new_code(agency)))
    assert enrolled.device == keys.device_id.hex()
    assert enrolled.root_pub == agency.directory.root_public
    assert enrolled.short_code == short_code(keys.identity.public, keys.newest.payload)
    listed = await agency.admin.ask("devices", query={"state": "pending"})
    assert [(d.id, d.short_code, d.label) for d in listed.items] == [
        (enrolled.device, enrolled.short_code, "phone")
    ]
    assert await inbox(agency.admin) == [Notice.DEVICE_WAITS]


async def test_a_code_serves_one_device_and_the_same_one_may_repeat(agency: Agency) -> None:
    code, keys = await new_code(agency), new_keys(agency.city)
    first = await agency.city.ask("redeem", body=redeem(keys, code))
    assert await agency.city.ask("redeem", body=redeem(keys, code)) == first
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("redeem", body=redeem(new_keys(agency.city), code))
    assert refused.value.code is WireError.NOT_FOUND
    assert len((await agency.admin.ask("devices", query={"state": "pending"})).items) == 1


async def test_of_fifty_devices_at_once_one_code_admits_one(agency: Agency) -> None:
    code = await new_code(agency)
    plans = [redeem(new_keys(agency.city), code) for _ in range(15)]
    answers = await asyncio.gather(*(agency.city.raw("redeem", body=plan) for plan in plans))
    assert sorted(a.status_code for a in answers) == [201] + [404] * 14
    assert len((await agency.admin.ask("devices", query={"state": "pending"})).items) == 1


async def test_a_code_ends_after_fifteen_minutes(agency: Agency) -> None:
    code = await new_code(agency)
    agency.city.clock.advance(ENROLMENT_TTL_S)
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("redeem", body=redeem(new_keys(agency.city), code))
    assert refused.value.code is WireError.EXPIRED


async def test_five_wrong_proofs_end_a_code(agency: Agency) -> None:
    code, keys = await new_code(agency), new_keys(agency.city)
    wrong = msgspec.structs.replace(redeem(keys, code), proof=bytes(64))
    for _ in range(5):
        with pytest.raises(Refusal) as refused:
            await agency.city.ask("redeem", body=wrong)
        assert refused.value.answer.sealing_code == "E_SIG"
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("redeem", body=redeem(keys, code))
    assert refused.value.code is WireError.EXPIRED


async def test_an_agency_hears_of_a_code_that_somebody_else_has(agency: Agency) -> None:
    code, keys = await new_code(agency), new_keys(agency.city)
    wrong = msgspec.structs.replace(redeem(keys, code), proof=bytes(64))
    for body in (wrong, redeem(keys, code), redeem(new_keys(agency.city), code)):
        with contextlib.suppress(Refusal):
            await agency.city.ask("redeem", body=body)
    rows = (await agency.admin.ask("security_events", query={"limit": 500})).items
    assert [row.outcome for row in rows if row.event == "enrolment_refused"] == ["proof", "spent"]


async def test_the_device_key_must_be_the_devices_own(agency: Agency) -> None:
    code, keys = await new_code(agency), new_keys(agency.city)
    other = new_keys(agency.city)
    plan = msgspec.structs.replace(redeem(keys, code), device_key=other.newest.encode())
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("redeem", body=plan)
    assert refused.value.answer.sealing_code == "E_DEVKEY"


@pytest.mark.parametrize("public", [SMALL_ORDER_KEY, NON_CANONICAL_KEY])
async def test_a_key_with_which_anybody_can_sign_enrols_nowhere(agency: Agency, public: bytes) -> None:
    code, keys = await new_code(agency), new_keys(agency.city)
    payload = encode_device_key(
        device_id_of(public),
        kseq=1,
        suite=SUITE_X25519,
        public=parse_device_key(keys.newest.payload).public,
        not_before_ms=agency.city.clock.now_ms(),
        not_after_ms=agency.city.clock.now_ms() + 1000,
    )
    device_key = Signed(payload, device_id_of(public), ANYBODYS_SIGNATURE).encode()
    for _ in range(6):
        with pytest.raises(Refusal) as refused:
            await agency.city.ask("redeem", body=r.Redeem(code, public, ANYBODYS_SIGNATURE, device_key))
        assert refused.value.code is WireError.INVALID
    # Nor did it cost the code anything.
    await agency.city.ask("redeem", body=redeem(keys, code))


@pytest.mark.parametrize("root", [SMALL_ORDER_KEY, NON_CANONICAL_KEY])
async def test_a_root_with_which_anybody_can_sign_founds_nothing(city: City, root: bytes) -> None:
    plan = city.new_agency()
    body = msgspec.structs.replace(plan.body, root_pub=root, proof=ANYBODYS_SIGNATURE)
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=body)
    assert refused.value.code is WireError.INVALID
    await city.ask("create_agency", body=plan.body)


async def test_a_device_is_at_home_in_one_agency(city: City) -> None:
    one, other = await city.agency(), await city.agency()
    keys = new_keys(city)
    await city.ask("redeem", body=redeem(keys, await new_code(one)))
    with pytest.raises(Refusal) as refused:
        await city.ask("redeem", body=redeem(keys, await new_code(other)))
    assert refused.value.code is WireError.NOT_FOUND


async def test_the_label_comes_from_who_made_the_code_and_the_store_never_holds_it(agency: Agency) -> None:
    code = await new_code(agency)
    rows = await agency.city.node.store.objects(bytes(16), "enrolment", None, b"", 10)  # type: ignore[arg-type]
    assert len(rows) == 1
    assert code.encode() not in rows[0].body
    assert code.replace("-", "").encode() not in rows[0].body


# ---- what the directory brings about


async def test_an_entry_that_certifies_something_else_is_refused_and_not_stored(agency: Agency) -> None:
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    person = await agency.enrol(member)
    stranger = new_keys(agency.city)
    for operation in (
        agency.certificate(person.keys, member, Role.ADMIN),
        agency.certificate(person.keys, agency.admin.member, Role.RESPONDER),
        agency.certificate(stranger, member, Role.RESPONDER),
    ):
        with pytest.raises(Refusal) as refused:
            await agency.post(operation)
        assert refused.value.code is WireError.INVALID
    assert len(await agency.admin.ask("directory")) == 2
    await agency.post(agency.certificate(person.keys, member, Role.RESPONDER))
    await person.sign_in()
    assert len(await person.ask("directory", query={"after": 2})) == 1


async def test_the_same_entry_may_be_posted_again(agency: Agency) -> None:
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    person = await agency.enrol(member)
    entry = await agency.post(agency.certificate(person.keys, member, Role.RESPONDER))
    await agency.admin.ask("post_directory", r.DirectoryPost((entry.encode(),)))
    assert len(await agency.admin.ask("directory")) == 3


async def test_a_post_that_repeats_an_entry_which_is_just_being_stored_stores_the_rest(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority gave up waiting for the first answer and goes on; both posts are under way."""
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    person = await agency.enrol(member)
    entries: list[bytes] = []
    for operation in (
        agency.certificate(person.keys, member, Role.RESPONDER),
        AuthorityAdded(os.urandom(32), agency.city.clock.now_ms() + YEAR_MS, None),
    ):
        entry = agency.sign(operation, agency.root)
        agency.directory.apply(entry)
        entries.append(entry.encode())
    write = agency.city.node.write
    first = [r.DirectoryPost(tuple(entries[:1]))]

    async def late(items: Sequence[Item]) -> Sequence[Outcome]:
        while first:
            await agency.admin.ask("post_directory", first.pop())
        return await write(items)

    monkeypatch.setattr(agency.city.node, "write", late)
    await agency.admin.ask("post_directory", r.DirectoryPost(tuple(entries)))
    assert (await agency.admin.ask("directory"))[2:] == entries


async def test_of_two_entries_for_one_place_the_second_is_refused(agency: Agency) -> None:
    members = [(await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id for _ in range(2)]
    people = [await agency.enrol(member) for member in members]
    entries = [
        agency.sign(agency.certificate(person.keys, person.member, Role.RESPONDER)) for person in people
    ]
    posts = [agency.admin.ask("post_directory", r.DirectoryPost((entry.encode(),))) for entry in entries]
    outcomes = await asyncio.gather(*posts, return_exceptions=True)
    (refused,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(refused, Refusal)
    assert refused.code in {WireError.CONFLICT, WireError.SEALING_REFUSED}
    assert len(await agency.admin.ask("directory")) == 3


async def test_dev_minus_revokes_and_tells(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    now_ms = agency.city.clock.now_ms()
    await agency.post(DeviceRemoved(person.id, "lost", now_ms))
    with pytest.raises(Refusal) as refused:
        await person.ask("me")
    assert refused.value.code is WireError.REVOKED
    assert (await inbox(agency.admin))[-1] == Notice.DEVICE_REVOKED
    assert (await agency.admin.ask("device", id=person.id.hex())).state == "revoked"


async def test_a_device_revoked_by_hand_may_still_be_revoked_by_signature(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    await agency.admin.ask("revoke_device", id=person.id.hex())
    await agency.post(DeviceRemoved(person.id, "lost", agency.city.clock.now_ms()))
    assert len(await agency.admin.ask("directory")) == 4


async def test_a_post_stands_whole_or_not_at_all(agency: Agency) -> None:
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    person = await agency.enrol(member)
    good = agency.sign(agency.certificate(person.keys, member, Role.RESPONDER))
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("post_directory", r.DirectoryPost((good.encode(), good.encode())))
    assert refused.value.code is WireError.SEALING_REFUSED
    assert len(await agency.admin.ask("directory")) == 2
    assert (await agency.admin.ask("device", id=person.id.hex())).state == "pending"


@pytest.mark.parametrize(
    "entry", [b"", b"\xc0", b"\x93\xc4\x00\xc4\x00\xc4\x00", os.urandom(200), b"x" * 5000]
)
async def test_noise_is_no_entry(agency: Agency, entry: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("post_directory", r.DirectoryPost((entry,)))
    assert refused.value.code is WireError.SEALING_REFUSED


async def test_a_device_publishes_newer_keys_and_never_older(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    first = person.keys.newest.encode()
    second = person.keys.rotate(os.urandom, agency.city.clock.now_ms()).encode()
    info = await person.ask("put_device_key", r.PutDeviceKey(second))
    assert info.device_key == second
    assert (await person.ask("put_device_key", r.PutDeviceKey(second))).revision == info.revision
    with pytest.raises(Refusal) as refused:
        await person.ask("put_device_key", r.PutDeviceKey(first))
    assert refused.value.answer.sealing_code == "E_DEVKEY"
    with pytest.raises(Refusal) as refused:
        await person.ask("put_device_key", r.PutDeviceKey(agency.admin.keys.newest.encode()))
    assert refused.value.answer.sealing_code == "E_DEVKEY"


@pytest.mark.parametrize("by", ["hand", "membership", "signature"])
async def test_a_device_does_not_keep_its_end_away_by_publishing_keys(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    person = await agency.join(Role.RESPONDER)
    now_ms = agency.city.clock.now_ms()
    newer = [r.PutDeviceKey(person.keys.rotate(os.urandom, now_ms).encode()) for _ in range(3)]
    write = agency.city.node.write
    publishing = False

    async def late(items: Sequence[Item]) -> Sequence[Outcome]:
        nonlocal publishing
        if newer and not publishing:
            publishing = True
            await person.ask("put_device_key", newer.pop(0))
            publishing = False
        return await write(items)

    monkeypatch.setattr(agency.city.node, "write", late)
    if by == "hand":
        await agency.admin.ask("revoke_device", id=person.id.hex())
    elif by == "membership":
        held = await agency.admin.ask("member", id=person.member)
        await agency.admin.ask("change_member", r.MemberChange(held.revision, ended=True), id=person.member)
    else:
        await agency.post(DeviceRemoved(person.id, "lost", now_ms))
    assert not newer
    with pytest.raises(Refusal) as refused:
        await person.ask("me")
    assert refused.value.code is WireError.REVOKED


# ---- agencies


async def test_an_operators_code_creates_one_agency_and_the_answer_can_be_repeated(city: City) -> None:
    plan = city.new_agency()
    first = await city.ask("create_agency", body=plan.body)
    assert await city.ask("create_agency", body=plan.body) == first
    other = city.new_agency(plan.body.code)
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=other.body)
    assert refused.value.code is WireError.NOT_FOUND


async def test_no_agency_without_a_code(city: City) -> None:
    plan = city.new_agency("no-such-code")
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=plan.body)
    assert refused.value.code is WireError.NOT_FOUND
    city.codes.unlink(missing_ok=True)
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=plan.body)
    assert refused.value.code is WireError.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"proof": bytes(64)}, "sealing_refused"),
        ({"entries": (b"noise",)}, "sealing_refused"),
        ({"admin_member": "00" * 16}, "invalid"),
        ({"admin_device_key": b"noise"}, "sealing_refused"),
    ],
)
async def test_an_agency_that_does_not_hold_together_spends_no_code(
    city: City, change: dict[str, object], code: str
) -> None:
    plan = city.new_agency()
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=msgspec.structs.replace(plan.body, **change))
    assert refused.value.answer.code == code
    await city.ask("create_agency", body=plan.body)


async def test_nobody_registers_a_root_that_they_do_not_hold(city: City) -> None:
    plan, thief = city.new_agency(), city.new_agency()
    body = msgspec.structs.replace(plan.body, proof=thief.body.proof)
    with pytest.raises(Refusal) as refused:
        await city.ask("create_agency", body=body)
    assert refused.value.answer.sealing_code == "E_SIG"
