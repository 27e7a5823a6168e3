"""What holds a secret or what a person wrote never shows it by being printed: a traceback with values, a log, a debugger."""

from __future__ import annotations

from pathlib import Path

import pytest

from leeside.attachments import _Upload  # pyright: ignore[reportPrivateUsage]
from leeside.authority import _StoredKey  # pyright: ignore[reportPrivateUsage]
from leeside.bodies import Attachment
from leeside.history import Row, Verdict
from leeside.keystore import Cost, Keystore, Passphrase
from leeside.outbox import Draft, Step, Waiting
from leeside.session import _Stored  # pyright: ignore[reportPrivateUsage]
from leeside_protocol import resources as r
from leeside_protocol.ids import BlobId, ChannelAddress, DeviceId, MessageId
from leeside_protocol.words import Lane, Mark, Urgency

CANARY = "canary that sings"
KEY = CANARY.encode().ljust(32, b".")
ID = bytes(16)
DRAFT = Draft(ChannelAddress(b"c" + ID), MessageId(ID), Lane.LOG, b"", KEY, 1)


@pytest.mark.parametrize(
    "value",
    [
        DRAFT,
        Waiting(1, DRAFT, Step.SEALED, KEY, 0, 0, 0, 0),
        Row(
            1, Lane.LOG, b"", DeviceId(ID), MessageId(ID), 1, Urgency.ROUTINE, Mark.NONE, Verdict.OPENED, KEY
        ),
        Attachment(BlobId(ID), KEY, ID, 1, bytes(32), CANARY),
        _Upload(ID, ID, KEY, 1, bytes(32)),
        _Stored("https://server.test", CANARY, 1, CANARY, 2),
        _StoredKey(1, "root", KEY),
        r.SessionTokens(CANARY, 1, CANARY, 2, "0" * 32, "0" * 32, "0" * 32, ()),
        r.RefreshRequest(CANARY),
        Passphrase(CANARY),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_not_shown(value: object) -> None:
    for shown in (repr(value), str(value), f"{[value]}"):
        assert CANARY not in shown


def test_an_open_keystore_shows_neither_key_nor_values(tmp_path: Path) -> None:
    with Keystore.create(tmp_path / "device.keys", Passphrase("correct horse", Cost(1, 8, 1))) as store:
        store.put("name", KEY)
        assert CANARY not in f"{vars(store)}"
