"""What HTTP carries: JSON bodies of the management resources, MessagePack bodies of signed ones (spec 05).

Ids are 32 lowercase hexadecimal digits, binary values base64. Signed objects travel as MessagePack
(`application/msgpack`), byte for byte as they were signed. Every path starts with `/v1`; `routes.ROUTES`
is the list that server, SDK and the generated OpenAPI share. An object that is missing and one that is another
agency's give the same `not_found`, of the same shape.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from leeside_protocol.limits import (
    CREDENTIAL_CHARS,
    INT_MAX,
    PERSON_HOURS,
    PUSH_ENDPOINT_CHARS,
    ROSTER_DEVICES,
)
from leeside_protocol.words import (
    ChannelPurpose,
    Compartment,
    Discipline,
    HoldReason,
    IncidentState,
    PersonBy,
    Role,
    ShredReason,
)

HexId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
Label = Annotated[str, Meta(min_length=1, max_length=80)]
Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Code = Annotated[str, Meta(min_length=8, max_length=80)]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}$")]
"""A primary language subtag of BCP 47."""
Skill = Annotated[str, Meta(min_length=1, max_length=40)]
"""A specialty, or a licence such as a state's code."""
PhoneNumber = Annotated[str, Meta(pattern=r"^(\+[1-9][0-9]{6,14})?$")]
"""E.164, or empty for none."""


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON request body: an unknown field is `invalid`, so that a mistyped name is not ignored."""


class Answer(msgspec.Struct, frozen=True):
    """A JSON response body: unknown fields are ignored by clients, so that fields can be added."""


class ErrorAnswer(Answer, frozen=True):
    """Every refusal: the error's name and number (spec 90), whether to try again, and a sentence of ours."""

    code: str
    number: int
    may_retry: bool
    detail: str = ""
    retry_ms: int = 0
    sealing_code: str = ""
    head: int = 0
    person: str = ""
    """What shows the person, where `detail` is `person` (spec 02, "The person")."""


# ---- the server itself


class ServerInfo(Answer, frozen=True):
    """GET /v1/server: what a client needs before it signs in."""

    version: str
    subprotocols: tuple[str, ...]
    generation: int
    server_ms: int
    agency_sign_in: bool = False
    """An agency of this server has a sign-in of its own (spec 02, "The agency's own sign-in")."""


# ---- agencies and enrolment


class NewAgency(Body, frozen=True):
    """POST /v1/agencies: create an agency with the operator's one-time code.

    `entries` are the first signed directory entries (MessagePack each, as in `DirectoryPost`): the
    delegated authorities and the administrator's own device, certified. `proof` is the root's signature
    over PAE("leeside1 agency", code), so that nobody registers a root that they do not hold.
    """

    code: Code
    root_pub: PublicKey
    proof: Signature
    label: Label
    entries: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=16)]
    admin_member: HexId
    admin_device_key: bytes
    """The administrator's first signed DeviceKey (MessagePack `[payload, device, sig]`)."""


class Agency(Answer, frozen=True):
    """An agency as its members see it."""

    id: HexId
    label: str
    root_pub: bytes
    created_ms: int
    person: str = PersonBy.DEVICE.value
    person_hours: int = PERSON_HOURS
    revision: int = 0
    video: bool = False
    """This server has a bridge for the calls of consults (spec 09)."""
    video_phone: str = ""
    """A telephone conference for when a call cannot be had, as the operator wrote it."""


class AgencyChange(Body, frozen=True):
    """PATCH /v1/agency: what shows the person at a device, and for how many hours that counts."""

    revision: Count
    person: PersonBy | None = None
    person_hours: Annotated[int, Meta(ge=1, le=168)] | None = None


class NewMember(Body, frozen=True):
    """POST /v1/members: a person who will have devices. The name shown is sealed in the agency's channel;
    `login` is what the agency's own sign-in knows them by (spec 02, "The person"), often empty."""

    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=8)]
    discipline: Discipline | None = None
    login: Annotated[str, Meta(max_length=200)] = ""
    languages: Annotated[tuple[Language, ...], Meta(max_length=8)] = ()
    specialties: Annotated[tuple[Skill, ...], Meta(max_length=8)] = ()
    licences: Annotated[tuple[Skill, ...], Meta(max_length=8)] = ()
    phone: PhoneNumber = ""


class MemberChange(Body, frozen=True, omit_defaults=True):
    """PATCH /v1/members/{id}: other roles, another discipline or login, what a consult may ask for (each list as a whole;
    an empty `phone` is none), or the end of the membership."""

    revision: Count
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=8)] | None = None
    discipline: Discipline | None = None
    login: Annotated[str, Meta(max_length=200)] | None = None
    ended: bool = False
    languages: Annotated[tuple[Language, ...], Meta(max_length=8)] | None = None
    specialties: Annotated[tuple[Skill, ...], Meta(max_length=8)] | None = None
    licences: Annotated[tuple[Skill, ...], Meta(max_length=8)] | None = None
    phone: PhoneNumber | None = None


class Member(Answer, frozen=True):
    """A member: pseudonymous, with roles. `ended_ms` is 0 while the membership lasts. `phone` is where they are called by voice
    when nothing else woke them; empty for others than themselves, supervisors and administrators."""

    id: HexId
    roles: tuple[Role, ...]
    discipline: Discipline | None
    login: str
    created_ms: int
    ended_ms: int
    revision: int
    languages: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    phone: str = ""


class NewEnrolment(Body, frozen=True, omit_defaults=True):
    """POST /v1/members/{id}/enrolments: a one-time code for one new device of this member. With `shift` the device is a
    shared one, which ends at `until_ms`."""

    label: Label = "device"
    shift: bool = False
    until_ms: Count = 0


class EnrolmentCode(Answer, frozen=True):
    """The code, shown once: 15 minutes, single use. It admits a *pending* device, nothing more."""

    code: str
    expires_ms: int


class TicketPost(Body, frozen=True):
    """POST /v1/oidc/enrolments: a code for a new device, for whom the agency's own sign-in knows."""

    ticket: Annotated[str, Meta(min_length=1, max_length=512)]

    def __repr__(self) -> str:
        return "TicketPost(...)"


class Redeem(Body, frozen=True):
    """POST /v1/enrolments: a new device presents its code and its keys.

    `proof` is the device's signature over PAE("leeside1 enrol", code, public_key). `device_key` is its first
    signed DeviceKey (MessagePack `[payload, device, sig]`).
    """

    code: Code
    public_key: PublicKey
    proof: Signature
    device_key: Annotated[bytes, Meta(max_length=512)]


class Enrolled(Answer, frozen=True):
    """The device waits for approval: an administrator compares `short_code` in person or on video and
    signs `dev+`. Until then signing in answers `pending`."""

    agency: HexId
    member: HexId
    device: HexId
    short_code: str
    root_pub: bytes


class DeviceInfo(Answer, frozen=True):
    """A device as the agency's people see it. `state`: `pending`, `active`, `revoked`."""

    id: HexId
    member: HexId
    state: Literal["pending", "active", "revoked"]
    label: str
    short_code: str
    public_key: bytes
    device_key: bytes
    created_ms: int
    revoked_ms: int
    revision: int
    shift_until_ms: int = 0
    """When a shared device's shift ends; 0: not a shared one."""


class PutDeviceKey(Body, frozen=True):
    """PUT /v1/devices/me/key: the device's newest signed DeviceKey."""

    device_key: Annotated[bytes, Meta(max_length=512)]


# ---- sessions


class ChallengeRequest(Body, frozen=True):
    """POST /v1/challenges: a nonce to sign. Answered alike for devices that do not exist."""

    device: HexId


class ChallengeAnswer(Answer, frozen=True):
    """Sign PAE("leeside1 session", nonce, device) within a minute; each nonce serves once."""

    nonce: bytes
    expires_ms: int


class PersonProof(Body, frozen=True, omit_defaults=True):
    """Who is at the device: one of these. `passkey` and `new_passkey` are what the browser answered, as JSON; `ticket` came
    with the agency's own sign-in."""

    passkey: Annotated[str, Meta(max_length=CREDENTIAL_CHARS)] = ""
    new_passkey: Annotated[str, Meta(max_length=CREDENTIAL_CHARS)] = ""
    ticket: Annotated[str, Meta(max_length=512)] = ""

    def __repr__(self) -> str:
        return "PersonProof(...)"


class SessionRequest(Body, frozen=True, omit_defaults=True):
    """POST /v1/sessions: sign in with the device's key, and where the agency wants it as a person.

    POST /v1/sessions/options takes the same without `person`.
    """

    device: HexId
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    signature: Signature
    person: PersonProof | None = None


class PersonOptions(Answer, frozen=True):
    """POST /v1/sessions/options: what shows the person. `options` is what the browser is asked with, as JSON; empty for
    `oidc`, where the client goes to /v1/oidc/start, and for `device`."""

    by: PersonBy
    purpose: Literal["", "sign_in", "register"]
    options: str


class RefreshRequest(Body, frozen=True):
    """POST /v1/sessions/refresh: a new token for a refresh secret, which serves once. A secret used twice
    ends the whole session family: one of its two users stole it."""

    refresh: Annotated[str, Meta(max_length=200)]

    def __repr__(self) -> str:
        return "RefreshRequest(...)"


class SessionTokens(Answer, frozen=True):
    """A token for five minutes, the secret for the next one, and who signed in."""

    token: str
    token_until_ms: int
    refresh: str
    refresh_until_ms: int
    agency: HexId
    member: HexId
    device: HexId
    roles: tuple[Role, ...]
    person_until_ms: int = 0
    """Until when the person's proof counts; 0 where the device's key is enough."""

    def __repr__(self) -> str:
        return f"SessionTokens(device={self.device})"


class PasskeyOptions(Answer, frozen=True):
    """POST /v1/passkeys/options: what the browser is asked with, as JSON."""

    options: str


class PasskeyPost(Body, frozen=True):
    """POST /v1/passkeys: what the browser answered, as JSON."""

    credential: Annotated[str, Meta(min_length=1, max_length=CREDENTIAL_CHARS)]


class Passkey(Answer, frozen=True):
    """A passkey of one's own. `synced`: its maker keeps copies on other devices of the person."""

    id: HexId
    device: HexId
    """Where it was registered."""
    synced: bool
    created_ms: int
    used_ms: int


class Passkeys(Answer, frozen=True):
    """GET /v1/passkeys."""

    items: tuple[Passkey, ...]


# ---- push


class PushKey(Answer, frozen=True):
    """GET /v1/push/key: what a browser's subscription is bound to (P-256, uncompressed); empty: no push here."""

    public: bytes


class PushSubscription(Body, frozen=True):
    """PUT /v1/push/subscription: where, and with what, this device can be told that something waits (spec 03, "Push")."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=PUSH_ENDPOINT_CHARS)]
    p256dh: Annotated[bytes, Meta(min_length=65, max_length=65)]
    auth: Annotated[bytes, Meta(min_length=16, max_length=16)]

    def __repr__(self) -> str:
        return "PushSubscription(...)"


# ---- units, incidents, channels


class NewUnit(Body, frozen=True):
    """POST /v1/units: a team. Its shown name is sealed in the agency's channel."""

    members: Annotated[tuple[HexId, ...], Meta(max_length=16)] = ()
    lead: HexId | None = None


class UnitChange(Body, frozen=True):
    """PATCH /v1/units/{id}: who is in the unit, who leads it, or its end."""

    revision: Count
    members: Annotated[tuple[HexId, ...], Meta(max_length=16)] | None = None
    lead: HexId | None = None
    ended: bool = False


class Unit(Answer, frozen=True):
    """A unit and its members."""

    id: HexId
    members: tuple[HexId, ...]
    lead: HexId | None
    created_ms: int
    ended_ms: int
    revision: int


class IncidentChange(Body, frozen=True):
    """PATCH /v1/incidents/{id}: priority, state, assigned units. Closing archives its channels."""

    revision: Count
    priority: Annotated[int, Meta(ge=1, le=5)] | None = None
    state: IncidentState | None = None
    units: Annotated[tuple[HexId, ...], Meta(max_length=16)] | None = None


class Incident(Answer, frozen=True):
    """An incident's clear part; all that tells about the person is sealed in its channels."""

    id: HexId
    priority: int
    state: IncidentState
    units: tuple[HexId, ...]
    created_ms: int
    closed_ms: int
    revision: int


class HoldPost(Body, frozen=True):
    """POST /v1/incidents/{id}/records/hold and /release: a legal hold begins or ends. Each reason is a hold of its own,
    so that the end of one matter does not release what another one needs."""

    reason: HoldReason


class ShredPost(Body, frozen=True):
    """POST /v1/incidents/{id}/records/shred: destroy what is left of an ended incident, for good."""

    reason: ShredReason


class Hold(Answer, frozen=True):
    """A legal hold: why (a `HoldReason`), since when, and by which device it was placed."""

    reason: str
    since_ms: int
    device: HexId


class RecordsState(Answer, frozen=True):
    """How long an incident's records stay, and what became of them. 0 for what did not happen.

    `kept_until_ms` is when retention takes the content, 0 while the incident goes on or when it is kept for good. Under a
    hold nothing goes. At `emptied_ms` retention began to take the content; its keys stand in the archives until they
    are shredded. A shredding that was ordered and is not done (`shredded_ms`) goes on by itself.
    """

    incident: HexId
    state: IncidentState
    closed_ms: int
    kept_until_ms: int
    holds: tuple[Hold, ...]
    emptied_ms: int
    shred_ordered_ms: int
    shredded_ms: int


class ChannelInfo(Answer, frozen=True):
    """A channel that the asking device is in: why it exists and its verified head."""

    id: HexId
    purpose: ChannelPurpose
    compartment: Compartment
    subject: HexId | None
    """The unit or incident that the channel belongs to."""
    epoch: int
    commit_hash: bytes
    devices: Annotated[tuple[HexId, ...], Meta(max_length=ROSTER_DEVICES)]
    archived: bool
    generation: int
    head: int


class Page(Answer, frozen=True):
    """A page of a listing: `next` is the cursor of the following page, empty at the end."""

    next: str


class Members(Page, frozen=True):
    """GET /v1/members."""

    items: tuple[Member, ...]


class Devices(Page, frozen=True):
    """GET /v1/devices."""

    items: tuple[DeviceInfo, ...]


class Units(Page, frozen=True):
    """GET /v1/units."""

    items: tuple[Unit, ...]


class Incidents(Page, frozen=True):
    """GET /v1/incidents."""

    items: tuple[Incident, ...]


class RecordsStates(Page, frozen=True):
    """GET /v1/records."""

    items: tuple[RecordsState, ...]


class Channels(Page, frozen=True):
    """GET /v1/channels: those whose head roster holds the asking device."""

    items: tuple[ChannelInfo, ...]


class SecurityEvent(Answer, frozen=True):
    """One append-only row: who did what to whom, and how it ended."""

    seq: int
    at_ms: int
    event: str
    actor: str
    subject: str
    outcome: str


class SecurityEvents(Page, frozen=True):
    """GET /v1/security-events."""

    items: tuple[SecurityEvent, ...]


# ---- attachments


class NewBlob(Body, frozen=True):
    """POST /v1/channels/{id}/blobs: announce an attachment; sizes are of the sealed bytes."""

    size_bytes: Annotated[int, Meta(ge=1, le=INT_MAX)]


class Blob(Answer, frozen=True):
    """An attachment: chunks that stand already, so that an upload goes on where it broke off."""

    id: HexId
    size_bytes: int
    chunk_bytes: int
    chunks: int
    have: tuple[int, ...]
    complete: bool


# ---- signed objects (MessagePack bodies, positional arrays)


class SignedObject(msgspec.Struct, frozen=True, array_like=True):
    """`[payload, signer, sig]`, kept and sent byte for byte (spec 04)."""

    payload: bytes
    signer: bytes
    sig: bytes


class Box(msgspec.Struct, frozen=True, array_like=True):
    """One recipient's sealed epoch secret (spec 04, "Boxes")."""

    recipient: bytes
    kid: bytes
    suite: int
    sealed: bytes


class CommitPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/channels/{id}/commits: the next epoch, its boxes, the committer's signature over the boxes."""

    commit: SignedObject
    boxes: tuple[Box, ...]
    box_list_sig: bytes


class FirstMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message stored together with the commit that opens its channel."""

    id: bytes
    payload: bytes
    urgency: int = 0


class ChannelPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/channels: a new channel with its genesis. `subject` is a unit's or incident's id, or empty."""

    purpose: str
    subject: bytes
    genesis: CommitPost
    first: FirstMessage | None = None


class IncidentPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/incidents: the incident's row and its operations channel in one transaction."""

    incident: bytes
    priority: int
    units: tuple[bytes, ...]
    channel: ChannelPost


class CommitAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The commit stands: its epoch and hash. `repeat` when the very same commit stood already."""

    channel: bytes
    epoch: int
    commit_hash: bytes
    repeat: bool = False


class EpochBoxes(msgspec.Struct, frozen=True, array_like=True):
    """GET /v1/channels/{id}/boxes?after=N: for each epoch above N the asker's own box, and what verifies it."""

    epoch: int
    box: Box | None
    box_hashes: tuple[bytes, ...]
    box_list_sig: bytes


class DirectoryPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/directory: entries that follow the head. All stand or none.

    Each is the MessagePack of `[payload, signer, sig]`, or of `[payload, signer, sig, cosigner, cosig]` where two
    authorities must agree; the listing GET /v1/directory gives the same bytes back.
    """

    entries: tuple[bytes, ...]


class GrantPost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/channels/{id}/grants: a signed history grant and its box (spec 04, "History grants")."""

    grant: SignedObject
    suite: int
    box: bytes


class ArchivePost(msgspec.Struct, frozen=True, array_like=True):
    """POST /v1/channels/{id}/archives: an ended incident's secrets, sealed to a records key (spec 04, "Records")."""

    label: SignedObject
    suite: int
    key_box: bytes
    wrapped: bytes


JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
