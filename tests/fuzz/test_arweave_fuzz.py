"""Whatever is uploaded is kept whole or refused; whatever is searched for is found or the client's fault."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from arweave_items import ALICE, bundle, item
from fuzz_strategies import (
    answer_or_error,
    damaged,
    fuzz,
    levels,
    numerals,
    spelled,
    stack_of_a_server,
    texts,
    values,
)
from graphql import print_schema
from hypothesis import strategies as st
from hypothesis_graphql import queries

from aoray.arweave.local.graphql import SCHEMA, Graph
from aoray.arweave.local.intake import opened, term, unfold
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import parse, verify
from aoray.protocol.ids import b64url_encode


@pytest.fixture(scope="module")
def kept() -> Iterator[ArweaveStore]:
    with tempfile.TemporaryDirectory() as folder, ArweaveStore(Path(folder) / "a.sqlite") as store:
        for each in (
            KEPT,
            bundle([item(("A", "b")), item(("A", "c"))]),
            *[item(("A", "b")) for _ in range(5)],
        ):
            store.put(each)
        yield store


KEPT = item(("A", "b"))


CONTENT = bundle([item(("A", "b")), bundle([item(), item()])]).data


place = st.integers(0, len(CONTENT))


@fuzz(100, damaged(CONTENT) | place.map(lambda cut: CONTENT[:cut]))
def test_a_damaged_bundle_gives_only_items_that_verify(content: bytes) -> None:
    upload = bundle([], data=content)
    intake = answer_or_error(lambda: unfold(upload))
    for placed in intake.placed if intake else ():
        found = parse(upload.raw[placed.start : placed.start + placed.size])
        verify(found)
        assert len(found.raw) - len(found.data) == placed.header_size


ODD = bundle([item(("A", "b" * 70), target="A" * 43), item(("A", "b"), ("A", "ü"), anchor=bytes(32))]).data


@fuzz(200, damaged(CONTENT) | damaged(ODD))
def test_a_damaged_bundle_of_our_own_is_indexed_as_its_items_are_parsed(content: bytes) -> None:
    upload = bundle([], data=content)
    intake = answer_or_error(lambda: opened(upload, {upload.address}))
    for placed in intake.placed if intake else ():
        found = parse(upload.raw[placed.start : placed.start + placed.size])
        terms = {term("tag", tag.value, tag.name) for tag in found.tags} | {term("owner", found.address)}
        terms |= {term("name", tag.name) for tag in found.tags}
        terms |= {term("recipient", found.target_id)} if found.target else set()
        terms |= {term("bundle", b64url_encode(placed.parent))} if placed.parent else set()
        assert (found.id, placed.terms) == (b64url_encode(placed.id), terms)
        assert len(found.raw) - len(found.data) == placed.header_size


WORDS = """{ } ( ) [ ] : ! $ @ ... query fragment on transaction transactions block blocks id ids owners tags
  first after min max height sort HEIGHT_ASC edges node cursor count name values op NEQ match FUZZY_OR
  __schema __typename "x" 1 -1 2147483648 1e9 true null $a # \\ "\\uD800" & Int Transaction @skip(if:true)
  a:"""
words = st.sampled_from([*WORDS.split(), '"""x"""'])
soup = st.lists(words, max_size=25).map(" ".join)
nested = st.tuples(st.sampled_from([b"{a", b"[", b"...{", b"(a:{"]), levels).map(
    lambda pair: "{" + (pair[0] * pair[1]).decode()
)


def answered(store: ArweaveStore, query: str, variables: Any = None) -> dict[str, Any]:
    """What a query gives; it is JSON, and no fault in aoray."""
    with stack_of_a_server():
        status, body = Graph(store).execute(query, variables)
    assert status == (400 if body.get("data") is None else 200)
    assert body.get("data") is not None or body["errors"]
    for error in body.get("errors", ()):
        assert error["message"] != "internal error", (query, variables)
    orjson.dumps(body)
    return body


@fuzz(300, soup | nested | st.text(max_size=60))
def test_any_text_is_a_query_or_the_client_s_fault(kept: ArweaveStore, text: str) -> None:
    answered(kept, text)


@fuzz(100, queries(print_schema(SCHEMA)))
def test_any_query_of_the_schema_is_answered_or_the_client_s_fault(kept: ArweaveStore, query: str) -> None:
    answered(kept, query)


FILTERS = """query (
  $ids: [ID!], $owners: [String!], $recipients: [String!], $tags: [TagFilter!], $in: [ID!],
  $time: RangeFilter, $block: BlockFilter, $first: Int, $after: String, $sort: SortOrder,
  $id: ID!, $height: Int
) {
  transactions(ids: $ids, owners: $owners, recipients: $recipients, tags: $tags, bundledIn: $in,
    ingested_at: $time, block: $block, first: $first, after: $after, sort: $sort) {
    count pageInfo { hasNextPage } edges { cursor node { id tags { name } block { height } } } }
  transaction(id: $id) { id } block(height: $height) { id }
  blocks(ids: $ids, height: $block, first: $first, after: $after, sort: $sort) { edges { cursor } } }"""
some = st.lists(texts | st.sampled_from([KEPT.id, ALICE.address]), max_size=3)
int32 = st.integers(-(2**31), 2**31 - 1)
between = st.fixed_dictionaries({}, optional={"min": int32, "max": int32})
tag_filters = st.fixed_dictionaries(
    {"name": texts | st.just("A"), "values": some | st.just(["b"])},
    optional={"op": st.sampled_from(["EQ", "NEQ"]), "match": st.sampled_from(["EXACT", "WILDCARD"])},
)
variables = st.fixed_dictionaries(
    {"id": texts},
    optional={
        **dict.fromkeys(["ids", "owners", "recipients", "in"], some),
        "tags": st.lists(tag_filters, max_size=3),
        "time": between,
        "block": between,
        "first": int32 | st.integers(0, 20),
        "after": numerals | texts,
        "sort": st.sampled_from(["HEIGHT_ASC", "HEIGHT_DESC", "INGESTED_AT_ASC"]),
        "height": int32,
    },
)


@fuzz(200, variables)
def test_any_filter_finds_what_it_says_or_is_the_client_s_fault(
    kept: ArweaveStore, variables: dict[str, Any]
) -> None:
    body = answered(kept, FILTERS, variables)
    found = (body["data"] or {}).get("transactions")
    for edge in found["edges"] if found else ():
        node, block = edge["node"], variables.get("block", {})
        assert not variables.get("ids") or node["id"] in variables["ids"]
        assert block.get("min", 0) <= node["block"]["height"] <= block.get("max", 2**31)
        for wanted in variables.get("tags", ()):
            if wanted.get("op") != "NEQ" and wanted["values"]:
                assert any(tag["name"] == wanted["name"] for tag in node["tags"])


wild = st.dictionaries(
    st.sampled_from(["ids", "owners", "tags", "time", "block", "first", "after", "sort", "id", "height"]),
    values,
)


@fuzz(150, wild)
def test_any_variables_are_right_or_the_client_s_fault(kept: ArweaveStore, variables: dict[str, Any]) -> None:
    try:
        sent = orjson.loads(spelled(variables))
    except orjson.JSONDecodeError:
        return
    answered(kept, FILTERS, sent)
