"""What HTTP carries about who is on call, paging and consults (spec 08).

As in `resources`: a `Body` refuses unknown fields, an `Answer` may grow. Ids are 32 lowercase hexadecimal digits; times are
milliseconds of Unix time by the server's clock, and wall times of a rotation are local to its zone.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from leeside_protocol.limits import (
    CALENDAR_CHARS,
    LADDER_PHONES,
    LADDER_STEPS,
    ROTA_ENTRIES,
    ROTA_MEMBERS,
    ROTATIONS,
    STEP_DELAY_S,
)
from leeside_protocol.resources import (
    Answer,
    Body,
    ChannelPost,
    Code,
    Count,
    HexId,
    Label,
    Page,
    PublicKey,
    Signature,
)
from leeside_protocol.words import ConsultActionKind, ConsultState, TargetState, Urgency

Zone = Annotated[str, Meta(min_length=1, max_length=64)]
"""A name of the IANA time zone database."""
WallTime = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")]
Why = Literal["override", "rotation", "fallback", "gap"]


# ---- who is on call


class Rotation(Body, frozen=True):
    """Shifts that repeat. Occurrence n of `rule` (RFC 5545, RRULE) from `start` begins a shift of `members[n % len]`, which
    ends `length_min` of wall time later; both ends are resolved in `zone`."""

    id: HexId
    zone: Zone
    start: WallTime
    rule: Annotated[str, Meta(min_length=1, max_length=200)]
    length_min: Annotated[int, Meta(ge=1, le=527_040)]
    members: Annotated[tuple[HexId, ...], Meta(min_length=1, max_length=ROTA_MEMBERS)]


class RotaOverride(Body, frozen=True):
    """One member is on call from `from_ms` until before `until_ms`, whatever the rotations say. The newest (last) counts.
    `shift` came from a calendar, and counts only while its member is not absent."""

    id: HexId
    from_ms: Count
    until_ms: Count
    member: HexId
    why: Literal["cover", "swap", "shift"] = "cover"


class RotaAbsence(Body, frozen=True):
    """One member holds no shift of a rotation or of a calendar meanwhile; a cover or swap of theirs still counts."""

    id: HexId
    member: HexId
    from_ms: Count
    until_ms: Count


class NewRota(Body, frozen=True):
    """POST /v1/rotas."""

    label: Label
    rotations: Annotated[tuple[Rotation, ...], Meta(max_length=ROTATIONS)] = ()
    overrides: Annotated[tuple[RotaOverride, ...], Meta(max_length=ROTA_ENTRIES)] = ()
    absences: Annotated[tuple[RotaAbsence, ...], Meta(max_length=ROTA_ENTRIES)] = ()
    owners: Annotated[tuple[HexId, ...], Meta(max_length=16)] = ()
    fallback: HexId | None = None


class RotaChange(Body, frozen=True, omit_defaults=True):
    """PATCH /v1/rotas/{id}: what is named is replaced as a whole. `no_fallback` takes the fallback away."""

    revision: Count
    label: Label | None = None
    rotations: Annotated[tuple[Rotation, ...], Meta(max_length=ROTATIONS)] | None = None
    overrides: Annotated[tuple[RotaOverride, ...], Meta(max_length=ROTA_ENTRIES)] | None = None
    absences: Annotated[tuple[RotaAbsence, ...], Meta(max_length=ROTA_ENTRIES)] | None = None
    owners: Annotated[tuple[HexId, ...], Meta(max_length=16)] | None = None
    fallback: HexId | None = None
    no_fallback: bool = False
    ended: bool = False


class Rota(Answer, frozen=True):
    """A rota: at every instant it has exactly one holder, or says that there is a gap (spec 08, "Rotas")."""

    id: HexId
    label: str
    rotations: tuple[Rotation, ...]
    overrides: tuple[RotaOverride, ...]
    absences: tuple[RotaAbsence, ...]
    owners: tuple[HexId, ...]
    fallback: HexId | None
    created_ms: int
    ended_ms: int
    revision: int


class Rotas(Page, frozen=True):
    """GET /v1/rotas."""

    items: tuple[Rota, ...]


class Span(Answer, frozen=True):
    """One holder from `from_ms` until before `until_ms`; `member` None: nobody."""

    from_ms: int
    until_ms: int
    member: HexId | None
    why: Why


class Schedule(Answer, frozen=True):
    """GET /v1/rotas/{id}/schedule: who is on call in a window of 100 days at most, without a hole and in order."""

    rota: HexId
    spans: tuple[Span, ...]


class CalendarImport(Body, frozen=True):
    """POST /v1/rotas/{id}/import: the events of an iCalendar file (RFC 5545) become overrides, 366 days ahead.

    `members` says whom the file's names mean: an attendee's or organizer's address, else the summary. `zone` is that of times
    which name none; empty: the calendar's own, else the first rotation's.
    """

    revision: Count
    ics: Annotated[str, Meta(min_length=1, max_length=CALENDAR_CHARS)]
    members: Annotated[dict[str, HexId], Meta(max_length=ROTA_MEMBERS)]
    zone: Annotated[str, Meta(max_length=64)] = ""


class NewFeed(Body, frozen=True):
    """POST /v1/rotas/{id}/feeds: a live calendar under a secret address; `mine`: of my own shifts alone."""

    mine: bool = False


class Feed(Answer, frozen=True):
    """The address, shown once: whoever has it reads the calendar."""

    path: str

    def __repr__(self) -> str:
        return "Feed(...)"


class LadderStep(Body, frozen=True):
    """Whom to page, and how long to wait before the next step. Those who hold `rotas` when the step begins, and `members`;
    of them only who speaks the consult's language, has the specialty, holds the licence, where the step asks for it."""

    rotas: Annotated[tuple[HexId, ...], Meta(max_length=8)] = ()
    members: Annotated[tuple[HexId, ...], Meta(max_length=ROTA_MEMBERS)] = ()
    delay_s: Annotated[int, Meta(ge=5, le=3_600)] = STEP_DELAY_S
    repeats: Annotated[int, Meta(ge=0, le=5)] = 0
    language: bool = False
    specialty: Annotated[str, Meta(max_length=40)] = ""
    licence: Annotated[str, Meta(max_length=40)] = ""


class Phone(Body, frozen=True):
    """A number of the phone tree, called by voice when all else failed."""

    label: Label
    number: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]


class NewLadder(Body, frozen=True):
    """POST /v1/ladders. The last step is not written: it is always all supervisors and the phones."""

    label: Label
    steps: Annotated[tuple[LadderStep, ...], Meta(max_length=LADDER_STEPS)] = ()
    phones: Annotated[tuple[Phone, ...], Meta(max_length=LADDER_PHONES)] = ()


class LadderChange(Body, frozen=True, omit_defaults=True):
    """PATCH /v1/ladders/{id}. A consult that is under way keeps the ladder that it began with."""

    revision: Count
    label: Label | None = None
    steps: Annotated[tuple[LadderStep, ...], Meta(max_length=LADDER_STEPS)] | None = None
    phones: Annotated[tuple[Phone, ...], Meta(max_length=LADDER_PHONES)] | None = None
    ended: bool = False


class Ladder(Answer, frozen=True):
    """An escalation policy."""

    id: HexId
    label: str
    steps: tuple[LadderStep, ...]
    phones: tuple[Phone, ...]
    created_ms: int
    ended_ms: int
    revision: int


class Ladders(Page, frozen=True):
    """GET /v1/ladders."""

    items: tuple[Ladder, ...]


class LadderRoster(Answer, frozen=True):
    """GET /v1/ladders/{id}/roster: who a consult's first roster must hold, so that whoever accepts can read at once.

    `{id}` of 32 zeros is the agency's default: its oldest ladder, or the last step alone when it has none.
    """

    ladder: HexId | None
    members: tuple[HexId, ...]
    devices: tuple[HexId, ...]
    phones: tuple[Phone, ...]
    """The phone tree, for the screen that has no link."""


class Warning(Answer, frozen=True):  # noqa: A001
    """What will leave a page unanswered, seen ahead."""

    rota: HexId
    kind: Literal["gap", "unreachable", "probe_failed"]
    member: HexId | None
    from_ms: int
    until_ms: int


class OnCallRota(Answer, frozen=True):
    """Who holds a rota now, and until when that stays so."""

    rota: HexId
    label: str
    member: HexId | None
    until_ms: int


class OnCall(Answer, frozen=True):
    """GET /v1/oncall: the present and the warnings of the next 24 hours."""

    now_ms: int
    rotas: tuple[OnCallRota, ...]
    ladders: tuple[HexId, ...]
    warnings: tuple[Warning, ...]


# ---- paging


class DutyPut(Body, frozen=True):
    """PUT /v1/oncall/me: whether this device takes pages, and what its person found at the start-of-shift test."""

    on: bool
    sound: bool = False


class Duty(Answer, frozen=True):
    """GET /v1/oncall/me: this device and its pages. 0 for what never happened."""

    on: bool
    sound: bool
    tested_ms: int
    probed_ms: int
    push: bool
    """Has a subscription."""
    holds: tuple[HexId, ...]
    """Rotas that this member holds now."""


class TestPage(Answer, frozen=True):
    """POST /v1/oncall/test: a page of no consult goes to this device by every way that it has."""

    page: HexId


class PagePath(Answer, frozen=True):
    """How far a page came by one way."""

    path: Literal["socket", "push", "sms", "voice"]
    state: TargetState
    at_ms: int
    attempts: int


class PageReceipts(Answer, frozen=True):
    """GET /v1/pages/{id}."""

    page: HexId
    paths: tuple[PagePath, ...]


class ReceiptPost(Body, frozen=True):
    """POST /v1/pages/{id}/receipt: the page came here by `path`, or was seen by a person. The page's random id is the right
    to say so."""

    state: Literal["delivered", "seen"]
    path: Literal["socket", "push", "sms", "voice"] = "push"


# ---- the consult


class ConsultPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/consults: the consult, its sealed channel and its first frame in one transaction (spec 08, "Requesting").

    Empty `incident`: there is none, and the consult's own id is the channel's subject. Empty `ladder`: the default.
    """

    consult: bytes
    incident: bytes
    unit: bytes
    urgency: int
    language: str
    interpreter: bool
    specialty: str
    ladder: bytes
    channel: ChannelPost


class ConsultAction(Body, frozen=True):
    """POST /v1/consults/{id}/actions. `side` names the clinicians' channel, with kind `side` alone."""

    kind: ConsultActionKind
    side: HexId | None = None


class ConsultTarget(Answer, frozen=True):
    """One member that was paged, or would have been. `page` is what rings for them now: told to themselves and
    the desk alone, because whoever has it may say that it was seen. `rings`: something does."""

    member: HexId
    step: int
    state: TargetState
    page: HexId | None
    at_ms: int
    rings: bool = False


class Tried(Answer, frozen=True):
    """One line of what was done to reach somebody: shown to the requester."""

    at_ms: int
    event: str
    step: int
    member: HexId | None


class ConsultMine(Answer, frozen=True):
    """What the asking member may do, and whether it rings for them now."""

    may: tuple[ConsultActionKind, ...]
    page: HexId | None
    ringing: bool


class Consult(Answer, frozen=True):
    """A consult's clear part; what it is about is sealed in its channel. `step` is -1 before the first; `steps` counts the
    last one too; 0 for times that did not come."""

    id: HexId
    incident: HexId
    unit: HexId | None
    member: HexId
    device: HexId
    urgency: Urgency
    language: str
    interpreter: bool
    specialty: str
    state: ConsultState
    channel: HexId
    side: HexId | None
    ladder: HexId | None
    step: int
    steps: int
    turn: int
    requested_ms: int
    step_ms: int
    next_ms: int
    accepted_by: HexId | None
    accepted_device: HexId | None
    accepted_ms: int
    joined_ms: int
    ended_ms: int
    held_until_ms: int
    alarms: int
    taken_by: HexId | None
    targets: tuple[ConsultTarget, ...]
    tried: tuple[Tried, ...]
    me: ConsultMine
    revision: int


class Consults(Page, frozen=True):
    """GET /v1/consults?state=active|ended."""

    items: tuple[Consult, ...]


# ---- guests


class NewGuest(Body, frozen=True):
    """POST /v1/consults/{id}/guests: a link for an interpreter, or for the facility that will receive the person."""

    role: Literal["interpreter", "receiving_facility"]


class GuestLink(Answer, frozen=True):
    """The link's code, shown once: one device, 15 minutes. Its maker adds a secret that the server never sees."""

    guest: HexId
    code: Code
    expires_ms: int

    def __repr__(self) -> str:
        return f"GuestLink(guest={self.guest})"


class GuestPost(Body, frozen=True):
    """POST /v1/guests: whoever opened the link presents its code and their keys.

    `proof` is the new key's signature over PAE("leeside1 guest", code, hpke_public), the code as it is sent. `mac` is
    HMAC-SHA-256 with the link's secret over PAE("leeside1 guest keys", public_key, hpke_public).
    """

    code: Code
    public_key: PublicKey
    hpke_public: PublicKey
    proof: Signature
    mac: PublicKey

    def __repr__(self) -> str:
        return "GuestPost(...)"


class GuestTaken(Answer, frozen=True):
    """The guest may sign in with its key, and waits until a member lets it into the channel. `role`: as what it comes."""

    agency: HexId
    root_pub: bytes
    guest: HexId
    device: HexId
    consult: HexId
    channel: HexId
    until_ms: int
    role: Literal["interpreter", "receiving_facility"]


class Guest(Answer, frozen=True):
    """A link and who came by it. `open`: not used; `waiting`: to be let in; `in`: in the channel's roster."""

    guest: HexId
    consult: HexId
    role: Literal["interpreter", "receiving_facility"]
    state: Literal["open", "waiting", "in", "ended"]
    made_by: HexId
    expires_ms: int
    until_ms: int
    device: HexId | None
    public_key: bytes
    hpke_public: bytes
    mac: bytes


class Guests(Answer, frozen=True):
    """GET /v1/consults/{id}/guests."""

    items: tuple[Guest, ...]


# ---- figures


class FigureCell(Answer, frozen=True):
    """One cut of the consults, counted from their clear times. None: it would tell of fewer than `fewest` consults, or too few
    had it (a p95 needs 20). Times are milliseconds from the request on. `unanswered`, `exhausted`: the share, 0 to 1, that nobody
    accepted, or whose ladder ended, of those that were answered or are over; `depth`: how many steps were climbed, on average."""

    label: str
    consults: int | None
    to_page_p50_ms: int | None = None
    to_page_p90_ms: int | None = None
    to_page_p95_ms: int | None = None
    to_accept_p50_ms: int | None = None
    to_accept_p90_ms: int | None = None
    to_accept_p95_ms: int | None = None
    to_join_p50_ms: int | None = None
    to_join_p90_ms: int | None = None
    to_join_p95_ms: int | None = None
    unanswered: float | None = None
    exhausted: float | None = None
    depth: float | None = None


class Figures(Answer, frozen=True):
    """GET /v1/consults/figures: of the consults asked for in a window. `by_hour` has 24 cells, `by_weekday` 7, Monday first, by the
    wall time of `zone`."""

    from_ms: int
    until_ms: int
    zone: str
    fewest: int
    all: FigureCell
    by_hour: tuple[FigureCell, ...]
    by_weekday: tuple[FigureCell, ...]


NO_LADDER: Final = "0" * 32
