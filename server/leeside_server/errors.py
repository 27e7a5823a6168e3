"""What ends a command of the server, told to the operator as a sentence with the fix.

    Exception
    ├── ServerError            something that a person can mend: what is wrong, what to do, an exit code
    │   ├── ConfigInvalid      the configuration: every problem at once           exit 78
    │   ├── StartRefused       it must not run like this, or not on this store    exit 78
    │   └── NotReachable       a disk, store or bus does not answer now           exit 69
    ├── StoreUnavailable, StoreFull, StoreRefused, BusUnavailable, ChunkDiffers    the ports' (`ports`)
    └── ProtocolError                                                              the wire's (`leeside_protocol`)

Nothing of a secret, of a request or of a library's own text stands in any of them.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""A check of `doctor` failed, or the server itself did (a bug: the log has it)."""
EXIT_USAGE: Final = 2
"""The command line is not understood."""
EXIT_UNAVAILABLE: Final = 69
"""A disk, store or bus cannot be reached: the same command may succeed later (EX_UNAVAILABLE of sysexits.h)."""
EXIT_CONFIG: Final = 78
"""Something must be changed first (EX_CONFIG of sysexits.h); a supervisor need not try again."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong and what to do about it, each a sentence."""

    wrong: str
    fix: str

    def __str__(self) -> str:
        return f"{self.wrong} {self.fix}"


class ServerError(Exception):
    """Something that a person can mend."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, *problems: Problem) -> None:
        super().__init__(" ".join(str(problem) for problem in problems))
        self.problems = problems


class ConfigInvalid(ServerError):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    exit_code = EXIT_CONFIG


class StartRefused(ServerError):
    """The server must not run like this."""

    exit_code = EXIT_CONFIG


class NotReachable(ServerError):
    """Something that the server needs does not answer now."""

    exit_code = EXIT_UNAVAILABLE
