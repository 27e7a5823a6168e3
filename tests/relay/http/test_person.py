"""The person at a device: passkeys at sign-in, how long they count, and shared tablets."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, MemberId
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.words import PersonBy, Role
from leeside_server.core.person import PasskeyRow
from leeside_server.core.rows import Held
from leeside_server.relay.http import HttpSettings, passkeys
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.person import passkeys_of
from leeside_server.relay.passkeys import relying_party
from leeside_server.relay.retention import Retention, RetentionSettings
from tests.relay.http.world import Agency, City, Person, Refusal, redeem
from tests.relay.http.world import city as open_city
from tests.support.authenticator import BACKED_UP, ELIGIBLE, PRESENT, VERIFIED, Authenticator

ORIGIN = "https://relay.example"
HOUR_S = 3_600


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with open_city(
        tmp_path, HttpSettings(public_origins=(ORIGIN, "https://eu.relay.example"))
    ) as opened:
        yield opened


@pytest_asyncio.fixture
async def agency(city: City) -> Agency:
    return await city.agency()


@pytest_asyncio.fixture
async def asking(agency: Agency) -> Agency:
    """An agency that asks for passkeys; its administrator has one."""
    await register(agency.admin, Authenticator(ORIGIN))
    await ask_for(agency, PersonBy.PASSKEY)
    return agency


async def ask_for(agency: Agency, person: PersonBy, hours: int | None = None) -> r.Agency:
    now: r.Agency = await agency.admin.ask("agency")
    answer: r.Agency = await agency.admin.ask("change_agency", r.AgencyChange(now.revision, person, hours))
    return answer


async def register(person: Person, authenticator: Authenticator) -> r.Passkey:
    """Another passkey, from a session."""
    options = (await person.ask("passkey_options")).options
    made: r.Passkey = await person.ask("add_passkey", r.PasskeyPost(authenticator.create(options)))
    return made


async def request(person: Person) -> r.SessionRequest:
    device = person.id.hex()
    nonce = (await person.city.ask("challenge", body=r.ChallengeRequest(device))).nonce
    return r.SessionRequest(
        device, nonce, person.keys.identity.sign_raw(pae(PREFIX + b"session", nonce, person.id))
    )


async def sign_in(person: Person, authenticator: Authenticator, **changed: Any) -> r.SessionTokens:
    """As a page does it: first the device alone, then what the server asks for."""
    body = await request(person)
    with pytest.raises(Refusal) as refused:
        await person.city.ask("sign_in", body=body)
    answer = refused.value.answer
    assert (answer.code, answer.detail, answer.person) == ("unauthenticated", "person", "passkey")
    asked: r.PersonOptions = await person.city.ask("person_options", body=body)
    assert asked.by is PersonBy.PASSKEY
    if asked.purpose == "register":
        proof = r.PersonProof(new_passkey=authenticator.create(asked.options))
    else:
        proof = r.PersonProof(passkey=authenticator.get(asked.options, **changed))
    shown = r.SessionRequest(body.device, body.nonce, body.signature, proof)
    person.tokens = await person.city.ask("sign_in", body=shown)
    assert person.tokens is not None
    return person.tokens


async def joined(agency: Agency, role: Role = Role.RESPONDER) -> tuple[Person, Authenticator]:
    """A new member, whose first sign-in registered a passkey."""
    person, authenticator = await agency.join(role, sign_in=False), Authenticator(ORIGIN)
    await sign_in(person, authenticator)
    return person, authenticator


async def events(agency: Agency, *names: str) -> list[tuple[str, str]]:
    rows = (await agency.admin.ask("security_events", query={"limit": 500})).items
    return [(row.event, row.outcome) for row in rows if row.event in names]


async def refused_sign_in(person: Person, authenticator: Authenticator, **changed: Any) -> r.ErrorAnswer:
    with pytest.raises(Refusal) as refused:
        await sign_in(person, authenticator, **changed)
    return refused.value.answer


class TestSetting:
    async def test_the_device_is_enough_unless_an_agency_says_otherwise(self, agency: Agency) -> None:
        answer = await agency.admin.ask("agency")
        assert (answer.person, answer.person_hours) == ("device", 12)
        person = await agency.join(Role.RESPONDER)
        assert person.tokens is not None
        assert person.tokens.person_until_ms == 0
        assert (await agency.city.ask("person_options", body=await request(person))) == r.PersonOptions(
            PersonBy.DEVICE, "", ""
        )

    async def test_an_administrator_sets_it_and_it_is_recorded(self, asking: Agency) -> None:
        assert (await asking.admin.ask("agency")).person == "passkey"
        assert await events(asking, "agency_changed") == [("agency_changed", "person_passkey")]

    @pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.RESPONDER])
    async def test_nobody_else_does(self, agency: Agency, role: Role) -> None:
        person = await agency.join(role)
        with pytest.raises(Refusal) as refused:
            await person.ask("change_agency", r.AgencyChange(1, PersonBy.PASSKEY))
        assert refused.value.code is WireError.FORBIDDEN

    async def test_nobody_locks_themselves_out(self, agency: Agency) -> None:
        for person, code in ((PersonBy.PASSKEY, WireError.FORBIDDEN), (PersonBy.OIDC, WireError.UNSUPPORTED)):
            with pytest.raises(Refusal) as refused:
                await ask_for(agency, person)
            assert refused.value.code is code

    async def test_two_administrators_at_once(self, asking: Agency) -> None:
        with pytest.raises(Refusal) as refused:
            await asking.admin.ask("change_agency", r.AgencyChange(1, PersonBy.DEVICE))
        assert refused.value.code is WireError.CONFLICT


class TestSignIn:
    async def test_the_first_passkey_comes_with_the_first_sign_in(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        (passkey,) = (await person.ask("passkeys")).items
        assert (passkey.device, passkey.synced) == (person.id.hex(), False)
        assert await events(asking, "passkey_added") == [("passkey_added", "done")] * 2
        asking.city.clock.advance(5)
        tokens = await sign_in(person, authenticator)
        assert tokens.person_until_ms == asking.city.clock.now_ms() + 12 * HOUR_S * 1000
        assert (await person.ask("passkeys")).items[0].used_ms == asking.city.clock.now_ms()

    async def test_a_device_that_was_certified_long_ago_registers_none(self, asking: Agency) -> None:
        """Whoever finds an old phone must not become its member."""
        person = await asking.join(Role.RESPONDER, sign_in=False)
        asking.city.clock.advance(15 * 60)
        body = await request(person)
        with pytest.raises(Refusal) as refused:
            await asking.city.ask("person_options", body=body)
        assert refused.value.code is WireError.FORBIDDEN
        made = Authenticator(ORIGIN).create(
            '{"user": {"id": ""}, "rp": {"id": "relay.example"}, "challenge": ""}'
        )
        shown = r.SessionRequest(body.device, body.nonce, body.signature, r.PersonProof(new_passkey=made))
        with pytest.raises(Refusal) as refused:
            await asking.city.ask("sign_in", body=shown)
        assert refused.value.code is WireError.FORBIDDEN

    async def test_a_second_device_needs_the_passkey_that_is_there(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        second = await asking.enrol(person.member)
        await asking.post(asking.certificate(second.keys, person.member, Role.RESPONDER))
        body = await request(second)
        assert (await asking.city.ask("person_options", body=body)).purpose == "sign_in"
        await sign_in(second, authenticator)

    async def test_a_pending_device_learns_nothing(self, asking: Agency) -> None:
        member = (await asking.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
        person = await asking.enrol(member)
        for route in ("sign_in", "person_options"):
            with pytest.raises(Refusal) as refused:
                await asking.city.ask(route, body=await request(person))
            assert refused.value.code is WireError.PENDING

    async def test_a_stranger_is_told_nothing_of_what_is_asked_for(self, asking: Agency) -> None:
        person, _ = await joined(asking)
        good = await request(person)
        for route in ("sign_in", "person_options"):
            with pytest.raises(Refusal) as refused:
                await asking.city.ask(route, body=r.SessionRequest(good.device, good.nonce, bytes(64)))
            assert refused.value.answer.person == ""
            assert refused.value.answer.detail != "person"

    @pytest.mark.parametrize(
        "changed",
        [
            {"signature": "AAAA"},
            {"userHandle": "AAAAAAAAAAAAAAAAAAAAAA"},
            {"clientDataJSON": "e30"},
            {"authenticatorData": ""},
        ],
    )
    async def test_what_does_not_hold_is_refused_and_recorded(
        self, asking: Agency, changed: dict[str, str]
    ) -> None:
        person, authenticator = await joined(asking)
        answer = await refused_sign_in(person, authenticator, **changed)
        assert (answer.code, answer.person) == ("unauthenticated", "passkey")
        assert await events(asking, "person_refused") == [("person_refused", "passkey")]

    @pytest.mark.parametrize("answer", ["", "{}", "[]", "null", "\x00", '{"id": 1}', "[" * 5000])
    async def test_what_is_no_answer_is_refused(self, asking: Agency, answer: str) -> None:
        person, _ = await joined(asking)
        for proof in (r.PersonProof(passkey=answer), r.PersonProof()):
            body = await request(person)
            shown = r.SessionRequest(body.device, body.nonce, body.signature, proof)
            with pytest.raises(Refusal) as refused:
                await asking.city.ask("sign_in", body=shown)
            assert refused.value.code is WireError.UNAUTHENTICATED

    async def test_a_finger_is_asked_for_not_only_a_touch(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        authenticator.flags = PRESENT
        assert (await refused_sign_in(person, authenticator)).person == "passkey"

    async def test_a_page_of_somebody_else_gets_nobody_in(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        authenticator.origin = "https://relay.example.evil.example"
        assert (await refused_sign_in(person, authenticator)).person == "passkey"
        authenticator.origin = "https://eu.relay.example"
        await sign_in(person, authenticator)

    async def test_a_passkey_of_another_party_gets_nobody_in(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        authenticator.credentials[0].party = "evil.example"
        assert (await refused_sign_in(person, authenticator)).person == "passkey"

    async def test_a_colleagues_passkey_gets_nobody_in(self, asking: Agency) -> None:
        person, _ = await joined(asking)
        _, theirs = await joined(asking)
        assert (await refused_sign_in(person, theirs)).person == "passkey"

    async def test_a_copy_of_a_passkey_is_found_by_its_counter(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        await sign_in(person, authenticator)
        authenticator.credentials[0].count = 0
        assert (await refused_sign_in(person, authenticator)).person == "passkey"

    async def test_one_that_counts_nothing_and_is_synced(self, asking: Agency) -> None:
        person = await asking.join(Role.RESPONDER, sign_in=False)
        flags = PRESENT | VERIFIED | ELIGIBLE | BACKED_UP
        authenticator = Authenticator(ORIGIN, flags, counts=False)
        for _ in range(3):
            await sign_in(person, authenticator)
        assert (await person.ask("passkeys")).items[0].synced

    async def test_a_proof_serves_for_one_device_and_one_nonce(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        body = await request(person)
        proof = authenticator.get((await asking.city.ask("person_options", body=body)).options)
        other = await request(person)
        shown = r.SessionRequest(other.device, other.nonce, other.signature, r.PersonProof(passkey=proof))
        with pytest.raises(Refusal) as refused:
            await asking.city.ask("sign_in", body=shown)
        assert refused.value.answer.person == "passkey"

    async def test_the_same_sign_in_twice_is_one(self, asking: Agency) -> None:
        person, authenticator = await joined(asking)
        authenticator.counts = False
        authenticator.credentials[0].count = 0
        body = await request(person)
        asked = await asking.city.ask("person_options", body=body)
        proof = r.PersonProof(passkey=authenticator.get(asked.options))
        shown = r.SessionRequest(body.device, body.nonce, body.signature, proof)
        await asking.city.ask("sign_in", body=shown)
        with pytest.raises(Refusal) as refused:
            await asking.city.ask("sign_in", body=shown)
        assert refused.value.code is WireError.UNAUTHENTICATED


class TestHowLong:
    async def test_a_shift_and_an_hour_more(self, asking: Agency) -> None:
        """Nothing that is idle, and no shift that ends, silences a page before the person could show themselves."""
        city = asking.city
        person, authenticator = await joined(asking)
        assert person.tokens is not None
        until_ms = person.tokens.person_until_ms
        for hours in (6, 6.9):
            city.clock.advance(hours * HOUR_S)
            person.tokens = await city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
            assert person.tokens is not None
            assert person.tokens.person_until_ms == until_ms
            await person.ask("me")
        city.clock.advance(0.1 * HOUR_S)
        for _ in range(2):
            with pytest.raises(Refusal) as refused:
                await city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
            answer = refused.value.answer
            assert (answer.code, answer.detail, answer.person) == ("token_expired", "person", "passkey")
        tokens = await sign_in(person, authenticator)
        assert tokens.person_until_ms == city.clock.now_ms() + 12 * HOUR_S * 1000

    async def test_who_was_signed_in_before_has_a_shift_to_register(self, agency: Agency) -> None:
        person = await agency.join(Role.RESPONDER)
        agency.city.clock.advance(20 * 86_400)
        await agency.admin.sign_in()
        authenticator = Authenticator(ORIGIN)
        await register(agency.admin, Authenticator(ORIGIN))
        await ask_for(agency, PersonBy.PASSKEY)
        assert person.tokens is not None
        person.tokens = await agency.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
        assert person.tokens is not None
        assert person.tokens.person_until_ms == agency.city.clock.now_ms() + 12 * HOUR_S * 1000
        await register(person, authenticator)
        await sign_in(person, authenticator)


class TestPasskeys:
    async def test_another_is_registered_from_a_session_that_was_proven(self, asking: Agency) -> None:
        person, _ = await joined(asking)
        second = Authenticator(ORIGIN)
        await register(person, second)
        assert len((await person.ask("passkeys")).items) == 2
        await sign_in(person, second)

    async def test_not_from_one_that_was_opened_before(self, agency: Agency) -> None:
        person = await agency.join(Role.RESPONDER)
        await register(person, Authenticator(ORIGIN))
        await register(agency.admin, Authenticator(ORIGIN))
        await ask_for(agency, PersonBy.PASSKEY)
        with pytest.raises(Refusal) as refused:
            await person.ask("passkey_options")
        assert refused.value.code is WireError.FORBIDDEN

    async def test_not_from_a_session_whose_proof_is_a_while_ago(self, asking: Agency) -> None:
        """A device that is found unlocked sends as its person until the proof is over, and must not do so for good."""
        person, authenticator = await joined(asking)
        made = Authenticator(ORIGIN).create((await person.ask("passkey_options")).options)
        asking.city.clock.advance(15 * 60)
        assert person.tokens is not None
        person.tokens = await asking.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
        for operation, body in (("passkey_options", None), ("add_passkey", r.PasskeyPost(made))):
            with pytest.raises(Refusal) as refused:
                await person.ask(operation, body)
            assert refused.value.code is WireError.FORBIDDEN
        await sign_in(person, authenticator)
        await register(person, Authenticator(ORIGIN))

    async def test_not_by_who_is_still_signed_in_where_all_were_forgotten(self, asking: Agency) -> None:
        """They were forgotten because somebody else may hold them, and perhaps the device as well."""
        person, _ = await joined(asking)
        await asking.admin.ask("forget_passkeys", id=person.member)
        asking.city.clock.advance(15 * 60)
        assert person.tokens is not None
        person.tokens = await asking.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
        with pytest.raises(Refusal) as refused:
            await person.ask("passkey_options")
        assert refused.value.code is WireError.FORBIDDEN

    async def test_the_browser_is_told_which_are_there(self, agency: Agency) -> None:
        authenticator = Authenticator(ORIGIN)
        await register(agency.admin, authenticator)
        options = json.loads((await agency.admin.ask("passkey_options")).options)
        assert [one["id"] for one in options["excludeCredentials"]]
        assert options["authenticatorSelection"]["userVerification"] == "required"
        assert options["authenticatorSelection"]["residentKey"] == "required"
        assert options["rp"] == {"id": "relay.example", "name": "Leeside"}
        assert options["attestation"] == "none"

    async def test_an_answer_serves_once_here_and_for_some_minutes(self, agency: Agency) -> None:
        authenticator = Authenticator(ORIGIN)
        made = authenticator.create((await agency.admin.ask("passkey_options")).options)
        agency.city.clock.advance(299)
        await agency.admin.ask("add_passkey", r.PasskeyPost(made))
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("add_passkey", r.PasskeyPost(made))
        assert refused.value.code is WireError.CONFLICT
        late = authenticator.create((await agency.admin.ask("passkey_options")).options)
        agency.city.clock.advance(601)
        await agency.admin.sign_in()
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("add_passkey", r.PasskeyPost(late))
        assert refused.value.code is WireError.INVALID

    async def test_ones_own_are_forgotten_but_not_the_last_that_is_needed(self, asking: Agency) -> None:
        person, _ = await joined(asking)
        second = await register(person, Authenticator(ORIGIN))
        stranger, _ = await joined(asking)
        with pytest.raises(Refusal) as refused:
            await stranger.ask("delete_passkey", id=second.id)
        assert refused.value.code is WireError.NOT_FOUND
        await person.ask("delete_passkey", id=second.id)
        (last,) = (await person.ask("passkeys")).items
        with pytest.raises(Refusal) as refused:
            await person.ask("delete_passkey", id=last.id)
        assert refused.value.code is WireError.FORBIDDEN

    async def test_lost_ones_are_forgotten_by_an_administrator(self, asking: Agency) -> None:
        person, lost = await joined(asking)
        supervisor, _ = await joined(asking, Role.SUPERVISOR)
        with pytest.raises(Refusal) as refused:
            await supervisor.ask("forget_passkeys", id=person.member)
        assert refused.value.code is WireError.FORBIDDEN
        for _ in range(2):
            await asking.admin.ask("forget_passkeys", id=person.member)
        assert await events(asking, "passkey_removed") == [("passkey_removed", "all")]
        asking.city.clock.advance(16 * 60)
        body = await request(person)
        with pytest.raises(Refusal) as refused:
            await asking.city.ask("person_options", body=body)
        assert refused.value.code is WireError.FORBIDDEN, "an old device registers none"
        assert lost.credentials

    async def test_who_signs_in_meanwhile_keeps_none(
        self, asking: Agency, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each use changes the passkey's row: who has a stolen one must not keep it by using it."""
        person, authenticator = await joined(asking)
        read, uses = passkeys_of, iter(range(3))

        async def used_meanwhile(call: Call, agency: AgencyId, member: MemberId) -> list[Held[PasskeyRow]]:
            there = await read(call, agency, member)
            if next(uses, None) is not None:
                await sign_in(person, authenticator)
            return there

        monkeypatch.setattr(passkeys, "passkeys_of", used_meanwhile)
        await asking.admin.ask("forget_passkeys", id=person.member)
        assert await events(asking, "passkey_removed") == [("passkey_removed", "all")]
        assert (await person.ask("passkeys")).items == ()

    async def test_they_go_with_the_membership(self, asking: Agency) -> None:
        person, _ = await joined(asking)
        held = await asking.admin.ask("member", id=person.member)
        await asking.admin.ask("change_member", r.MemberChange(held.revision, ended=True), id=person.member)
        rows = await asking.city.node.store.objects(
            asking.id, "passkey", bytes.fromhex(person.member), b"", 9
        )
        assert list(rows) == []

    @pytest.mark.parametrize(
        ("origins", "party"),
        [
            ((), None),
            (("http://127.0.0.1:8470",), None),
            (("http://localhost:8470",), "localhost"),
            (("https://relay.example:8443", "https://other.example"), "relay.example"),
        ],
    )
    def test_whom_they_are_made_for(self, origins: tuple[str, ...], party: str | None) -> None:
        found = relying_party(origins)
        assert (found.id if found else None) == party
        assert found is None or found.origins == origins[:1]


class TestSharedTablets:
    async def shared(self, agency: Agency, hours: float = 8) -> tuple[Person, int]:
        until_ms = agency.city.clock.now_ms() + round(hours * HOUR_S * 1000)
        member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
        code = await agency.admin.ask(
            "create_enrolment", r.NewEnrolment("tablet", shift=True, until_ms=until_ms), id=member
        )
        person = Person(agency.city, DeviceKeys.create(os.urandom, agency.city.clock.now_ms()), member)
        await agency.city.ask("redeem", body=redeem(person.keys, code.code))
        await agency.post(agency.certificate(person.keys, member, Role.RESPONDER))
        await person.sign_in()
        return person, until_ms

    async def test_everything_ends_with_the_shift(self, agency: Agency) -> None:
        city = agency.city
        person, until_ms = await self.shared(agency)
        assert person.tokens is not None
        assert person.tokens.refresh_until_ms == until_ms
        assert (await person.ask("device", id=person.id.hex())).shift_until_ms == until_ms
        city.clock.advance(8 * HOUR_S - 60)
        person.tokens = await city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
        assert person.tokens is not None
        assert (person.tokens.token_until_ms, person.tokens.refresh_until_ms) == (until_ms, until_ms)
        city.clock.advance(60)
        with pytest.raises(Refusal) as refused:
            await person.ask("me")
        assert refused.value.code is WireError.TOKEN_EXPIRED
        with pytest.raises(Refusal) as refused:
            await city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
        assert refused.value.code is WireError.EXPIRED
        with pytest.raises(Refusal) as refused:
            await person.sign_in()
        assert refused.value.code is WireError.EXPIRED

    async def test_the_server_revokes_it_then(self, agency: Agency) -> None:
        city = agency.city
        retention = Retention(city.node, RetentionSettings())
        person, _ = await self.shared(agency)
        await person.ask("put_device_key", r.PutDeviceKey(person.keys.newest.encode()))
        await retention.sweep()
        await agency.admin.sign_in()
        assert (await agency.admin.ask("device", id=person.id.hex())).state == "active"
        city.clock.advance(8 * HOUR_S)
        await agency.admin.sign_in()
        for _ in range(2):
            await retention.sweep()
        assert (await agency.admin.ask("device", id=person.id.hex())).state == "revoked"
        assert await events(agency, "shift_ended", "device_revoked") == [
            ("device_revoked", "done"),
            ("shift_ended", "done"),
        ]
        with pytest.raises(Refusal) as refused:
            await person.sign_in()
        assert refused.value.code is WireError.REVOKED

    @pytest.mark.parametrize(
        ("shift", "hours"),
        [(True, 0), (True, 16.01), (True, -1), (False, 8)],
        ids=["none", "long", "over", "unsaid"],
    )
    async def test_a_shift_has_an_end_within_sixteen_hours(
        self, agency: Agency, shift: bool, hours: float
    ) -> None:
        until_ms = agency.city.clock.now_ms() + round(hours * HOUR_S * 1000) if hours else 0
        body = r.NewEnrolment("tablet", shift=shift, until_ms=until_ms)
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("create_enrolment", body, id=agency.admin.member)
        assert refused.value.code is WireError.INVALID
