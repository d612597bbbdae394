"""What the routes say of themselves at `/openapi.json` and `/docs`, beyond what FastAPI reads off them.

The routes take their queries and bodies apart by themselves, as AO's clients send them (`limit=undefined`,
raw bytes), and the hot ones are plain Starlette routes that FastAPI does not know. So their parameters,
bodies and answers are written here, in one table, and merged into FastAPI's; a route that is not in the
table keeps what FastAPI says of it. Every error is a 4xx (or 503) with the JSON of `errors.body_of`.

Invariant: what is described is there, and is answered as described: tests/fuzz sends what this table allows
and what it does not, and holds the answers against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.routing import Route

from aoray import limits
from aoray.actors.deliveries import STATES

Schema = Mapping[str, Any]

OCTETS, JSON, TEXT, ANY = "application/octet-stream", "application/json", "text/plain", "*/*"
METHODS = {"get", "post", "put", "delete"}

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
LIST: Schema = {"type": "array"}
BINARY: Schema = {"type": "string", "format": "binary"}
ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"}
PLACE: Schema = {"type": "string", "description": "A cursor as a page gives it, or a timestamp in ms."}
TAGS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {"name": STRING, "value": {"type": ["string", "number"]}},
    },
}


def an_object(**properties: Schema) -> Schema:
    """An object that has all these, and may have more."""
    return {"type": "object", "required": sorted(properties), "properties": properties}


def a_page(info: str, more: str) -> Schema:
    return an_object(**{
        info: an_object(**{more: {"type": "boolean"}}),
        "edges": {"type": "array", "items": an_object(node={"type": "object"}, cursor=STRING)},
    })  # fmt: skip


ERROR = an_object(error=STRING, code=STRING)
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
    "nonce": {"type": "integer", "minimum": 0},
    "state": {"type": "string", "enum": list(STATES)},
    "after": {"type": "string", "description": "`next` of the page before."},
    "query": STRING,
    "variables": {"type": "string", "description": "JSON."},
    "operationName": STRING,
    "chunkSize": {"type": "integer"},
}
PAGING = ("from", "to", "limit", "sort")
GRAPHQL = {
    "type": "object",
    "anyOf": [{"required": ["data"]}, {"required": ["errors"]}, {"required": ["error"]}],
}
DRY_RUN: Schema = {
    "type": "object",
    "properties": {"Id": STRING, "Owner": STRING, "Anchor": STRING, "Data": {}, "Tags": TAGS},
}
ASKED: Schema = {
    "type": "object",
    "required": ["query"],
    "properties": {
        "query": STRING,
        "variables": {"type": ["object", "null"]},
        "operationName": {"type": ["string", "null"]},
    },
}


class Told(NamedTuple):
    """Of one operation: the names of its query, what its body is, and its answers by status."""

    answers: Mapping[str, Mapping[str, Schema]]
    query: tuple[str, ...] = ()
    body: tuple[str, Schema] | None = None


def _ok(schema: Schema, status: str = "200") -> dict[str, Mapping[str, Schema]]:
    return {status: {JSON: schema}}


ITEM = (OCTETS, BINARY)
DECISION = an_object(process=ID, stopped={"type": "boolean"})
WORDS = {"200": {TEXT: STRING}}
BYTES: dict[str, Mapping[str, Schema]] = {"200": {ANY: {}}, "206": {ANY: {}}}
UPLOADED = Told(_ok(an_object(id=ID, timestamp=NUMBER)), body=ITEM)
BLOCK = Told(_ok(an_object(indep_hash=STRING, height=NUMBER, txs=LIST)))
PARTS = Told(_ok(an_object(id=STRING, min=NUMBER, max=NUMBER)), ("chunkSize",))
BUNDLERS: dict[tuple[str, str], Told] = {
    ("post", "/tx"): UPLOADED,
    ("post", "/tx/{token}"): UPLOADED,
    ("get", "/chunks/{token}/-1/-1"): PARTS,
    ("get", "/chunks/{token}/{upload}/-1"): PARTS,
    ("get", "/chunks/{token}/{upload}/status"): PARTS,
    ("post", "/chunks/{token}/{upload}/-1"): Told(_ok(an_object(id=ID))),
    ("post", "/chunks/{token}/{upload}/finalize"): Told(_ok(an_object(id=STRING), "202")),
    ("post", "/chunks/{token}/{upload}/{offset}"): Told(WORDS, body=ITEM),
    ("get", "/price/{size}"): Told(WORDS),
    ("get", "/price/{kind}/{size}"): Told({"200": {TEXT: STRING, JSON: {}}}),
    ("get", "/account/balance/{token}"): Told(_ok(an_object(winc=STRING))),
}
"""Also under `/v1`."""
TABLE: Mapping[tuple[str, str], Told] = (
    {
        ("post", "/"): Told(_ok(ACCEPTED) | _ok(ACCEPTED, "202"), ("process-id", "assign", "exclude"), ITEM),
        ("get", "/"): Told({"200": {JSON: {}, TEXT: STRING}}, ("process-id",)),
        ("get", "/health"): Told(_ok(an_object(status=STRING))),
        ("get", "/status"): Told(_ok(an_object(status=STRING))),
        ("get", "/metrics"): Told(WORDS),
        ("get", "/result/{message_id}"): Told(_ok(RESULT) | _ok({}, "202"), ("process-id", "wait")),
        ("get", "/results/{process_id}"): Told(_ok(a_page("pageInfo", "hasNextPage")), PAGING),
        ("get", "/cron/{process_id}"): Told(_ok(a_page("pageInfo", "hasNextPage")), PAGING),
        ("post", "/dry-run"): Told(_ok(RESULT), ("process-id",), (JSON, DRY_RUN)),
        ("get", "/state/{process_id}"): Told({"200": {OCTETS: BINARY}}),
        ("get", "/monitor/{process_id}"): Told(_ok(an_object(process=ID, crons=LIST))),
        ("post", "/monitor/{process_id}"): Told(WORDS, body=ITEM),
        ("delete", "/monitor/{process_id}"): Told(WORDS, body=ITEM),
        ("get", "/decision/{process_id}"): Told(_ok(DECISION)),
        ("post", "/decision/{process_id}"): Told(_ok(DECISION), body=ITEM),
        ("post", "/push/{any_id}/{number}"): Told(_ok(an_object(id=STRING), "202"), ("process-id",)),
        ("get", "/outbox/{process_id}"): Told(
            _ok(an_object(process=ID, outbox=LIST)), ("nonce", "state", "after", "limit")
        ),
        ("get", "/trace/{message_id}"): Told(
            _ok(an_object(message=ID, causes=LIST, nodes=LIST)), ("process-id",)
        ),
        ("get", "/timestamp"): Told(_ok(an_object(timestamp=STRING, block_height=STRING)), ("process-id",)),
        ("get", "/processes/{process_id}"): Told(_ok(an_object(process_id=ID, timestamp=NUMBER))),
        ("get", "/{process_id}/latest"): Told(_ok(SLOT)),
        ("get", "/{any_id}"): Told(  # without a query it is Arweave's, where all units answer
            BYTES, ("process-id", "from", "to", "limit", "from-nonce", "to-nonce")
        ),
        ("get", "/tx/{item_id}"): Told(_ok(an_object(id=ID, tags=LIST))),
        ("get", "/tx/{item_id}/status"): Told(_ok(an_object(block_height=NUMBER))),
        ("get", "/tx/{item_id}/item"): Told({"200": {OCTETS: BINARY}}),
        ("get", "/tx/{item_id}/{field}"): Told({"200": {ANY: {}}}),
        ("get", "/tx/{item_id}/offset"): Told(_ok(an_object(offset=STRING, size=STRING))),
        ("get", "/tx/pending"): Told(_ok(LIST)),
        ("post", "/chunk"): Told(
            WORDS, body=(JSON, an_object(data_root=STRING, data_path=STRING, chunk=STRING))
        ),
        ("get", "/chunk/{offset}"): Told(_ok(an_object(chunk=STRING, data_path=STRING))),
        ("get", "/raw/{item_id}"): Told(BYTES),
        ("get", "/{item_id}/{path}"): Told(BYTES),
        ("get", "/{item_id}"): Told(BYTES),
        ("get", "/wallet/{address}/balance"): Told(WORDS),
        ("get", "/wallet/{address}/last_tx"): Told(WORDS),
        ("get", "/mint/{address}/{amount}"): Told(_ok({"type": "integer"})),
        ("get", "/mine"): Told(_ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/mine/{blocks}"): Told(_ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/peers"): Told(_ok(LIST)),
        ("get", "/info"): Told(_ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/height"): Told(WORDS),
        ("get", "/tx_anchor"): Told(WORDS),
        ("get", "/block/current"): BLOCK,
        ("get", "/block/height/{number}"): BLOCK,
        ("get", "/block/hash/{block_id}"): BLOCK,
        ("post", "/graphql"): Told(_ok(GRAPHQL) | _ok(GRAPHQL, "400"), body=(JSON, ASKED)),
        ("get", "/graphql"): Told(_ok({}) | _ok(GRAPHQL, "400"), ("query", "variables", "operationName")),
    }
    | BUNDLERS
    | {(method, "/v1" + path): told for (method, path), told in BUNDLERS.items()}
)


class Described(FastAPI):
    """An application whose `/openapi.json` says what the table says, too."""

    def openapi(self) -> dict[str, Any]:
        made, schema = self.openapi_schema is None, super().openapi()  # which FastAPI keeps
        if made:
            paths = schema.setdefault("paths", {})
            for path, method in self._plain():
                paths.setdefault(path, {}).setdefault(method, {"parameters": _of_path(path)})
            for path, operations in paths.items():
                for method in METHODS & operations.keys():
                    _describe(operations[method], TABLE.get((method, path)))
        return schema

    def _plain(self) -> list[tuple[str, str]]:
        """The routes that FastAPI does not know, as far as they are in the table."""
        routes = [route for route in self.router.routes if isinstance(route, Route)]
        found = [(route.path, method.lower()) for route in routes for method in route.methods or ()]
        return [(path, method) for path, method in found if (method, path) in TABLE]


def _describe(operation: dict[str, Any], told: Told | None) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)  # FastAPI's; ours is 400
    for status in ("4XX", "503"):
        responses[status] = {"description": "An error", "content": {JSON: {"schema": ERROR}}}
    if told is None:
        return
    responses.pop("200", None)
    for status, media in told.answers.items():
        content = {kind: {"schema": schema} for kind, schema in media.items()}
        responses[status] = {"description": "An answer", "content": content}
    known = operation.get("parameters", [])
    operation["parameters"] = known + [
        {"name": name, "in": "query", "required": False, "schema": QUERY_OF[name]} for name in told.query
    ]
    if told.body:
        kind, schema = told.body
        operation["requestBody"] = {"required": False, "content": {kind: {"schema": schema}}}


def _of_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": STRING} for name in names]
