"""One real server and one agency, founded by commands, for all journeys of the command line in a test process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from leeside_protocol.words import Discipline, Role
from leeside_server.core.identity import bootstrap_hash
from tests.faults.node import Node
from tests.support.prompt import Office, found_office


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node]:
    """A node on the embedded defaults, which nobody stops."""
    folder = tmp_path_factory.mktemp("commands")
    node = Node(folder / "node", folder / "data")
    asyncio.run(node.start())
    yield node
    asyncio.run(node.stop())
    assert "Traceback (most recent call last)" not in node.log_text()


def new_code(node: Node) -> str:
    """The operator's one-time code for a new agency."""
    code = secrets.token_hex(16).upper()
    with node.codes.open("a") as file:
        file.write(bootstrap_hash(code).hex() + "\n")
    return code


@pytest.fixture
def found(server: Node, tmp_path: Path) -> Callable[..., Office]:
    """Founds an agency for one test alone; options are those of `agency create`."""
    return lambda *options: found_office(tmp_path / "profiles", server.url, new_code(server), *options)


@pytest.fixture(scope="session")
def office(server: Node, tmp_path_factory: pytest.TempPathFactory) -> Office:
    """The agency: Ana and Ben in the field, Deniz at the desk, Sofia supervising, Priya on call."""
    made = found_office(tmp_path_factory.mktemp("office"), server.url, new_code(server))
    made.add("ana", Role.RESPONDER, Discipline.CLINICIAN)
    made.add("ben", Role.RESPONDER, Discipline.LAW_ENFORCEMENT_OFFICER)
    made.add("deniz", Role.DISPATCHER)
    made.add("sofia", Role.SUPERVISOR)
    made.add("priya", Role.PSYCHIATRIST)
    return made
