"""What the routes of this dialect say of themselves (`web.openapi`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from aoray import limits
from aoray.web.openapi import (
    BINARY,
    BYTES,
    ID,
    JSON,
    LIST,
    NUMBER,
    OCTETS,
    STRING,
    TEXT,
    WORDS,
    RouteSpec,
    RouteTable,
    Schema,
    a_page,
    an_object,
    ok,
    pick,
)

PLACE: Schema = {"type": "string", "description": "A cursor as a page gives it, or a timestamp in ms."}
TAGS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {"name": STRING, "value": {"type": ["string", "number"]}},
    },
}
RESULT = an_object(Messages=LIST, Assignments=LIST, Spawns=LIST, Output={}, GasUsed=NUMBER)
SLOT = an_object(message={"type": ["object", "null"]}, assignment={"type": "object"})
ACCEPTED = an_object(id=ID)
QUERY_OF: Mapping[str, Schema] = {
    "process-id": ID,
    "assign": ID,
    "exclude": {"type": "string", "description": "Names of fields, with commas between."},
    "wait": {"type": "integer", "minimum": 0, "maximum": limits.RESULT_WAIT_MS_MAX},
    "from": PLACE,
    "to": PLACE,
    "from-nonce": {"type": "integer", "minimum": -1},
    "to-nonce": {"type": "integer", "minimum": -1},
    "limit": {"type": "integer", "minimum": 1, "maximum": limits.PAGE_ENTRIES_MAX},
    "sort": {"type": "string", "enum": ["ASC", "DESC"]},
}
PAGING = ("from", "to", "limit", "sort")
DRY_RUN: Schema = {
    "type": "object",
    "properties": {"Id": STRING, "Owner": STRING, "Anchor": STRING, "Data": {}, "Tags": TAGS},
}
query = partial(pick, QUERY_OF)

ITEM = (OCTETS, BINARY)
DECISION = an_object(process=ID, stopped={"type": "boolean"})
TABLE: RouteTable = {
    ("post", "/"): RouteSpec(
        ok(ACCEPTED) | ok(ACCEPTED, "202"), query("process-id", "assign", "exclude"), ITEM
    ),
    ("get", "/"): RouteSpec({"200": {JSON: {}, TEXT: STRING}}, query("process-id")),
    ("get", "/result/{message_id}"): RouteSpec(ok(RESULT) | ok({}, "202"), query("process-id", "wait")),
    ("get", "/results/{process_id}"): RouteSpec(ok(a_page("pageInfo", "hasNextPage")), query(*PAGING)),
    ("get", "/cron/{process_id}"): RouteSpec(ok(a_page("pageInfo", "hasNextPage")), query(*PAGING)),
    ("post", "/dry-run"): RouteSpec(ok(RESULT), query("process-id"), (JSON, DRY_RUN)),
    ("get", "/state/{process_id}"): RouteSpec({"200": {OCTETS: BINARY}}),
    ("get", "/monitor/{process_id}"): RouteSpec(ok(an_object(process=ID, crons=LIST))),
    ("post", "/monitor/{process_id}"): RouteSpec(WORDS, body=ITEM),
    ("delete", "/monitor/{process_id}"): RouteSpec(WORDS, body=ITEM),
    ("get", "/decision/{process_id}"): RouteSpec(ok(DECISION)),
    ("post", "/decision/{process_id}"): RouteSpec(ok(DECISION), body=ITEM),
    ("post", "/push/{any_id}/{number}"): RouteSpec(ok(an_object(id=STRING), "202"), query("process-id")),
    ("get", "/timestamp"): RouteSpec(
        ok(an_object(timestamp=STRING, block_height=STRING)), query("process-id")
    ),
    ("get", "/processes/{process_id}"): RouteSpec(ok(an_object(process_id=ID, timestamp=NUMBER))),
    ("get", "/{process_id}/latest"): RouteSpec(ok(SLOT)),
    ("get", "/{any_id}"): RouteSpec(  # without a query it is Arweave's, where all units answer
        BYTES, query("process-id", "from", "to", "limit", "from-nonce", "to-nonce")
    ),
}
