"""The tables of the store, the same on SQLite and PostgreSQL.

| table | one row is | written by | lives |
|---|---|---|---|
| meta | the one row: generation, schema numbers | migrations, `bump_generation` | for ever |
| channels | a log: its head, floor and fence | `apply`, `prune` | for ever |
| messages | a message; without its payload once replaced or pruned | `apply`, `prune`, `forget_pruned` | log: for ever (an inbox's: 7 days at least), replaced state: 7 days at least |
| objects | what management made: a member, a device, an incident | `apply` | until it is removed: most for ever |
| boxes | one recipient's box of one epoch | `apply`, `forget_boxes` | while a recipient needs it |
| boxes_shared | what all recipients of one epoch need, or that its boxes went | `apply`, `forget_boxes` | for ever |
| audit_heads | how many security events an agency has | `apply` | for ever |
| audits | a security event; triggers refuse to change or delete one | `apply` | for ever |
| blobs | a chunk of an attachment (PostgreSQL only uses it) | `Blobs` | as its attachment |

Every key begins with the agency (but `meta`, which belongs to the store). `messages` is ordered by lane before
offset, so that a log is read without passing the many state rows that were replaced; the two partial indexes
hold live state values only: one to read them in order, one that allows a single live value for each key.

This file is what the newest migration leaves behind: a test compares the two. How tables may change while the
previous version of the server still runs on them: see `migrations/__init__.py`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
)

METADATA: Final = MetaData()

META: Final = Table(
    "meta",
    METADATA,
    Column("one", SmallInteger, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    Column("schema", BigInteger, nullable=False),
    Column("usable_by", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""`schema` is the number of the newest migration; `usable_by` the lowest schema number that a server may be
built for and still use this database."""

CHANNELS: Final = Table(
    "channels",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("address", LargeBinary, primary_key=True),
    Column("head", BigInteger, nullable=False, server_default="0"),
    Column("floor", BigInteger, nullable=False, server_default="0"),
    Column("min_epoch", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

MESSAGES: Final = Table(
    "messages",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("address", LargeBinary, primary_key=True),
    Column("lane", SmallInteger, CheckConstraint("lane IN (1, 2)"), primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, nullable=False),
    Column("device", LargeBinary, nullable=False),
    Column("id", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("urgency", SmallInteger, nullable=False),
    Column("mark", SmallInteger, nullable=False),
    Column("payload", LargeBinary, nullable=True),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""`payload` NULL: pruned (log) or replaced (state); empty in the state lane: deleted."""

_LIVE: Final = and_(MESSAGES.c.lane == 2, MESSAGES.c.payload.is_not(None))
Index("messages_id", MESSAGES.c.agency, MESSAGES.c.device, MESSAGES.c.id, unique=True)
Index(
    "messages_live",
    MESSAGES.c.agency,
    MESSAGES.c.address,
    MESSAGES.c.offset,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)
Index(
    "messages_live_key",
    MESSAGES.c.agency,
    MESSAGES.c.address,
    MESSAGES.c.key,
    unique=True,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)

OBJECTS: Final = Table(
    "objects",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("parent", LargeBinary, nullable=False),
    Column("due_ms", BigInteger, nullable=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
Index("objects_parent", OBJECTS.c.agency, OBJECTS.c.kind, OBJECTS.c.parent, OBJECTS.c.id)
Index(
    "objects_due",
    OBJECTS.c.kind,
    OBJECTS.c.due_ms,
    sqlite_where=OBJECTS.c.due_ms.is_not(None),
    postgresql_where=OBJECTS.c.due_ms.is_not(None),
)

BOXES: Final = Table(
    "boxes",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("channel", LargeBinary, primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient", LargeBinary, primary_key=True),
    Column("box", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

BOXES_SHARED: Final = Table(
    "boxes_shared",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("channel", LargeBinary, primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("shared", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

AUDIT_HEADS: Final = Table(
    "audit_heads",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("head", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

AUDITS: Final = Table(
    "audits",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("actor", LargeBinary, nullable=False),
    Column("subject", LargeBinary, nullable=False),
    Column("outcome", Text, nullable=False),
    sqlite_with_rowid=False,
)

BLOBS: Final = Table(
    "blobs",
    METADATA,
    Column("agency", LargeBinary, primary_key=True),
    Column("blob", LargeBinary, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
