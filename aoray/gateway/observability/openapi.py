"""The OpenAPI description of the routes of observability (`web.openapi`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from aoray import limits
from aoray.storage.records import STATES
from aoray.web.openapi import ID, LIST, STRING, WORDS, RouteSpec, RouteTable, Schema, an_object, ok, pick

QUERY_OF: Mapping[str, Schema] = {
    "process-id": ID,
    "nonce": {"type": "integer", "minimum": 0},
    "state": {"type": "string", "enum": list(STATES)},
    "after": {"type": "string", "description": "`next` of the page before."},
    "limit": {"type": "integer", "minimum": 1, "maximum": limits.PAGE_ENTRIES_MAX},
}
query = partial(pick, QUERY_OF)

TABLE: RouteTable = {
    ("get", "/health"): RouteSpec(ok(an_object(status=STRING))),
    ("get", "/status"): RouteSpec(ok(an_object(status=STRING))),
    ("get", "/metrics"): RouteSpec(WORDS),
    ("get", "/outbox/{process_id}"): RouteSpec(
        ok(an_object(process=ID, outbox=LIST)), query("nonce", "state", "after", "limit")
    ),
    ("get", "/trace/{message_id}"): RouteSpec(
        ok(an_object(message=ID, causes=LIST, nodes=LIST)), query("process-id")
    ),
}
