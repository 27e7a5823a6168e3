"""What moves a consult, and what a move wants done: the inputs and effects of the machine in `consult`.

Inputs say what happened, by whom; `step` decides whether it may. Effects stand in one item of the store together with the
row that they came with: a page that is not written with its consult does not exist.
"""

from __future__ import annotations

import msgspec

from leeside_protocol.ids import ChannelId, DeviceId, MemberId, PageId
from leeside_protocol.words import TargetState


class Now(msgspec.Struct, frozen=True):
    """One instant on two clocks: `steady_ms` decides, `wall_ms` is shown to people."""

    steady_ms: int
    wall_ms: int


# ---- inputs


class Tick(msgspec.Struct, frozen=True):
    """Time went on, or people came and went."""


class Accept(msgspec.Struct, frozen=True):
    """`member` comes, from `device`."""

    member: MemberId
    device: DeviceId


class Decline(msgspec.Struct, frozen=True):
    """`member` does not come; by whoever accepted: cannot come after all."""

    member: MemberId


class Hold(msgspec.Struct, frozen=True):
    """`member` can come in five minutes."""

    member: MemberId


class Escalate(msgspec.Struct, frozen=True):
    """`member` wants the next step now."""

    member: MemberId


class Cancel(msgspec.Struct, frozen=True):
    """The consult is not needed any more."""

    member: MemberId


class Join(msgspec.Struct, frozen=True):
    """Whoever accepted is there, with `device`."""

    member: MemberId
    device: DeviceId


class Leave(msgspec.Struct, frozen=True):
    """Whoever accepted is gone: said so, or their device was lost."""

    member: MemberId


class End(msgspec.Struct, frozen=True):
    """The consult is over."""

    member: MemberId


class Take(msgspec.Struct, frozen=True):
    """A supervisor takes the alarm."""

    member: MemberId


class Release(msgspec.Struct, frozen=True):
    """A supervisor lets a held request go on."""

    member: MemberId


class Side(msgspec.Struct, frozen=True):
    """`channel` is the clinicians' own."""

    member: MemberId
    channel: ChannelId


class Receipt(msgspec.Struct, frozen=True):
    """A page came so far: `sent`, `delivered` or `seen`."""

    page: PageId
    state: TargetState


Input = (
    Tick | Accept | Decline | Hold | Escalate | Cancel | Join | Leave | End | Take | Release | Side | Receipt
)


# ---- effects


class Page(msgspec.Struct, frozen=True):
    """Page this member by every way at once. An id that was paged before is the same page again: it rings anew, and the
    devices know it. `phone`: they have a number."""

    page: PageId
    member: MemberId
    step: int
    phone: bool


class Dial(msgspec.Struct, frozen=True):
    """Call a number of the phone tree."""

    page: PageId
    label: str
    number: str


class Unpage(msgspec.Struct, frozen=True):
    """These pages are over: no attempt for them begins any more."""

    pages: tuple[PageId, ...]


class Alarm(msgspec.Struct, frozen=True):
    """Alarm every supervisor, for the `number`th time."""

    number: int


class Tell(msgspec.Struct, frozen=True):
    """These members' devices fetch the consult anew."""

    members: frozenset[MemberId]


class Ended(msgspec.Struct, frozen=True):
    """The consult is over for good: its channel is closed, its row needs no more ticks."""


Effect = Page | Dial | Unpage | Alarm | Tell | Ended
