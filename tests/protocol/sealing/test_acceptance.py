"""Each rule of acceptance refuses what it must, with its code, and lets through what it must."""

from __future__ import annotations

import pytest

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.acceptance import ChannelLine, verify_commit
from tests.protocol.sealing.cases import CASES, GOOD
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.staging import Stage


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    code, make = CASES[name]
    attempt = make(Stage())
    with pytest.raises(SealingError) as caught:
        attempt.run()
    assert caught.value.code == code


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name: str) -> None:
    assert GOOD[name](Stage()).run().epoch >= 0


def test_a_line_that_holds_only_its_head_goes_on_from_there() -> None:
    stage = Stage()
    world = stage.world
    line = ChannelLine.at(stage.next)
    with refused(SealingCode.E_CHAIN):
        verify_commit(line, stage.genesis.commit.signed, world.directories)
    with refused(SealingCode.E_DUPLICATE):
        verify_commit(line, stage.next.signed, world.directories)
    following = stage.sign("dispatcher", epoch=2, prev_hash=stage.next.hash)
    assert line.accept(following, world.directories) == line.head
