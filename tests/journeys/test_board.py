"""Status and position: what a unit does and where its people are, on the dispatcher's board, with their age."""

from __future__ import annotations

from leeside.bodies import Fix
from leeside_protocol.words import Discipline, Mark, PrimaryStatus, Role, SecondaryStatus
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, now_ms, settled, until

QUAY = (475_621_000, 191_234_000)


async def test_status_and_position_reach_the_board_and_the_last_ones_outlive_the_phone(
    stage: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    unit = await town.unit(ana)
    async with deniz.open(stage.url(1)) as desk:
        async with ana.open(stage.url(0)) as phone:
            channel = await town.unit_channel(desk, phone, unit=unit)
            await (
                await phone.set_status(
                    channel, unit, PrimaryStatus.NOT_AVAILABLE, SecondaryStatus.ON_SCENE, mark=Mark.ARRIVED
                )
            ).wait(timeout_s=WAIT_S)
            await until(lambda: unit in desk.board(channel).statuses, "the status is on the board")
            shown = desk.board(channel).statuses[unit]
            assert (shown.status.secondary, shown.mark) == (SecondaryStatus.ON_SCENE, Mark.ARRIVED)

            assert phone.sharing == frozenset()
            phone.start_sharing(channel, every_s=1)
            assert await phone.move(Fix(*QUAY, accuracy_m=8, fix_ms=now_ms())) == 1
            await until(
                lambda: (p := desk.board(channel).position(ana.device)) is not None and p.live,
                "the position is live",
            )
            phone.stop_sharing(channel)
            await until(lambda: not phone.waiting(channel), "the last position stands")
        place = desk.board(channel).position(ana.device)
        assert place is not None
        assert place.fix is not None
        assert (place.fix.lat_e7, place.fix.lon_e7) == QUAY
        # The phone is gone; a desk that was never open before sees status and last position.
        sofia = await town.enrol("sofia", Role.SUPERVISOR)
        await desk.openings.admit(channel, [sofia.device])
        await desk.openings.grant(channel, sofia.device)
        async with sofia.open(stage.url(0)) as late:
            await settled(late, channel)
            await until(lambda: unit in late.board(channel).statuses, "the status is there")
            await until(lambda: late.board(channel).position(ana.device) is not None, "the place is there")
            seen = late.board(channel).position(ana.device)
            assert seen is not None
            assert not seen.live
            assert late.board(channel).sharing(now_ms()) == frozenset()
