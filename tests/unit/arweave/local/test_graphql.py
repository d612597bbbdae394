"""Searches give what Arweave's gateways give, page by page, within bounds."""

from __future__ import annotations

import pytest
from arweave_items import ALICE, BOB, bundle, item
from clock import Clock
from graphql import get_introspection_query
from graphql_queries import SOME_ID, ask, edges, ids

from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_encode


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
        ('tags: [{name: "Type"}]', "mail message process module"),
        ('tags: [{name: "Type", values: null}]', "picture mail message process module"),
        ('tags: [{name: "Name"}, {name: "Type", values: ["Module"]}]', "module"),
        ('tags: [{name: "Name", op: NEQ}]', "picture mail message"),
        ('tags: [{name: "name"}]', ""),
        ('tags: [{values: ["ao"]}]', "message process module"),
        ('tags: [{values: ["ao"], op: NEQ}]', "picture mail"),
        ('tags: [{name: "Content-Type", values: ["image/*"], match: WILDCARD}]', "picture"),
        ('tags: [{name: "Type", values: ["M*e"], match: WILDCARD}]', "mail message module"),
        ('tags: [{name: "Type", values: ["M*e"], match: WILDCARD, op: NEQ}]', "picture process"),
        ('tags: [{name: "Type", values: ["mesage modul"], match: FUZZY_OR}]', "mail message module"),
        ('tags: [{name: "Type", values: ["mesage modul"], match: FUZZY_AND}]', ""),
        ('tags: [{name: "Type", values: ["PROCES"], match: FUZZY_AND}]', "process"),
        ('tags: [{name: "Type", match: WILDCARD}], owners: ["BOB"]', "mail module"),
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


def test_the_schema_can_be_asked_for(graph: Graph) -> None:
    names = {kind["name"] for kind in ask(graph, get_introspection_query())["__schema"]["types"]}
    assert {"Transaction", "TagFilter", "Block"} <= names


def test_a_tag_without_values_is_there_and_variables_may_be_null(graph: Graph, store: ArweaveStore) -> None:
    burned, order = item(("Burned", "1"), ("From-Process", SOME_ID)), item(("Action", "Order"))
    for each in (burned, order, item()):
        store.put(each)
    pool = """query ($pool: String!) { transactions(first: 100, sort: INGESTED_AT_DESC,
        tags: [{ name: "Burned" }, { name: "From-Process", values: [$pool] }]) { edges { node { id } } } }"""
    who = """query ($who: [String!]) { transactions(first: 10, tags: [{ name: "Action", values: ["Order"] },
        { name: "Relay-To", values: $who }]) { count edges { cursor node { id } } } }"""
    assert ask(graph, pool, pool=SOME_ID)["transactions"]["edges"] == [{"node": {"id": burned.id}}]
    assert ask(graph, who, who=None)["transactions"]["count"] == "1"
    assert ask(graph, who)["transactions"]["count"] == "0"  # left out: the tag is there at all


def test_bundles_are_found_by_their_tags(graph: Graph, store: ArweaveStore) -> None:
    inner = bundle([item(("N", "1"))])
    outer = bundle([inner])
    store.put(outer)
    found = ids(graph, 'tags: [{name: "Bundle-Format", values: ["binary"]}], sort: HEIGHT_ASC')
    assert found == [outer.id, inner.id]
