"""Who gets a seat in a new channel, by its purpose (the table "Channels" of the sealing design)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from leeside.channels import commit_post
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn
from leeside.cli.names import names_for
from leeside.cli.registry import device_keys, fetch_directory
from leeside_protocol import resources as r
from leeside_protocol.ids import IncidentId, MemberId
from leeside_protocol.sealing.opening.committer import Committer, Genesis, MadeCommit, Seat
from leeside_protocol.sealing.public.commit import MAX_ROSTER, NO_INCIDENT, AuthRecord, Policy
from leeside_protocol.sealing.public.directory import Certificate, Directory
from leeside_protocol.words import ChannelPurpose, Compartment, Role

_DESK: Final = frozenset({Role.DISPATCHER, Role.SUPERVISOR})
_FIELD: Final = frozenset({Role.RESPONDER, Role.DISPATCHER, Role.PSYCHIATRIST, Role.SUPERVISOR})
_PASSING_BY: Final = frozenset({Role.INTERPRETER, Role.RECEIVING_FACILITY})

SEATED: Final[dict[ChannelPurpose, frozenset[Role]]] = {
    ChannelPurpose.UNIT: frozenset({Role.RESPONDER}) | _DESK,
    ChannelPurpose.DESK: _DESK,
    ChannelPurpose.AGENCY: frozenset(Role),
    ChannelPurpose.ON_CALL: _FIELD,
    ChannelPurpose.INCIDENT: _FIELD | _PASSING_BY,
    ChannelPurpose.CONSULT: _FIELD | _PASSING_BY,
}
"""Roles that a channel of this purpose may seat; the server holds every roster to the same (tests/guards)."""

EVERYONE: Final = frozenset({ChannelPurpose.AGENCY, ChannelPurpose.DESK})
"""Purposes whose roster is all who have such a role, not only those named."""

WITH_DESK: Final = frozenset({ChannelPurpose.UNIT, ChannelPurpose.ON_CALL, ChannelPurpose.INCIDENT})
"""Purposes where the dispatch desk is there besides those named (in operations)."""


def live_certificates(directory: Directory, now_ms: int) -> list[Certificate]:
    """Certified devices that are neither revoked nor out of date."""
    return [c for c in directory.devices() if c.revoked_seq is None and c.valid_at(now_ms)]


def seated(
    directory: Directory,
    purpose: ChannelPurpose,
    compartment: Compartment,
    members: Collection[MemberId],
    now_ms: int,
) -> tuple[Seat, ...]:
    """The seats of a new channel: the named members' devices, and those that its purpose brings."""
    wanted = frozenset(members)
    seats: list[Seat] = []
    for certificate in live_certificates(directory, now_ms):
        role = Role(certificate.role) if certificate.role in set(Role) else None
        if role is None or role not in SEATED[purpose] or not certificate.compartments >> compartment & 1:
            continue
        named = certificate.member_id in wanted
        brought = purpose in EVERYONE or (
            purpose in WITH_DESK and compartment is Compartment.OPERATIONS and role in _DESK
        )
        if named or brought:
            seats.append(Seat(certificate.device_id, certificate.agency_id))
    if len(seats) > MAX_ROSTER:
        raise CommandError(
            f"A channel seats {MAX_ROSTER} devices, and these are {len(seats)}.", Exit.FAILED, "roster"
        )
    return tuple(sorted(seats, key=lambda seat: seat.device_id))


def policy_of(directory: Directory, compartment: Compartment, now_ms: int) -> Policy:
    """This agency alone, and every usable records key of the compartment reads along."""
    records = sorted(
        key.records_id
        for key in directory.records_keys()
        if key.usable(directory.seq, now_ms) and key.compartments >> compartment & 1
    )
    return Policy((directory.agency_id,), tuple(records))


async def make_genesis(
    run: Invocation,
    desk: SignedIn,
    purpose: ChannelPurpose,
    members: Iterable[MemberId],
    *,
    compartment: Compartment = Compartment.OPERATIONS,
    incident: IncidentId = NO_INCIDENT,
    auth: tuple[AuthRecord, ...] = (),
) -> MadeCommit:
    """The signed first commit of a channel with its boxes; nothing is posted yet."""
    now_ms = run.now_ms()
    members = frozenset(members)
    directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
    seats = seated(directory, purpose, compartment, {*members, desk.member}, now_ms)
    if desk.device not in {seat.device_id for seat in seats}:
        raise CommandError(
            f"Your role or certificate has no seat in such a channel ({purpose.value}, {compartment.name.lower()}), and a "
            "channel is opened by one of its members.",
            Exit.FAILED,
            "no_seat",
        )
    await _tell_unseated(run, desk, directory, seats, members)
    book = await device_keys(desk.api, directory)
    committer = Committer(desk.keys, {directory.agency_id: directory}, book, run.random)
    genesis = Genesis(seats, policy_of(directory, compartment, now_ms), compartment, incident, auth)
    return committer.create(genesis, now_ms=now_ms)


async def _tell_unseated(
    run: Invocation,
    desk: SignedIn,
    directory: Directory,
    seats: Iterable[Seat],
    members: Collection[MemberId],
) -> None:
    """Whoever was named and gets no seat is named to the person: a channel that lacks somebody must not look whole."""
    certificates = [directory.device(seat.device_id) for seat in seats]
    there = {certificate.member_id for certificate in certificates if certificate is not None}
    missing = sorted(set(members) - there)
    if missing:
        names = await names_for(desk, (member.hex() for member in missing))
        run.screen.warn(
            f"NOT IN IT: {', '.join(names.show(m) for m in missing)}. They have no device that is certified for such a "
            "channel."
        )


def channel_post(purpose: ChannelPurpose, subject: bytes, made: MadeCommit) -> r.ChannelPost:
    """What opens the channel on the server."""
    return r.ChannelPost(purpose.value, subject, commit_post(made))
