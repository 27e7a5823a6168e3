"""Each rule of acceptance refuses what it must, with its code, and lets through what it must."""

from __future__ import annotations

import pytest

from leeside_protocol.sealing.errors import SealingError
from tests.protocol.sealing.cases import CASES, GOOD, Stage


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
