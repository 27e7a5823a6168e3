"""Members and units over HTTP: who may give what, and what nobody may."""

import asyncio
from collections.abc import Sequence

import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.words import Discipline, Role
from leeside_server.core.writes import Item, Outcome
from tests.relay.http.world import Agency, Refusal


async def test_a_supervisor_gives_what_a_night_needs_and_no_more(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    made = await supervisor.ask("create_member", r.NewMember((Role.RESPONDER,), Discipline.EMT))
    assert (made.roles, made.discipline) == ((Role.RESPONDER,), Discipline.EMT)
    await supervisor.ask("create_enrolment", r.NewEnrolment(), id=made.id)
    for call in (
        supervisor.ask("create_member", r.NewMember((Role.RESPONDER, Role.ADMIN))),
        supervisor.ask("create_member", r.NewMember((Role.SUPERVISOR,))),
        supervisor.ask("create_enrolment", r.NewEnrolment(), id=agency.admin.member),
        supervisor.ask("change_member", r.MemberChange(1, ended=True), id=agency.admin.member),
        supervisor.ask("change_member", r.MemberChange(1, roles=(Role.DISPATCHER,)), id=made.id),
    ):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code is WireError.FORBIDDEN


async def test_an_agency_keeps_one_administrator(agency: Agency) -> None:
    for change in (r.MemberChange(1, ended=True), r.MemberChange(1, roles=(Role.DISPATCHER,))):
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("change_member", change, id=agency.admin.member)
        assert refused.value.code is WireError.FORBIDDEN
    await agency.join(Role.ADMIN)
    await agency.admin.ask("change_member", r.MemberChange(1, ended=True), id=agency.admin.member)
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("me")
    assert refused.value.code is WireError.REVOKED


async def test_a_change_of_something_that_changed_meanwhile_is_a_conflict_with_its_revision(
    agency: Agency,
) -> None:
    made = await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))
    change = r.MemberChange(made.revision, roles=(Role.DISPATCHER,))
    await agency.admin.ask("change_member", change, id=made.id)
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("change_member", change, id=made.id)
    assert (refused.value.code, refused.value.answer.head) == (WireError.CONFLICT, 2)


async def test_logins_are_for_admins(agency: Agency) -> None:
    made = await agency.admin.ask("create_member", r.NewMember((Role.ADMIN,), login="someone@example.org"))
    assert made.login == "someone@example.org"
    supervisor = await agency.join(Role.SUPERVISOR)
    assert (await supervisor.ask("member", id=made.id)).login == ""
    assert not [item.login for item in (await supervisor.ask("members")).items if item.login]


async def test_units_are_made_of_members_and_end(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    unit = await agency.admin.ask("create_unit", r.NewUnit((person.member,), person.member))
    assert (await person.ask("units")).items == (unit,)
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("create_unit", r.NewUnit(("00" * 16,)))
    assert refused.value.code is WireError.INVALID
    ended = await agency.admin.ask("change_unit", r.UnitChange(unit.revision, ended=True), id=unit.id)
    assert ended.ended_ms
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("change_unit", r.UnitChange(ended.revision), id=unit.id)
    assert refused.value.code is WireError.FORBIDDEN


async def test_members_are_listed_page_by_page(agency: Agency) -> None:
    made = {(await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id for _ in range(5)}
    found: list[str] = []
    after = ""
    for _ in range(10):
        page = await agency.admin.ask("members", query={"limit": 2, "after": after})
        found += [item.id for item in page.items]
        after = page.next
        if not after:
            break
    assert set(found) == made | {agency.admin.member}
    assert len(found) == 6


async def test_two_administrators_who_leave_at_the_same_moment_do_not_both_leave(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await agency.join(Role.ADMIN)
    node = agency.city.node
    write, both_decided = node.write, asyncio.Barrier(2)

    async def late(items: Sequence[Item]) -> Sequence[Outcome]:
        await both_decided.wait()
        return await write(items)

    monkeypatch.setattr(node, "write", late)
    leaving = [
        asyncio.create_task(person.ask("change_member", r.MemberChange(1, ended=True), id=person.member))
        for person in (agency.admin, other)
    ]
    results = await asyncio.gather(*leaving, return_exceptions=True)
    (refused,) = [result for result in results if isinstance(result, Refusal)]
    assert refused.code is WireError.CONFLICT
    monkeypatch.undo()
    left = other if isinstance(results[1], Refusal) else agency.admin
    rows = (await left.ask("members")).items
    assert [row.id for row in rows if Role.ADMIN in row.roles and not row.ended_ms] == [left.member]


async def test_a_supervisor_says_what_a_consult_may_ask_of_anybody(agency: Agency) -> None:
    """Of an administrator too: it lifts nobody. What somebody may do stays an administrator's."""
    supervisor, psychiatrist = await agency.join(Role.SUPERVISOR), await agency.join(Role.PSYCHIATRIST)
    responder = await agency.join(Role.RESPONDER)
    skills = r.MemberChange(
        1, languages=("es", "en", "es"), specialties=("child",), licences=("NY",), phone="+12125550100"
    )
    for asked in (psychiatrist, responder):
        with pytest.raises(Refusal) as refused:
            await asked.ask("change_member", skills, id=psychiatrist.member)
        assert refused.value.code is WireError.FORBIDDEN
    for member in (psychiatrist.member, agency.admin.member):
        changed = await supervisor.ask("change_member", skills, id=member)
        assert (changed.languages, changed.specialties, changed.licences) == (
            ("es", "en"),
            ("child",),
            ("NY",),
        )
    for more in (r.MemberChange(2, phone="", login="x"), r.MemberChange(2, phone="", ended=True)):
        with pytest.raises(Refusal) as refused:
            await supervisor.ask("change_member", more, id=psychiatrist.member)
        assert refused.value.code is WireError.FORBIDDEN
    phones = [
        (await asked.ask("member", id=psychiatrist.member)).phone
        for asked in (supervisor, agency.admin, psychiatrist, responder)
    ]
    assert phones == ["+12125550100", "+12125550100", "+12125550100", ""]
    emptied = await supervisor.ask(
        "change_member", r.MemberChange(2, phone="", languages=()), id=psychiatrist.member
    )
    assert (emptied.phone, emptied.languages, emptied.licences) == ("", (), ("NY",))
    for wrong in ("5550100", "+0123456789", "+1 212 555"):
        with pytest.raises(Refusal) as refused:
            await supervisor.ask("change_member", r.MemberChange(3, phone=wrong), id=psychiatrist.member)
        assert refused.value.code is WireError.INVALID
