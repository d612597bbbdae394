"""Searches give what Arweave's gateways give, page by page, within bounds."""

from __future__ import annotations

from typing import Any

import pytest
from arweaving import ALICE, BOB, Clock, bundle, item
from graphql import get_introspection_query

from aoray import limits
from aoray.arweave.graphql import Graph
from aoray.arweave.store import ArweaveStore
from aoray.protocol.ids import b64url_encode
from aoray.protocol.items import DataItem

SOME_ID = b64url_encode(b"\7" * 32)


def ids(graph: Graph, arguments: str, **variables: Any) -> list[str]:
    """The ids that `transactions(arguments)` finds."""
    return [edge["node"]["id"] for edge in edges(graph, arguments, **variables)["edges"]]


def edges(graph: Graph, arguments: str, **variables: Any) -> dict[str, Any]:
    declared = ", ".join(
        f"${name}: {kind}" for name, kind in (("n", "Int"), ("after", "String")) if name in variables
    )
    query = f"query {f'({declared})' if declared else ''}" + (
        f"{{ transactions({arguments}) {{ pageInfo {{ hasNextPage }} edges {{ cursor node {{ id }} }} }} }}"
    )
    status, body = graph.execute(query, variables)
    assert status == 200, body
    found: dict[str, Any] = body["data"]["transactions"]
    return found


def ask(graph: Graph, query: str, **variables: Any) -> dict[str, Any]:
    status, body = graph.execute(query, variables)
    assert (status, "errors" in body) == (200, False), body
    data: dict[str, Any] = body["data"]
    return data


def refused(graph: Graph, query: str, **variables: Any) -> dict[str, Any]:
    status, body = graph.execute(query, variables)
    assert status == 400, body
    error: dict[str, Any] = body["errors"][0]
    return error


@pytest.fixture
def shelf(store: ArweaveStore) -> dict[str, DataItem]:
    """Named items, each in a block of its own."""
    items = {
        "module": item(("Data-Protocol", "ao"), ("Type", "Module"), ("Name", "m"), signer=BOB),
        "process": item(("Data-Protocol", "ao"), ("Type", "Process"), ("Name", "p")),
        "message": item(("Data-Protocol", "ao"), ("Type", "Message"), target=SOME_ID),
        "mail": item(("Type", "Message"), signer=BOB, target=SOME_ID),
        "picture": item(("Content-Type", "image/png")),
    }
    for each in items.values():
        store.put(each)
    return items


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "picture mail message process module"),
        ("sort: HEIGHT_ASC", "module process message mail picture"),
        ("sort: INGESTED_AT_ASC", "module process message mail picture"),
        ("first: 2", "picture mail"),
        ("first: 0", ""),
        ('tags: [{name: "Data-Protocol", values: ["ao"]}]', "message process module"),
        ('tags: [{name: "data-protocol", values: ["ao"]}]', ""),
        ('tags: [{name: "Type", values: ["Module", "Process"]}]', "process module"),
        ('tags: [{name: "Type", values: ["Message"]}, {name: "Data-Protocol", values: ["ao"]}]', "message"),
        ('tags: [{name: "Type", values: ["Message"], op: NEQ}]', "picture process module"),
        (
            'tags: [{name: "Type", values: ["Message"]}, {name: "Data-Protocol", values: ["ao"], op: NEQ}]',
            "mail",
        ),
        ('tags: [{name: "Type", values: []}]', "picture mail message process module"),
        ('tags: [{name: "Type", values: ["Nothing"]}]', ""),
        ('owners: ["ALICE", ""]', "picture message process"),
        ('owners: ["ALICE", "BOB"], tags: [{name: "Type", values: ["Message"]}]', "mail message"),
        ("owners: []", "picture mail message process module"),
        ('owners: [""]', ""),
        ('recipients: ["SOME"]', "mail message"),
        ('recipients: ["SOME"], owners: ["BOB"]', "mail"),
        ('ids: ["PROCESS", "PICTURE", "SOME"]', "picture process"),
        ('ids: ["PROCESS", "PICTURE"], tags: [{name: "Type", values: ["Process"]}]', "process"),
        ('ids: ["nothing"]', ""),
        ("ids: []", "picture mail message process module"),
        ("block: {min: 3, max: 4}", "message process"),
        ("block: {min: 6}", "picture"),
        ("block: {max: 2}", "module"),
        ("block: {min: 7}", ""),
        ("block: {max: 1}", ""),
        ('block: {min: 3}, owners: ["BOB"]', "mail"),
    ],
)
def test_filters(graph: Graph, shelf: dict[str, DataItem], arguments: str, expected: str) -> None:
    for name, value in {"ALICE": ALICE.address, "BOB": BOB.address, "SOME": SOME_ID}.items():
        arguments = arguments.replace(name, value)
    for name in ("PROCESS", "PICTURE"):
        arguments = arguments.replace(f'"{name}"', f'"{shelf[name.lower()].id}"')
    names = {each.id: name for name, each in shelf.items()}
    assert " ".join(names[found] for found in ids(graph, arguments or "first: 10")) == expected


def test_a_node_has_all_its_fields(graph: Graph, store: ArweaveStore) -> None:
    sent = item(
        ("Content-Type", "text/plain"),
        ("A", "1"),
        ("A", "2"),
        target=SOME_ID,
        anchor=b"x" * 32,
        data=b"hello",
    )
    outer = bundle([sent])
    store.put(outer)
    query = """query ($id: ID!) { transaction(id: $id) {
        id anchor signature recipient owner { address key } fee { winston ar } quantity { winston ar }
        data { size type } tags { name value } block { id timestamp height previous }
        parent { id } bundledIn { id } ingested_at } }"""
    node = ask(graph, query, id=sent.id)["transaction"]
    tip = store.tip()
    assert node == {
        "id": sent.id,
        "anchor": b64url_encode(b"x" * 32),
        "signature": b64url_encode(sent.signature),
        "recipient": SOME_ID,
        "owner": {"address": ALICE.address, "key": b64url_encode(ALICE.public_key)},
        "fee": {"winston": "0", "ar": "0.000000000000"},
        "quantity": {"winston": "0", "ar": "0.000000000000"},
        "data": {"size": "5", "type": "text/plain"},
        "tags": [
            {"name": n, "value": v} for n, v in (("Content-Type", "text/plain"), ("A", "1"), ("A", "2"))
        ],
        "block": {"id": tip.id, "timestamp": tip.timestamp, "height": 2, "previous": tip.previous},
        "parent": {"id": outer.id},
        "bundledIn": {"id": outer.id},
        "ingested_at": tip.timestamp,
    }
    assert ids(graph, f'bundledIn: ["{outer.id}"]') == [sent.id]
    assert ask(graph, query, id=outer.id)["transaction"]["bundledIn"] is None
    assert ask(graph, query, id=SOME_ID)["transaction"] is None


@pytest.mark.parametrize("sort", ["HEIGHT_DESC", "HEIGHT_ASC"])
def test_pages_have_each_item_once_while_new_ones_arrive(
    graph: Graph, store: ArweaveStore, sort: str
) -> None:
    sent = [item(("T", "x")) for _ in range(10)]
    store.put(bundle(sent))
    seen: list[str] = []
    after = None
    for _ in range(5):
        page = edges(
            graph,
            f'tags: [{{name: "T", values: ["x"]}}], first: $n, after: $after, sort: {sort}',
            n=2,
            after=after,
        )
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after = page["edges"][-1]["cursor"]
        if sort == "HEIGHT_DESC":
            store.put(item(("T", "x")))
    assert sorted(seen) == sorted(each.id for each in sent)
    assert page["pageInfo"]["hasNextPage"] is False


def test_a_full_last_page_says_that_there_is_no_next(graph: Graph, shelf: dict[str, DataItem]) -> None:
    assert edges(graph, "first: 4")["pageInfo"]["hasNextPage"] is True
    assert edges(graph, "first: 5")["pageInfo"]["hasNextPage"] is False


@pytest.mark.parametrize("kinds", [1, 3])
def test_common_tags_are_searched_like_rare_ones(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch, kinds: int
) -> None:
    monkeypatch.setattr("aoray.arweave.search._RARE", 2)
    sent = [item(("K", str(n % 3)), ("Rest", str(n % 2))) for n in range(12)]
    store.put(bundle(sent))
    values = ", ".join(f'"{kind}"' for kind in range(kinds))
    found = ids(
        graph, f'tags: [{{name: "K", values: [{values}]}}, {{name: "Rest", values: ["1"]}}], sort: HEIGHT_ASC'
    )
    assert found == [each.id for n, each in enumerate(sent) if n % 3 < kinds and n % 2 == 1]


def test_count_and_time(graph: Graph, store: ArweaveStore, clock: Clock) -> None:
    for _ in range(3):
        store.put(item(("T", "x")))
        clock.now += 10
    start = int(clock.now) - 30
    query = (
        "query ($r: RangeFilter) { transactions(first: 1, ingested_at: $r) { count edges { node { id } } } }"
    )
    for low, high, count in (
        (None, None, "3"),
        (start + 1, None, "2"),
        (None, start + 10, "2"),
        (start + 99, None, "0"),
    ):
        assert ask(graph, query, r={"min": low, "max": high})["transactions"]["count"] == count
    assert ask(graph, '{ transactions(ids: ["?"]) { count } }') == {"transactions": {"count": "0"}}


def test_blocks(graph: Graph, store: ArweaveStore, clock: Clock) -> None:
    for _ in range(4):
        clock.now += 60
        store.put(item())
    query = """query ($min: Int, $limit: Int!, $after: String) {
        blocks(height: {min: $min}, first: $limit, sort: HEIGHT_ASC, after: $after) {
            pageInfo { hasNextPage } edges { cursor node { timestamp height } } } }"""
    page = ask(graph, query, min=2, limit=3)["blocks"]
    assert [edge["node"]["height"] for edge in page["edges"]] == [2, 3, 4]
    assert page["edges"][1]["node"]["timestamp"] - page["edges"][0]["node"]["timestamp"] == 60
    assert page["pageInfo"]["hasNextPage"] is True
    rest = ask(graph, query, min=2, limit=3, after=page["edges"][-1]["cursor"])["blocks"]
    assert [edge["node"]["height"] for edge in rest["edges"]] == [5]
    tip = store.tip()
    one = ask(graph, "query ($id: String) { block(id: $id) { height previous } }", id=tip.id)
    assert one["block"] == {"height": 5, "previous": tip.previous}
    assert ask(graph, "{ block(height: 3) { height } }")["block"] == {"height": 3}
    assert ask(graph, "{ block(height: 99) { height } }")["block"] is None
    assert ask(graph, f'{{ blocks(ids: ["{tip.id}", "no"]) {{ edges {{ node {{ height }} }} }} }}')[
        "blocks"
    ] == {"edges": [{"node": {"height": 5}}]}
    newest = ask(graph, '{ blocks(first: 2, after: "4") { edges { node { height } } } }')["blocks"]["edges"]
    assert [edge["node"]["height"] for edge in newest] == [3, 2]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("{", "Syntax Error"),
        ("", "Syntax Error"),
        ("{ nothing }", "Cannot query field"),
        ("{ transactions(first: 1001) { edges { cursor } } }", "a page of 1001"),
        ("{ transactions(first: -1) { edges { cursor } } }", "a page of -1"),
        ('{ transactions(after: "soon") { edges { cursor } } }', "cursor"),
        ('{ transactions(tags: [{name: "A", values: ["b*"], match: WILDCARD}]) { count } }', "EXACT"),
        ("query A { block { id } } query B { block { id } }", "operation name"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "fragment"),
    ],
)
def test_what_cannot_be_answered_says_why(graph: Graph, query: str, says: str) -> None:
    assert says in refused(graph, query)["message"]


def test_queries_are_bounded(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    many = " ".join(f"a{n}: block {{ id }}" for n in range(limits.GRAPHQL_SEARCHES_MAX + 1))
    assert "searches" in refused(graph, f"{{ {many} }}")["message"]
    wide = " ".join(f"a{n}: id" for n in range(limits.GRAPHQL_FIELDS_MAX))
    assert "fields" in refused(graph, f"{{ block {{ {wide} }} }}")["message"]
    ladder = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(30))
    bomb = f"{{ ...F0 }} {ladder} fragment F30 on Query {{ block {{ id }} }}"
    assert "more than" in refused(graph, bomb)["message"]
    assert "tokens" in refused(graph, f"{{ {' '.join('x' * 5000)} }}")["message"]
    values = [f"v{n}" for n in range(limits.GRAPHQL_VALUES_MAX + 1)]
    query = "query ($v: [String!]) { transactions(owners: $v) { edges { cursor } } }"
    assert refused(graph, query, v=values)["extensions"]["code"] == "too_large"


@pytest.mark.parametrize(
    "opening", ["{ a ", "{ ... ", "{ __schema { types { fields { type { fields { type { fields { name "]
)
def test_deep_queries_are_refused(graph: Graph, opening: str) -> None:
    query = opening * 1500 + "}" * 1500 if opening.count("{") == 1 else opening + "}" * opening.count("{")
    assert refused(graph, query)


def test_a_search_without_end_is_ended(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(bundle([item(("A", "x"), ("B", str(n % 2))) for n in range(2000)]))
    monkeypatch.setattr("aoray.arweave.search.GRAPHQL_STEPS_MAX", 10_000)
    query = '{ transactions(tags: [{name: "A", values: ["x"], op: NEQ}]) { edges { cursor } } }'
    error = refused(graph, query)
    assert "too broad" in error["message"]
    assert ask(graph, '{ transactions(first: 1, tags: [{name: "A", values: ["x"]}]) { edges { cursor } } }')


def test_the_schema_can_be_asked_for(graph: Graph) -> None:
    names = {kind["name"] for kind in ask(graph, get_introspection_query())["__schema"]["types"]}
    assert {"Transaction", "TagFilter", "Block"} <= names
