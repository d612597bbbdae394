"""The OpenAPI description of the routes of the embedded Arweave (`web.openapi`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from aoray.web.openapi import (
    ANY,
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
    an_object,
    ok,
    pick,
)

QUERY_OF: Mapping[str, Schema] = {
    "query": STRING,
    "variables": {"type": "string", "description": "JSON."},
    "operationName": STRING,
    "chunkSize": {"type": "integer"},
}
GRAPHQL = {
    "type": "object",
    "anyOf": [{"required": ["data"]}, {"required": ["errors"]}, {"required": ["error"]}],
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
query = partial(pick, QUERY_OF)

ITEM = (OCTETS, BINARY)
UPLOADED = RouteSpec(ok(an_object(id=ID, timestamp=NUMBER)), body=ITEM)
BLOCK = RouteSpec(ok(an_object(indep_hash=STRING, height=NUMBER, txs=LIST)))
PARTS = RouteSpec(ok(an_object(id=STRING, min=NUMBER, max=NUMBER)), query("chunkSize"))
BUNDLERS: dict[tuple[str, str], RouteSpec] = {
    ("post", "/tx"): UPLOADED,
    ("post", "/tx/{token}"): UPLOADED,
    ("get", "/chunks/{token}/-1/-1"): PARTS,
    ("get", "/chunks/{token}/{upload}/-1"): PARTS,
    ("get", "/chunks/{token}/{upload}/status"): PARTS,
    ("post", "/chunks/{token}/{upload}/-1"): RouteSpec(ok(an_object(id=ID))),
    ("post", "/chunks/{token}/{upload}/finalize"): RouteSpec(ok(an_object(id=STRING), "202")),
    ("post", "/chunks/{token}/{upload}/{offset}"): RouteSpec(WORDS, body=ITEM),
    ("get", "/price/{size}"): RouteSpec(WORDS),
    ("get", "/price/{kind}/{size}"): RouteSpec({"200": {TEXT: STRING, JSON: {}}}),
    ("get", "/account/balance/{token}"): RouteSpec(ok(an_object(winc=STRING))),
}
"""The routes of bundlers, which are also under `/v1`."""
TABLE: RouteTable = (
    {
        ("get", "/tx/{item_id}"): RouteSpec(ok(an_object(id=ID, tags=LIST))),
        ("get", "/tx/{item_id}/status"): RouteSpec(ok(an_object(block_height=NUMBER))),
        ("get", "/tx/{item_id}/item"): RouteSpec({"200": {OCTETS: BINARY}}),
        ("get", "/tx/{item_id}/{field}"): RouteSpec({"200": {ANY: {}}}),
        ("get", "/tx/{item_id}/offset"): RouteSpec(ok(an_object(offset=STRING, size=STRING))),
        ("get", "/tx/pending"): RouteSpec(ok(LIST)),
        ("post", "/chunk"): RouteSpec(
            WORDS, body=(JSON, an_object(data_root=STRING, data_path=STRING, chunk=STRING))
        ),
        ("get", "/chunk/{offset}"): RouteSpec(ok(an_object(chunk=STRING, data_path=STRING))),
        ("get", "/raw/{item_id}"): RouteSpec(BYTES),
        ("get", "/{item_id}/{path}"): RouteSpec(BYTES),
        ("get", "/{item_id}"): RouteSpec(BYTES),
        ("get", "/wallet/{address}/balance"): RouteSpec(WORDS),
        ("get", "/wallet/{address}/last_tx"): RouteSpec(WORDS),
        ("get", "/mint/{address}/{amount}"): RouteSpec(ok({"type": "integer"})),
        ("get", "/mine"): RouteSpec(ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/mine/{blocks}"): RouteSpec(ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/peers"): RouteSpec(ok(LIST)),
        ("get", "/info"): RouteSpec(ok(an_object(height=NUMBER, current=STRING))),
        ("get", "/height"): RouteSpec(WORDS),
        ("get", "/tx_anchor"): RouteSpec(WORDS),
        ("get", "/block/current"): BLOCK,
        ("get", "/block/height/{number}"): BLOCK,
        ("get", "/block/hash/{block_id}"): BLOCK,
        ("post", "/graphql"): RouteSpec(ok(GRAPHQL) | ok(GRAPHQL, "400"), body=(JSON, ASKED)),
        ("get", "/graphql"): RouteSpec(
            ok({}) | ok(GRAPHQL, "400"), query("query", "variables", "operationName")
        ),
    }
    | BUNDLERS
    | {(method, "/v1" + path): told for (method, path), told in BUNDLERS.items()}
)
