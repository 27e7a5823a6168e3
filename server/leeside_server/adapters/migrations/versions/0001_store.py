"""The first tables of the store.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NO_ROWID = {"sqlite_with_rowid": False}
_REFUSAL = "security events are append-only"


def upgrade() -> None:
    """Create every table, the one row of `meta`, and the triggers that keep security events as they are."""
    _meta()
    _logs()
    _objects()
    _boxes()
    _audits()
    _blobs()


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column(
            "one", sa.SmallInteger, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False
        ),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("schema", sa.BigInteger, nullable=False),
        sa.Column("usable_by", sa.BigInteger, nullable=False),
        **_NO_ROWID,
    )
    op.execute("INSERT INTO meta (one, generation, schema, usable_by) VALUES (1, 1, 1, 1)")


def _logs() -> None:
    op.create_table(
        "channels",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("address", sa.LargeBinary, primary_key=True),
        sa.Column("head", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("floor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("min_epoch", sa.BigInteger, nullable=False, server_default="0"),
        **_NO_ROWID,
    )
    op.create_table(
        "messages",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("address", sa.LargeBinary, primary_key=True),
        sa.Column(
            "lane",
            sa.SmallInteger,
            sa.CheckConstraint("lane IN (1, 2)"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("device", sa.LargeBinary, nullable=False),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("urgency", sa.SmallInteger, nullable=False),
        sa.Column("mark", sa.SmallInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        **_NO_ROWID,
    )
    live = sa.text("lane = 2 AND payload IS NOT NULL")
    op.create_index("messages_id", "messages", ["agency", "device", "id"], unique=True)
    op.create_index(
        "messages_live",
        "messages",
        ["agency", "address", "offset"],
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index(
        "messages_live_key",
        "messages",
        ["agency", "address", "key"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("parent", sa.LargeBinary, nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        **_NO_ROWID,
    )
    op.create_index("objects_parent", "objects", ["agency", "kind", "parent", "id"])
    due = sa.text("due_ms IS NOT NULL")
    op.create_index("objects_due", "objects", ["kind", "due_ms"], sqlite_where=due, postgresql_where=due)


def _boxes() -> None:
    op.create_table(
        "boxes",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("channel", sa.LargeBinary, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("recipient", sa.LargeBinary, primary_key=True),
        sa.Column("box", sa.LargeBinary, nullable=False),
        **_NO_ROWID,
    )
    op.create_table(
        "boxes_shared",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("channel", sa.LargeBinary, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("shared", sa.LargeBinary, nullable=False),
        **_NO_ROWID,
    )


def _audits() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("head", sa.BigInteger, nullable=False, server_default="0"),
        **_NO_ROWID,
    )
    op.create_table(
        "audits",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("actor", sa.LargeBinary, nullable=False),
        sa.Column("subject", sa.LargeBinary, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        **_NO_ROWID,
    )
    if op.get_context().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audits_no_{verb.lower()} BEFORE {verb} ON audits "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audits_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audits_no_change BEFORE UPDATE OR DELETE ON audits "
        "FOR EACH ROW EXECUTE FUNCTION audits_refuse()"
    )
    op.execute(
        "CREATE TRIGGER audits_no_truncate BEFORE TRUNCATE ON audits "
        "FOR EACH STATEMENT EXECUTE FUNCTION audits_refuse()"
    )


def _blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("agency", sa.LargeBinary, primary_key=True),
        sa.Column("blob", sa.LargeBinary, primary_key=True),
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        **_NO_ROWID,
    )
