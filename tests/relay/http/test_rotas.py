"""Rotas and ladders over HTTP: who writes them, what is refused with which sentence, and who must be in a consult."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import replace

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.words import Role
from leeside_server.relay.http import ladders, rotas
from tests.relay.http.world import Agency, City, Person, Refusal

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_800_000_000_000
"""2027-01-15T08:00Z, a Friday: when the world's clock stands."""


def new_id() -> str:
    return os.urandom(16).hex()


def weekly(
    *members: Person, start: str = "2027-01-11T08:00", rule: str = "FREQ=WEEKLY", hours: int = 168
) -> o.Rotation:
    return o.Rotation(new_id(), "UTC", start, rule, hours * 60, tuple(person.member for person in members))


def override(person: Person, from_ms: int, until_ms: int, why: Any = "cover") -> o.RotaOverride:
    return o.RotaOverride(new_id(), from_ms, until_ms, person.member, why)


async def refused(asking: Any, code: WireError, sentence: str = "") -> None:
    with pytest.raises(Refusal) as found:
        await asking
    assert found.value.code is code
    assert sentence in found.value.answer.detail


async def staff(agency: Agency) -> tuple[Person, Person, Person]:
    """A supervisor and two psychiatrists."""
    supervisor = await agency.join(Role.SUPERVISOR)
    return supervisor, await agency.join(Role.PSYCHIATRIST), await agency.join(Role.PSYCHIATRIST)


async def test_a_rota_from_its_first_week_to_its_end(agency: Agency) -> None:
    supervisor, ana, ben = await staff(agency)
    made = await supervisor.ask("create_rota", o.NewRota("crisis line", (weekly(ana, ben),)))
    assert (made.label, made.revision, made.created_ms) == ("crisis line", 1, NOW)
    assert (await ana.ask("rotas")).items == (made,)
    schedule = await ben.ask("schedule", id=made.id, query={"until_ms": NOW + 8 * DAY})
    monday = NOW + 3 * DAY
    assert schedule.spans == (
        o.Span(NOW, monday, ana.member, "rotation"),
        o.Span(monday, monday + 5 * DAY, ben.member, "rotation"),
    )
    covered = o.RotaChange(1, overrides=(override(ben, NOW + HOUR, NOW + 3 * HOUR),))
    changed = await supervisor.ask("change_rota", covered, id=made.id)
    schedule = await ana.ask("schedule", id=made.id, query={"until_ms": NOW + DAY})
    assert [(span.member, span.why) for span in schedule.spans] == [
        (ana.member, "rotation"),
        (ben.member, "override"),
        (ana.member, "rotation"),
    ]
    await refused(supervisor.ask("change_rota", covered, id=made.id), WireError.CONFLICT)
    ended = await supervisor.ask("change_rota", o.RotaChange(changed.revision, ended=True), id=made.id)
    assert ended.ended_ms == NOW
    again = o.RotaChange(ended.revision, label="x")
    await refused(supervisor.ask("change_rota", again, id=made.id), WireError.FORBIDDEN, "has ended")
    events = (await supervisor.ask("security_events", query={"limit": 500})).items
    assert [e.event for e in events if e.subject == made.id] == ["rota_created", "rota_changed", "rota_ended"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"zone": "Mars/Olympus"}, "IANA"),
        ({"start": "2027-02-30T08:00"}, "calendar"),
        ({"rule": "FREQ=SECONDLY"}, "FREQ=DAILY"),
        ({"rule": "FREQ=WEEKLY;BYDAY=SU"}, "first shift"),
        ({"length_min": 93 * 1440}, "92 days"),
    ],
)
async def test_a_rotation_that_cannot_stand_is_refused_with_its_reason(
    agency: Agency, change: dict[str, Any], sentence: str
) -> None:
    rotation = replace(weekly(agency.admin), **change)
    await refused(agency.admin.ask("create_rota", o.NewRota("x", (rotation,))), WireError.INVALID, sentence)


async def test_entries_that_cannot_stand_are_refused_with_their_reason(agency: Agency) -> None:
    admin, stranger = agency.admin, new_id()
    backwards = override(admin, NOW + HOUR, NOW)
    entry = override(admin, NOW, NOW + HOUR)
    for body, sentence in (
        (o.NewRota("x", overrides=(backwards,)), "ends after it begins"),
        (o.NewRota("x", overrides=(override(admin, 0, HOUR),)), "2000"),
        (o.NewRota("x", overrides=(override(admin, NOW, NOW + 367 * DAY),)), "366 days"),
        (o.NewRota("x", overrides=(entry, entry)), "share an id"),
        (o.NewRota("x", overrides=(replace(entry, member=stranger),)), "member of the agency"),
        (o.NewRota("x", owners=(stranger,)), "member of the agency"),
        (o.NewRota("x", fallback=stranger), "in use"),
    ):
        await refused(admin.ask("create_rota", body), WireError.INVALID, sentence)
    full = tuple(override(admin, NOW + n * DAY, NOW + n * DAY + HOUR) for n in range(330))
    absences = tuple(o.RotaAbsence(new_id(), admin.member, NOW, NOW + DAY) for _ in range(400))
    made = await admin.ask("create_rota", o.NewRota("x", overrides=full))
    change = o.RotaChange(1, absences=absences)
    await refused(admin.ask("change_rota", change, id=made.id), WireError.TOO_LARGE, "split it")


async def test_fallbacks_never_come_back(agency: Agency) -> None:
    admin = agency.admin
    first = await admin.ask("create_rota", o.NewRota("first"))
    second = await admin.ask("create_rota", o.NewRota("second", (weekly(admin),), fallback=first.id))
    circle = o.RotaChange(1, fallback=second.id)
    await refused(
        admin.ask("change_rota", circle, id=first.id), WireError.INVALID, "A falls back to B, and B to A"
    )
    itself = o.RotaChange(1, fallback=first.id)
    await refused(admin.ask("change_rota", itself, id=first.id), WireError.INVALID, "the rota itself")
    end = o.RotaChange(1, ended=True)
    await refused(admin.ask("change_rota", end, id=first.id), WireError.INVALID, "falls back to this one")
    both = o.RotaChange(1, fallback=first.id, no_fallback=True)
    await refused(admin.ask("change_rota", both, id=second.id), WireError.INVALID, "or none")
    await admin.ask("change_rota", o.RotaChange(1, no_fallback=True), id=second.id)
    await admin.ask("change_rota", o.RotaChange(1, fallback=second.id), id=first.id)
    span = (await admin.ask("schedule", id=first.id)).spans[0]
    assert (span.member, span.why) == (admin.member, "fallback")


async def test_who_may_change_what_of_a_rota(agency: Agency) -> None:
    supervisor, ana, ben = await staff(agency)
    owner, responder = await agency.join(Role.DISPATCHER), await agency.join(Role.RESPONDER)
    body = o.NewRota("line", (weekly(ana, ben),), owners=(owner.member,))
    await refused(owner.ask("create_rota", body), WireError.FORBIDDEN)
    rota = await supervisor.ask("create_rota", body)

    async def forbidden(person: Person, sentence: str = "", **change: Any) -> None:
        now = await supervisor.ask("rota", id=rota.id)
        asking = person.ask("change_rota", o.RotaChange(now.revision, **change), id=rota.id)
        await refused(asking, WireError.FORBIDDEN, sentence)

    async def changed(person: Person, **change: Any) -> o.Rota:
        now = await supervisor.ask("rota", id=rota.id)
        found: o.Rota = await person.ask("change_rota", o.RotaChange(now.revision, **change), id=rota.id)
        return found

    given = override(ben, NOW + HOUR, NOW + 2 * HOUR)
    for person in (owner, ana, responder):
        await forbidden(person, label="mine")
        await forbidden(person, rotations=())
        await forbidden(person, owners=())
        await forbidden(person, ended=True)
    await forbidden(responder, overrides=(given,))

    # Ana's week: she gives an hour of it to Ben, who takes another of hers; neither takes back, nor gives what is not theirs.
    await changed(ana, overrides=(given,))
    taken = override(ben, NOW + 4 * HOUR, NOW + 5 * HOUR, "swap")
    await changed(ben, overrides=(given, taken))
    await forbidden(ben, overrides=(taken,))
    await forbidden(ana, overrides=())
    await forbidden(
        ana, "yours to give", overrides=(given, taken, override(supervisor, NOW + HOUR, NOW + 90 * 60_000))
    )
    await forbidden(
        ben, "yours to give", overrides=(given, taken, override(supervisor, NOW + 6 * HOUR, NOW + 7 * HOUR))
    )
    await forbidden(
        ana, "before it begins", overrides=(given, taken, override(ana, NOW - DAY, NOW + 7 * HOUR))
    )
    await forbidden(ana, overrides=(given, taken, override(ana, NOW + 6 * HOUR, NOW + 7 * HOUR, "shift")))
    await forbidden(ana, absences=(o.RotaAbsence(new_id(), ana.member, NOW, NOW + DAY),))

    # An owner arranges all of it.
    away = o.RotaAbsence(new_id(), ana.member, NOW, NOW + DAY)
    assert (await changed(owner, overrides=(), absences=(away,))).absences == (away,)


async def test_what_was_over_long_ago_makes_room(agency: Agency) -> None:
    admin = agency.admin
    old, new = (
        override(admin, NOW - 40 * DAY, NOW - 36 * DAY),
        override(admin, NOW - 40 * DAY, NOW - 34 * DAY),
    )
    made = await admin.ask("create_rota", o.NewRota("x", overrides=(old, new)))
    assert (await admin.ask("change_rota", o.RotaChange(1, label="y"), id=made.id)).overrides == (new,)


async def test_a_schedule_is_of_a_hundred_days_at_most(agency: Agency) -> None:
    made = await agency.admin.ask("create_rota", o.NewRota("x", (weekly(agency.admin),)))
    for query in (
        {"from_ms": NOW, "until_ms": NOW},
        {"from_ms": NOW, "until_ms": NOW + 100 * DAY + 1},
        {"from_ms": 0},
        {"until_ms": 9_007_199_254_740_991},
        {"from_ms": "soon"},
    ):
        await refused(agency.admin.ask("schedule", id=made.id, query=query), WireError.INVALID)
    whole = await agency.admin.ask(
        "schedule", id=made.id, query={"from_ms": NOW, "until_ms": NOW + 100 * DAY}
    )
    assert (whole.spans[0].from_ms, whole.spans[-1].until_ms) == (NOW, NOW + 100 * DAY)


async def test_who_is_on_call_and_what_will_be_missing(agency: Agency, city: City) -> None:
    supervisor, ana, ben = await staff(agency)
    nights = weekly(ben, start="2027-01-01T20:00", rule="FREQ=DAILY", hours=10)
    line = await supervisor.ask(
        "create_rota", o.NewRota("line", (weekly(ana, rule="FREQ=DAILY", hours=12), nights))
    )
    city.clock.advance(60)  # nobody is expected back any more from before the node began
    now = NOW + 60_000
    await city.node.presence.renew("elsewhere", [], now)
    found = await ana.ask("on_call")
    assert found.now_ms == now
    assert found.rotas == (o.OnCallRota(line.id, "line", ana.member, NOW + 12 * HOUR),)
    assert [(w.kind, w.member, w.from_ms - NOW, w.until_ms - NOW) for w in found.warnings] == [
        ("unreachable", ana.member, 0, 12 * HOUR),
        ("unreachable", ben.member, 12 * HOUR, 22 * HOUR),
        ("gap", None, 22 * HOUR, 24 * HOUR),
        ("unreachable", ana.member, 24 * HOUR, 24 * HOUR + 60_000),
    ]
    # Ana's shift goes on, and a connected device is a way; Ben's is tonight, and being here now is none.
    await city.node.presence.renew("elsewhere", [(agency.id, ana.id), (agency.id, ben.id)], now)
    assert [(w.kind, w.member) for w in (await ana.ask("on_call")).warnings] == [
        ("unreachable", ben.member),
        ("gap", None),
        ("unreachable", ana.member),
    ]


async def test_whom_nobody_can_page_any_more_holds_nothing(agency: Agency) -> None:
    supervisor, ana, ben = await staff(agency)
    made = await supervisor.ask("create_rota", o.NewRota("x", (weekly(ana), weekly(ben))))
    member = await supervisor.ask("member", id=ana.member)
    await supervisor.ask("change_member", r.MemberChange(member.revision, ended=True), id=ana.member)
    (span,) = (await supervisor.ask("schedule", id=made.id)).spans
    assert span.member == ben.member
    # She stands in it still, and is no reason to refuse another change.
    await supervisor.ask("change_rota", o.RotaChange(1, label="y"), id=made.id)


async def test_a_ladder_and_its_bounds(agency: Agency) -> None:
    supervisor, ana, _ = await staff(agency)
    rota = await supervisor.ask("create_rota", o.NewRota("line", (weekly(ana),)))
    step = o.LadderStep(rotas=(rota.id,), delay_s=30, language=True)
    made = await supervisor.ask(
        "create_ladder", o.NewLadder("nights", (step,), (o.Phone("state line", "+18005550100"),))
    )
    assert made.steps == (step,)
    assert (await ana.ask("ladder", id=made.id)) == made
    assert (await ana.ask("ladders")).items == (made,)
    await refused(ana.ask("create_ladder", o.NewLadder("x")), WireError.FORBIDDEN)
    await refused(ana.ask("change_ladder", o.LadderChange(1, ended=True), id=made.id), WireError.FORBIDDEN)
    for steps, sentence in (
        ((o.LadderStep(),), "come last"),
        ((o.LadderStep(rotas=(new_id(),)),), "in use"),
        ((o.LadderStep(members=(new_id(),)),), "member of the agency"),
        ((o.LadderStep(members=(ana.member,), delay_s=4),), "shape"),
        ((o.LadderStep(members=(ana.member,), repeats=6),), "shape"),
        ((step,) * 11, "shape"),
    ):
        await refused(supervisor.ask("create_ladder", o.NewLadder("x", steps)), WireError.INVALID, sentence)
    end = o.RotaChange(1, ended=True)
    await refused(supervisor.ask("change_rota", end, id=rota.id), WireError.INVALID, "ladder pages this rota")
    ended = await supervisor.ask("change_ladder", o.LadderChange(1, ended=True), id=made.id)
    await refused(supervisor.ask("change_ladder", o.LadderChange(1), id=made.id), WireError.CONFLICT)
    again = o.LadderChange(ended.revision, label="x")
    await refused(supervisor.ask("change_ladder", again, id=made.id), WireError.FORBIDDEN, "has ended")
    await supervisor.ask("change_rota", end, id=rota.id)


async def test_a_roster_holds_all_who_could_be_paged_within_the_hour(agency: Agency) -> None:
    supervisor, ana, ben = await staff(agency)
    cleo, admin = await agency.join(Role.PSYCHIATRIST), agency.admin
    waiting = await agency.enrol(ana.member)
    # Ana until half past eight, then Ben; Cleo only for who asks for Spanish.
    rota = await supervisor.ask(
        "create_rota",
        o.NewRota("line", (weekly(ana),), (override(ben, NOW + HOUR // 2, NOW + DAY),)),
    )
    asked = o.LadderStep(members=(cleo.member, admin.member), language=True)
    made = await supervisor.ask("create_ladder", o.NewLadder("l", (o.LadderStep((rota.id,)), asked)))
    member = await supervisor.ask("member", id=cleo.member)
    await supervisor.ask("change_member", r.MemberChange(member.revision, languages=("es",)), id=cleo.member)

    def of(*people: Person) -> tuple[list[str], set[str]]:
        return [p.member for p in people], {p.id.hex() for p in people}

    async def roster(ladder: str, **query: str) -> tuple[list[str], set[str]]:
        found = await ana.ask("ladder_roster", id=ladder, query=query)
        assert found.ladder in (made.id, None)
        return list(found.members), set(found.devices)

    members, devices = await roster(made.id)
    assert members == [ana.member, ben.member, cleo.member, admin.member, supervisor.member]
    # A device that waits for approval is none yet, and no administrator's sits in a consult.
    assert devices == of(ana, ben, cleo, supervisor)[1]
    assert waiting.id.hex() not in devices
    assert await roster(made.id, language="es") == of(ana, ben, cleo, supervisor)
    assert await roster(made.id, language="fr") == of(ana, ben, supervisor)
    assert await roster(o.NO_LADDER, language="fr") == of(ana, ben, supervisor), "the oldest is the default"
    await refused(ana.ask("ladder_roster", id=made.id, query={"language": "FR"}), WireError.INVALID)
    await supervisor.ask("change_ladder", o.LadderChange(1, ended=True), id=made.id)
    assert await roster(o.NO_LADDER) == of(supervisor), "without one, the last step"


async def test_an_agency_has_as_many_rotas_as_are_read_at_once(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rotas, ladders):
        monkeypatch.setattr(module, "MOST_ROTAS", 1)
    for name, body in (("create_rota", o.NewRota("x")), ("create_ladder", o.NewLadder("x"))):
        await agency.admin.ask(name, body)
        await refused(agency.admin.ask(name, body), WireError.FORBIDDEN, "at most")
