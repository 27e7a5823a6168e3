"""Signed bodies, damaged at random: each gets a refusal with its code, and nothing of it stands."""

import os
import random

import msgspec
import pytest

from leeside_protocol import resources as r
from leeside_protocol.routes import BY_NAME
from leeside_protocol.words import ChannelPurpose, Role
from tests.relay.http.world import Agency, channel_post, commit_post

DAMAGES = 60
PRIORITY_AT = 19


@pytest.mark.parametrize(
    "name", ["post_directory", "create_channel", "open_incident", "post_commit", "post_grant"]
)
async def test_a_damaged_body_is_refused(agency: Agency, name: str) -> None:
    person = await agency.join(Role.DISPATCHER, Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, person)
    incident = os.urandom(16)
    genesis = channel_post(ChannelPurpose.INCIDENT, agency.genesis(person, incident=incident), incident)
    commit = room.sealed.head.signed
    whole = msgspec.msgpack.encode(
        {
            "post_directory": r.DirectoryPost((os.urandom(10), agency.directory.root_public)),
            "create_channel": genesis,
            "open_incident": r.IncidentPost(incident, 2, (), genesis),
            "post_commit": commit_post(agency.genesis(person)),
            "post_grant": r.GrantPost(
                r.SignedObject(commit.payload, commit.signer, commit.signature), 1, b"box"
            ),
        }[name]
    )
    assert person.tokens is not None
    rng = random.Random(name)
    for n in range(DAMAGES):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            # The one byte that nobody signs is an incident's priority.
            if (name, at) != ("open_incident", PRIORITY_AT):
                data[at] ^= rng.randrange(1, 256)
        if bytes(data) == whole:
            continue
        body = bytes(data) if n % 3 else bytes(data[: rng.randrange(len(data))])
        response = await agency.city.raw(name, body=body, token=person.tokens.token, id=room.id.hex())
        answer = msgspec.json.decode(response.content, type=r.ErrorAnswer)
        assert 400 <= response.status_code < 500, answer
        assert answer.code
    assert len((await person.ask("channels")).items) == 1
    assert (await person.ask("incidents")).items == ()
    assert BY_NAME[name].media == r.MSGPACK
