"""How long a test waits for what must come.

One figure for all of them: no test is about how fast a machine is, and two cores that compile, encode and run browsers
beside it may take a hundred times what an idle one takes. It ends only what will never come. How fast something is, is
measured by `./dev bench` and `./dev faults`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 90.0
"""Below the time that pytest gives a test (`timeout` in pyproject.toml), so that the test itself says what did not come."""

_TRIES: Final = 5


async def in_time(limit_s: float, attempt: Callable[[], Awaitable[float]]) -> None:
    """That something promised for so many seconds takes no longer, in one of a few attempts: a machine that does much else
    is late now and then, and a promise that is broken is broken each time. `attempt` gives the seconds it took; each
    stands alone. Raises `AssertionError`.
    """
    took_s: list[float] = []
    while not took_s or took_s[-1] >= limit_s:
        assert len(took_s) < _TRIES, f"promised within {limit_s:g} s, and took {took_s}"
        took_s.append(await attempt())
