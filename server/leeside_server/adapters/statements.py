"""The statements of `queries`, compiled: written by `python -m tests.support.generate` from `definitions`."""

from __future__ import annotations

from typing import Final

from leeside_server.adapters.queries import PostgresQueries, Queries, Statement

# fmt: off
SQLITE: Final = Queries(
    entries=Statement(
        'SELECT messages."offset", messages.lane, messages."key", messages.device, messages.id, messages.at_ms, messages.payload, messages.urgency, messages.mark, messages.hash '
        "FROM messages "
        'WHERE messages.agency = ? AND messages.address = ? AND messages."offset" > ? AND messages.lane = 1 '
        'UNION ALL SELECT messages."offset", messages.lane, messages."key", messages.device, messages.id, messages.at_ms, messages.payload, messages.urgency, messages.mark, messages.hash '
        "FROM messages INDEXED BY messages_live "
        'WHERE messages.agency = ? AND messages.address = ? AND messages."offset" > ? AND messages.lane = 2 AND messages.payload IS NOT NULL '
        'ORDER BY "offset" '
        "LIMIT ? OFFSET ?",
        ("agency", "address", "after", "agency", "address", "after", "limit", "param_1"),
        {"param_1": 0},
    ),
    log=Statement(
        "SELECT channels.head, channels.floor, meta.generation "
        "FROM meta LEFT OUTER JOIN channels ON channels.agency = ? AND channels.address = ?",
        ("agency", "address"),
    ),
    get=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = ? AND objects.agency = ? AND objects.id = ?",
        ("kind", "agency", "id"),
    ),
    objects=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = ? AND objects.agency = ? AND objects.id > ? "
        "ORDER BY objects.id "
        "LIMIT ? OFFSET ?",
        ("kind", "agency", "after", "limit", "param_1"),
        {"param_1": 0},
    ),
    children=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = ? AND objects.agency = ? AND objects.id > ? AND objects.parent = ? "
        "ORDER BY objects.id "
        "LIMIT ? OFFSET ?",
        ("kind", "agency", "after", "parent", "limit", "param_1"),
        {"param_1": 0},
    ),
    due=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms, objects.agency "
        "FROM objects "
        "WHERE objects.kind = ? AND objects.due_ms <= ? "
        "ORDER BY objects.due_ms, objects.agency, objects.id "
        "LIMIT ? OFFSET ?",
        ("kind", "now_ms", "limit", "param_1"),
        {"param_1": 0},
    ),
    boxes=Statement(
        "SELECT boxes_shared.epoch, boxes.box, boxes_shared.shared "
        "FROM boxes_shared LEFT OUTER JOIN boxes ON boxes.agency = boxes_shared.agency AND boxes.channel = boxes_shared.channel AND boxes.epoch = boxes_shared.epoch AND boxes.recipient = ? "
        "WHERE boxes_shared.agency = ? AND boxes_shared.channel = ? AND boxes_shared.epoch >= ? "
        "ORDER BY boxes_shared.epoch "
        "LIMIT ? OFFSET ?",
        ("recipient", "agency", "channel", "from_epoch", "limit", "param_1"),
        {"param_1": 0},
    ),
    audits=Statement(
        "SELECT audits.seq, audits.at_ms, audits.event, audits.actor, audits.subject, audits.outcome "
        "FROM audits "
        "WHERE audits.agency = ? AND audits.seq > ? "
        "ORDER BY audits.seq "
        "LIMIT ? OFFSET ?",
        ("agency", "after", "limit", "param_1"),
        {"param_1": 0},
    ),
    agencies=Statement(
        "SELECT DISTINCT objects.agency "
        "FROM objects "
        "WHERE objects.kind = ? "
        "ORDER BY objects.agency",
        ("kind",),
    ),
    generation=Statement(
        "SELECT meta.generation "
        "FROM meta",
        (),
    ),
    set_generation=Statement(
        "UPDATE meta "
        "SET generation=?",
        ("generation",),
    ),
    lock_log=Statement(
        "SELECT channels.head, channels.floor "
        "FROM channels "
        "WHERE channels.agency = ? AND channels.address = ?",
        ("agency", "address"),
    ),
    set_floor=Statement(
        "UPDATE channels "
        "SET floor=? "
        "WHERE channels.agency = ? AND channels.address = ?",
        ("to", "agency", "address"),
    ),
    prune_log=Statement(
        "UPDATE messages "
        "SET payload=NULL "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 1 AND messages."offset" > ? AND messages."offset" <= ? AND messages.payload IS NOT NULL',
        ("agency", "address", "floor", "to"),
    ),
    forget_states=Statement(
        "DELETE "
        "FROM messages "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 2 AND messages."offset" IN (SELECT messages."offset" '
        "FROM messages "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 2 AND messages.at_ms < ? AND (messages.payload IS NULL OR length(messages.payload) = 0 AND messages."offset" <= ?) '
        "LIMIT ? OFFSET ?)",
        ("agency", "address", "agency", "address", "before_ms", "floor", "limit", "param_1"),
        {"param_1": 0},
    ),
    forget_pruned=Statement(
        "DELETE "
        "FROM messages "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 1 AND messages."offset" IN (SELECT messages."offset" '
        "FROM messages "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 1 AND messages."offset" <= ? AND messages.at_ms < ? AND messages.payload IS NULL '
        "LIMIT ? OFFSET ?)",
        ("agency", "address", "agency", "address", "floor", "before_ms", "limit", "param_1"),
        {"param_1": 0},
    ),
    oldest_kept=Statement(
        "SELECT messages.payload "
        "FROM messages JOIN channels ON channels.agency = messages.agency AND channels.address = messages.address "
        'WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 1 AND messages."offset" > channels.floor AND messages.payload IS NOT NULL '
        'ORDER BY messages."offset" '
        "LIMIT 1 OFFSET ?",
        ("agency", "address", "param_1"),
        {"param_1": 0},
    ),
    live_values=Statement(
        "SELECT messages.payload "
        "FROM messages INDEXED BY messages_live "
        "WHERE messages.agency = ? AND messages.address = ? AND messages.lane = 2 AND messages.payload IS NOT NULL AND length(messages.payload) > 0",
        ("agency", "address"),
    ),
    oldest_boxes=Statement(
        "SELECT boxes.epoch "
        "FROM boxes "
        "WHERE boxes.agency = ? AND boxes.channel = ? AND boxes.epoch < ? "
        "ORDER BY boxes.epoch "
        "LIMIT 1 OFFSET ?",
        ("agency", "channel", "below", "param_1"),
        {"param_1": 0},
    ),
    forget_boxes=Statement(
        "DELETE "
        "FROM boxes "
        "WHERE boxes.agency = ? AND boxes.channel = ? AND boxes.epoch >= ? AND boxes.epoch < ?",
        ("agency", "channel", "first", "below"),
    ),
    forget_box_lists=Statement(
        "UPDATE boxes_shared "
        "SET shared=? "
        "WHERE boxes_shared.agency = ? AND boxes_shared.channel = ? AND boxes_shared.epoch >= ? AND boxes_shared.epoch < ?",
        ("list", "agency", "channel", "first", "below"),
    ),
)

POSTGRES: Final = PostgresQueries(
    entries=Statement(
        'SELECT messages."offset", messages.lane, messages.key, messages.device, messages.id, messages.at_ms, messages.payload, messages.urgency, messages.mark, messages.hash '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages."offset" > $3 AND messages.lane = 1 '
        'UNION ALL SELECT messages."offset", messages.lane, messages.key, messages.device, messages.id, messages.at_ms, messages.payload, messages.urgency, messages.mark, messages.hash '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages."offset" > $3 AND messages.lane = 2 AND messages.payload IS NOT NULL '
        'ORDER BY "offset" '
        "LIMIT $4",
        ("agency", "address", "after", "limit"),
    ),
    log=Statement(
        "SELECT channels.head, channels.floor, meta.generation "
        "FROM meta LEFT OUTER JOIN channels ON channels.agency = $1 AND channels.address = $2",
        ("agency", "address"),
    ),
    get=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = $1 AND objects.agency = $2 AND objects.id = $3",
        ("kind", "agency", "id"),
    ),
    objects=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = $1 AND objects.agency = $2 AND objects.id > $3 "
        "ORDER BY objects.id "
        "LIMIT $4",
        ("kind", "agency", "after", "limit"),
    ),
    children=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms "
        "FROM objects "
        "WHERE objects.kind = $1 AND objects.agency = $2 AND objects.id > $3 AND objects.parent = $4 "
        "ORDER BY objects.id "
        "LIMIT $5",
        ("kind", "agency", "after", "parent", "limit"),
    ),
    due=Statement(
        "SELECT objects.kind, objects.id, objects.revision, objects.body, objects.parent, objects.due_ms, objects.agency "
        "FROM objects "
        "WHERE objects.kind = $1 AND objects.due_ms <= $2 "
        "ORDER BY objects.due_ms, objects.agency, objects.id "
        "LIMIT $3",
        ("kind", "now_ms", "limit"),
    ),
    boxes=Statement(
        "SELECT boxes_shared.epoch, boxes.box, boxes_shared.shared "
        "FROM boxes_shared LEFT OUTER JOIN boxes ON boxes.agency = boxes_shared.agency AND boxes.channel = boxes_shared.channel AND boxes.epoch = boxes_shared.epoch AND boxes.recipient = $1 "
        "WHERE boxes_shared.agency = $2 AND boxes_shared.channel = $3 AND boxes_shared.epoch >= $4 "
        "ORDER BY boxes_shared.epoch "
        "LIMIT $5",
        ("recipient", "agency", "channel", "from_epoch", "limit"),
    ),
    audits=Statement(
        "SELECT audits.seq, audits.at_ms, audits.event, audits.actor, audits.subject, audits.outcome "
        "FROM audits "
        "WHERE audits.agency = $1 AND audits.seq > $2 "
        "ORDER BY audits.seq "
        "LIMIT $3",
        ("agency", "after", "limit"),
    ),
    agencies=Statement(
        "SELECT DISTINCT objects.agency "
        "FROM objects "
        "WHERE objects.kind = $1 "
        "ORDER BY objects.agency",
        ("kind",),
    ),
    generation=Statement(
        "SELECT meta.generation "
        "FROM meta",
        (),
    ),
    set_generation=Statement(
        "UPDATE meta "
        "SET generation=$1",
        ("generation",),
    ),
    lock_log=Statement(
        "SELECT channels.head, channels.floor "
        "FROM channels "
        "WHERE channels.agency = $1 AND channels.address = $2 FOR UPDATE",
        ("agency", "address"),
    ),
    set_floor=Statement(
        "UPDATE channels "
        "SET floor=$1 "
        "WHERE channels.agency = $2 AND channels.address = $3",
        ("to", "agency", "address"),
    ),
    prune_log=Statement(
        "UPDATE messages "
        "SET payload=NULL "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 1 AND messages."offset" > $3 AND messages."offset" <= $4 AND messages.payload IS NOT NULL',
        ("agency", "address", "floor", "to"),
    ),
    forget_states=Statement(
        "DELETE "
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 2 AND messages."offset" IN (SELECT messages."offset" '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 2 AND messages.at_ms < $3 AND (messages.payload IS NULL OR length(messages.payload) = 0 AND messages."offset" <= $4) '
        "LIMIT $5)",
        ("agency", "address", "before_ms", "floor", "limit"),
    ),
    forget_pruned=Statement(
        "DELETE "
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 1 AND messages."offset" IN (SELECT messages."offset" '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 1 AND messages."offset" <= $3 AND messages.at_ms < $4 AND messages.payload IS NULL '
        "LIMIT $5)",
        ("agency", "address", "floor", "before_ms", "limit"),
    ),
    oldest_kept=Statement(
        "SELECT messages.payload "
        "FROM messages JOIN channels ON channels.agency = messages.agency AND channels.address = messages.address "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 1 AND messages."offset" > channels.floor AND messages.payload IS NOT NULL '
        'ORDER BY messages."offset" '
        "LIMIT 1",
        ("agency", "address"),
    ),
    live_values=Statement(
        "SELECT messages.payload "
        "FROM messages "
        "WHERE messages.agency = $1 AND messages.address = $2 AND messages.lane = 2 AND messages.payload IS NOT NULL AND length(messages.payload) > 0",
        ("agency", "address"),
    ),
    oldest_boxes=Statement(
        "SELECT boxes.epoch "
        "FROM boxes "
        "WHERE boxes.agency = $1 AND boxes.channel = $2 AND boxes.epoch < $3 "
        "ORDER BY boxes.epoch "
        "LIMIT 1",
        ("agency", "channel", "below"),
    ),
    forget_boxes=Statement(
        "DELETE "
        "FROM boxes "
        "WHERE boxes.agency = $1 AND boxes.channel = $2 AND boxes.epoch >= $3 AND boxes.epoch < $4",
        ("agency", "channel", "first", "below"),
    ),
    forget_box_lists=Statement(
        "UPDATE boxes_shared "
        "SET shared=$1 "
        "WHERE boxes_shared.agency = $2 AND boxes_shared.channel = $3 AND boxes_shared.epoch >= $4 AND boxes_shared.epoch < $5",
        ("list", "agency", "channel", "first", "below"),
    ),
    sized_page=Statement(
        'SELECT "some"."offset", "some".lane, "some".key, "some".device, "some".id, "some".at_ms, "some".payload, "some".urgency, "some".mark, "some".hash, channels.head, channels.floor, meta.generation '
        'FROM meta LEFT OUTER JOIN channels ON channels.agency = $1 AND channels.address = $2 LEFT OUTER JOIN (SELECT sized."offset" AS "offset", sized.lane AS lane, sized.key AS key, sized.device AS device, sized.id AS id, sized.at_ms AS at_ms, sized.payload AS payload, sized.urgency AS urgency, sized.mark AS mark, sized.hash AS hash, sized.before AS before, sized.place AS place '
        'FROM (SELECT first."offset" AS "offset", first.lane AS lane, first.key AS key, first.device AS device, first.id AS id, first.at_ms AS at_ms, first.payload AS payload, first.urgency AS urgency, first.mark AS mark, first.hash AS hash, sum(coalesce(length(first.payload), 0)) OVER (ORDER BY first."offset") - coalesce(length(first.payload), 0) AS before, row_number() OVER (ORDER BY first."offset") AS place '
        'FROM ((SELECT messages."offset" AS "offset", messages.lane AS lane, messages.key AS key, messages.device AS device, messages.id AS id, messages.at_ms AS at_ms, messages.payload AS payload, messages.urgency AS urgency, messages.mark AS mark, messages.hash AS hash '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages."offset" > $3 AND messages.lane = 1 '
        'ORDER BY messages."offset" '
        "LIMIT $4) "
        'UNION ALL (SELECT messages."offset" AS "offset", messages.lane AS lane, messages.key AS key, messages.device AS device, messages.id AS id, messages.at_ms AS at_ms, messages.payload AS payload, messages.urgency AS urgency, messages.mark AS mark, messages.hash AS hash '
        "FROM messages "
        'WHERE messages.agency = $1 AND messages.address = $2 AND messages."offset" > $3 AND messages.lane = 2 AND messages.payload IS NOT NULL '
        'ORDER BY messages."offset" '
        "LIMIT $4) "
        'ORDER BY "offset" '
        "LIMIT $4) AS first) AS sized "
        'WHERE sized.before <= $5 OR sized.place <= 2) AS "some" ON true '
        'ORDER BY "some"."offset"',
        ("agency", "address", "after", "limit", "max_bytes"),
    ),
)
