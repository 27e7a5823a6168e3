"""Calendars over HTTP: a file that is taken over, and the feed that a calendar program reads."""

from __future__ import annotations

import httpx
import pytest

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.words import Role
from leeside_server.core.identity import NO_AGENCY
from tests.core.test_calendar import events_of
from tests.relay.http.test_rotas import DAY, HOUR, NOW, override, refused, staff, weekly
from tests.relay.http.world import Agency, City, Person


def calendar(*summaries: str, begin: str = "20270116T080000Z", more: str = "") -> str:
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{n}\r\nDTSTART:{begin}\r\nDURATION:PT{n}H\r\nSUMMARY:{text}\r\n{more}END:VEVENT\r\n"
        for n, text in enumerate(summaries, 1)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n"


async def read(city: City, path: str, **headers: str) -> httpx.Response:
    return await city.client.get(
        path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


async def test_a_calendar_is_taken_over_and_taken_over_again(agency: Agency) -> None:
    supervisor, ana, ben = await staff(agency)
    cover = override(ben, NOW + DAY, NOW + DAY + HOUR // 2)
    rota = await supervisor.ask("create_rota", o.NewRota("line", overrides=(cover,), owners=(ana.member,)))
    members = {"Ana": ana.member, "ben@example.org": ben.member}
    ben_s = "ATTENDEE:mailto:ben@example.org\r\n"
    first = o.CalendarImport(1, calendar("Ana"), members)
    await refused(ben.ask("import_calendar", first, id=rota.id), WireError.FORBIDDEN)
    taken = await supervisor.ask("import_calendar", first, id=rota.id)
    assert [(e.member, e.why, e.from_ms - NOW, e.until_ms - NOW) for e in taken.overrides] == [
        (ana.member, "shift", DAY, DAY + HOUR),
        (ben.member, "cover", DAY, DAY + HOUR // 2),
    ]
    again = o.CalendarImport(taken.revision, calendar("x", more=ben_s, begin="20270117T080000Z"), members)
    taken = await ana.ask("import_calendar", again, id=rota.id)
    assert [(e.member, e.why) for e in taken.overrides] == [(ben.member, "shift"), (ben.member, "cover")]
    await refused(ana.ask("import_calendar", again, id=rota.id), WireError.CONFLICT)
    ended = await supervisor.ask("change_rota", o.RotaChange(taken.revision, ended=True), id=rota.id)
    late = o.CalendarImport(ended.revision, calendar("Ana"), members)
    await refused(supervisor.ask("import_calendar", late, id=rota.id), WireError.FORBIDDEN)


@pytest.mark.parametrize(
    ("ics", "sentence"),
    [
        ("nonsense", "not one iCalendar file"),
        (calendar("Ana", "a person whom nobody knows"), "event 2 names nobody"),
        (calendar("Ana", more="RRULE:FREQ=SECONDLY\r\n"), "event 1: a rule has"),
        (calendar("Ana", begin="20270116T080000"), "say which is meant"),
        (calendar("Stranger"), "member of the agency"),
    ],
)
async def test_what_cannot_be_taken_over_leaves_the_rota_as_it_was(
    agency: Agency, ics: str, sentence: str
) -> None:
    admin = agency.admin
    rota = await admin.ask("create_rota", o.NewRota("line"))
    body = o.CalendarImport(1, ics, {"Ana": admin.member, "Stranger": "f" * 32})
    await refused(admin.ask("import_calendar", body, id=rota.id), WireError.INVALID, sentence)
    assert (await admin.ask("rota", id=rota.id)) == rota
    if "whom nobody knows" in ics:
        response = await agency.city.raw(
            "import_calendar", body=body, token=admin.tokens.token if admin.tokens else "", id=rota.id
        )
        assert b"whom" not in response.content


async def test_times_without_a_zone_are_of_the_one_said_the_calendar_s_or_the_rota_s(agency: Agency) -> None:
    admin = agency.admin
    floating = calendar("Ana", begin="20270116T080000")
    own = floating.replace("VERSION:2.0", "VERSION:2.0\r\nX-WR-TIMEZONE:Asia/Tokyo")
    members = {"Ana": admin.member}

    async def begins(ics: str, zone: str, *rotations: o.Rotation) -> int:
        rota = await admin.ask("create_rota", o.NewRota("line", rotations))
        body = o.CalendarImport(1, ics, members, zone)
        taken = await admin.ask("import_calendar", body, id=rota.id)
        hours: int = (taken.overrides[0].from_ms - NOW) // HOUR
        return hours

    rotation = o.Rotation(
        "a" * 32, "America/New_York", "2027-01-11T08:00", "FREQ=WEEKLY", 60, (admin.member,)
    )
    assert await begins(own, "Europe/Paris", rotation) == 24 - 1
    assert await begins(own, "", rotation) == 24 - 9
    assert await begins(floating, "", rotation) == 24 + 5


async def test_a_feed_is_live_and_ends(agency: Agency, city: City) -> None:
    supervisor, ana, ben = await staff(agency)
    rota = await supervisor.ask("create_rota", o.NewRota("line", (weekly(ana, ben),)))
    path = (await supervisor.ask("create_feed", o.NewFeed(), id=rota.id)).path
    mine = (await ben.ask("create_feed", o.NewFeed(mine=True), id=rota.id)).path
    response = await read(city, path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/calendar")
    assert response.headers["cache-control"] == "private, max-age=60"
    events = events_of(response.content)
    assert {e["SUMMARY"] for e in events if "Nobody" not in e["SUMMARY"]} == {
        f"On call: line ({p.member[:8]})" for p in (ana, ben)
    }
    assert {e["SUMMARY"] for e in events_of((await read(city, mine)).content)} == {"On call: line"}

    tag = response.headers["etag"]
    for known in (tag, f'"other", {tag}'):
        again = await read(city, path, if_none_match=known)
        assert (again.status_code, again.content) == (304, b"")
    change = o.RotaChange(1, overrides=(override(ben, NOW + DAY, NOW + 2 * DAY),))
    await supervisor.ask("change_rota", change, id=rota.id)
    changed = await read(city, path, if_none_match=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag

    # Of the secret nothing is kept but a hash.
    kept = await city.node.store.objects(NO_AGENCY, "feed", bytes.fromhex(rota.id), b"", 10)
    secret = path.rpartition("/")[2].removesuffix(".ics")
    assert len(kept) == 2
    assert not any(secret.encode() in item.body for item in kept)

    # A psychiatrist ends their own, a supervisor all.
    await ben.ask("end_feeds", id=rota.id)
    gone = await read(city, mine)
    nowhere = await read(city, "/v1/feeds/" + "A" * 43 + ".ics")
    assert (gone.status_code, gone.content, dict(gone.headers)) == (
        404,
        nowhere.content,
        dict(nowhere.headers),
    )
    assert (await read(city, path)).status_code == 200
    await supervisor.ask("end_feeds", id=rota.id)
    await supervisor.ask("end_feeds", id=rota.id)
    assert (await read(city, path)).status_code == 404
    events_seen = [
        e.event
        for e in (await supervisor.ask("security_events", query={"limit": 500})).items
        if e.subject == rota.id
    ]
    assert events_seen.count("feed_created") == events_seen.count("feeds_ended") == 2


@pytest.mark.parametrize("what", ["maker", "rota"])
async def test_a_feed_ends_with_its_maker_and_with_its_rota(agency: Agency, city: City, what: str) -> None:
    supervisor, ana, _ = await staff(agency)
    rota = await supervisor.ask("create_rota", o.NewRota("line", (weekly(ana),)))
    path = (await ana.ask("create_feed", o.NewFeed(), id=rota.id)).path
    assert (await read(city, path)).status_code == 200
    if what == "maker":
        member = await supervisor.ask("member", id=ana.member)
        await supervisor.ask("change_member", r.MemberChange(member.revision, ended=True), id=ana.member)
    else:
        await supervisor.ask("change_rota", o.RotaChange(1, ended=True), id=rota.id)
        await refused(ana.ask("create_feed", o.NewFeed(), id=rota.id), WireError.FORBIDDEN)
    city.clock.advance(2)
    assert (await read(city, path)).status_code == 404


async def test_addresses_are_bounded_and_no_feed_is_another_s(agency: Agency, city: City) -> None:
    admin: Person = agency.admin
    responder = await agency.join(Role.RESPONDER)
    rota = await admin.ask("create_rota", o.NewRota("line"))
    for _ in range(64):
        await responder.ask("create_feed", o.NewFeed(), id=rota.id)
        city.clock.advance(1)
    await refused(admin.ask("create_feed", o.NewFeed(), id=rota.id), WireError.FORBIDDEN, "64 feeds")
    for path in (
        "/v1/feeds/x.ics",
        "/v1/feeds/" + "A" * 44 + ".ics",
        "/v1/feeds/.ics",
        "/v1/feeds/%00.ics",
        "/v1/feeds/" + "A" * 43,
    ):
        assert (await read(city, path)).status_code == 404
