"""What will be missing is told to supervisors: by one of several nodes, once a day before and once an hour before."""

from __future__ import annotations

import os

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, ChannelKind, address
from leeside_protocol.words import Role
from leeside_server.core.identity import AgencyRow
from leeside_server.core.notices import Notice
from leeside_server.core.oncall_warnings import WarnedRow
from leeside_server.core.rows import KINDS, create
from leeside_server.core.writes import Item, Save, Stored
from leeside_server.ports import Store
from leeside_server.relay.foresight import Foresight
from tests.relay.http.world import Agency, City, Person

HOUR_S = 3_600


async def told(city: City, agency: Agency, person: Person) -> list[bytes]:
    """The rotas that a device was warned of, in order."""
    page = await city.node.store.read(agency.id, address(ChannelKind.INBOX, person.id), 0, 500, 1 << 20)
    found = [msgspec.msgpack.decode(entry.payload or b"") for entry in page.entries]
    return [notice[1] for notice in found if notice[0] == Notice.ON_CALL_WARNING]


async def remembered(store: Store, agency: Agency) -> int:
    return len(await store.objects(agency.id, KINDS[WarnedRow], None, b"", 100))


async def test_a_gap_is_told_to_supervisors_once_at_each_distance_by_whichever_node(
    city: City, agency: Agency
) -> None:
    supervisor, responder = await agency.join(Role.SUPERVISOR), await agency.join(Role.RESPONDER)
    member = await supervisor.ask("member", id=supervisor.member)
    phone = r.MemberChange(member.revision, phone="+12125550100")
    await agency.admin.ask("change_member", phone, id=supervisor.member)
    now_ms = city.clock.now_ms()

    def shift(begin_h: int, end_h: int) -> o.RotaOverride:
        hour_ms = HOUR_S * 1000
        return o.RotaOverride(
            os.urandom(16).hex(), now_ms + begin_h * hour_ms, now_ms + end_h * hour_ms, supervisor.member
        )

    body = o.NewRota("line", overrides=(shift(-300, 30), shift(31, 400)))
    rota = bytes.fromhex((await supervisor.ask("create_rota", body)).id)
    nodes = [city.node.foresight, Foresight(city.node)]
    heard: list[int] = []
    for _ in range(60):
        for node in nodes:
            await node.look(0)
        warned = await told(city, agency, supervisor)
        heard.append(len(warned))
        assert set(warned) <= {rota}
        city.clock.advance(HOUR_S)
    assert heard == [0] * 7 + [1] * 22 + [2] * 31
    assert await told(city, agency, responder) == []
    assert await told(city, agency, agency.admin) == []
    assert await remembered(city.node.store, agency) == 1
    city.clock.advance(10 * 24 * HOUR_S)
    await city.node.foresight.look(0)
    assert await remembered(city.node.store, agency) == 0


async def test_an_agency_that_this_version_cannot_read_keeps_no_other_waiting(
    city: City, agency: Agency
) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    await supervisor.ask("create_rota", o.NewRota("nobody's"))
    other = AgencyId(bytes(15) + b"a")
    rows = [
        create(other, AgencyRow("another", b"", 0)),
        Save("rota", bytes(16), 0, b'{"label": 5}', b"", None),
    ]
    for row in rows:
        (outcome,) = await city.node.write([Item(other, 0, (row,))])
        assert isinstance(outcome, Stored)
    assert (await city.node.store.agencies())[0] == other
    await city.node.foresight.look(0)
    assert len(await told(city, agency, supervisor)) == 1


async def test_the_clockwork_looks(city: City, agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    await supervisor.ask("create_rota", o.NewRota("nobody's"))
    await city.node.clockwork.cycle()
    await city.node.clockwork.cycle()
    assert len(await told(city, agency, supervisor)) == 1
