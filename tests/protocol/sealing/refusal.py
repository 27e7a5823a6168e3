"""Asserting that a rule refused, and which."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from leeside_protocol.sealing.errors import SealingCode, SealingError


@contextmanager
def refused(code: SealingCode) -> Generator[None]:
    """The block must end in a `SealingError` of exactly this code."""
    with pytest.raises(SealingError) as caught:
        yield
    assert caught.value.code is code
