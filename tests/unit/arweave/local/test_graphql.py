"""Searches give what Arweave's gateways give, page by page, within bounds."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from arweave_items import ALICE, BOB, Clock, bundle, item
from graphql import get_introspection_query

from aoray import limits
from aoray.arweave.local import graphql, index
from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.intake import pair, term
from aoray.arweave.local.search import Filter, SearchPage, find
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import Signer
from aoray.util.turns import Budget

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


@pytest.mark.parametrize("kinds", [1, 3])
def test_common_tags_are_searched_like_rare_ones(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch, kinds: int
) -> None:
    monkeypatch.setattr("aoray.arweave.local.search._RARE", 2)
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
        ("{ transactions(first: 1001) { edges { cursor } } }", "have 1001 entries"),
        ("{ transactions(first: -1) { edges { cursor } } }", "have -1 entries"),
        ('{ transactions(after: "soon") { edges { cursor } } }', "cursor"),
        ("{ transactions(tags: [{op: NEQ}]) { count } }", "a tag filter has a name, values, or both"),
        ("{ transactions(tags: [{values: []}]) { count } }", "a tag filter has a name, values, or both"),
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
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_STEPS_MAX", 10_000)
    query = '{ transactions(tags: [{name: "A", values: ["x"], op: NEQ}]) { edges { cursor } } }'
    error = refused(graph, query)
    assert "too broad" in error["message"]
    assert ask(graph, '{ transactions(first: 1, tags: [{name: "A", values: ["x"]}]) { edges { cursor } } }')


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


def test_patterns_go_from_page_to_page_and_are_bounded(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [item(("K", f"{'ab'[n % 2]}{n}")) for n in range(12)]
    store.put(bundle(sent))
    monkeypatch.setattr("aoray.arweave.local.search._SCAN_ITEMS", 5)
    found: list[str] = []
    after, more = None, True
    while more:
        search = 'tags: [{name: "K", values: ["a*"], match: WILDCARD}], first: $n, after: $after'
        page = edges(graph, search, n=2, after=after)
        found += [edge["node"]["id"] for edge in page["edges"]]
        after, more = page["edges"][-1]["cursor"], page["pageInfo"]["hasNextPage"]
    assert found == [each.id for each in reversed(sent[::2])]
    count = '{ transactions(tags: [{name: "K", values: ["a*"], match: WILDCARD}]) { count } }'
    assert ask(graph, count)["transactions"]["count"] == "6"
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_SCANNED_MAX", 4)
    assert "over 4 items" in refused(graph, count)["message"]


@pytest.mark.parametrize(
    "query",
    [
        "{ transactions { " + " ".join(f"c{n}: count" for n in range(20)) + " } }",
        "{ " + " ".join(f"t{n}: transactions {{ count }}" for n in range(11)) + " }",
        "{ ...A ...B } fragment A on Query { " + "t: transactions { ...C }" + " }"
        " fragment B on Query { u: transactions { ...C } }"
        " fragment C on TransactionConnection { " + " ".join(f"c{n}: count" for n in range(10)) + " }",
    ],
    ids=["aliases", "connections", "fragments"],
)
def test_counts_are_searches_however_they_are_written(graph: Graph, query: str) -> None:
    assert "searches" in refused(graph, query)["message"]


def test_what_an_answer_can_hold_is_bounded_by_pages_and_aliases(graph: Graph) -> None:
    fields = " ".join(f"a{n}: id" for n in range(150))
    query = f"query ($n: Int = 1000) {{ transactions(first: $n) {{ edges {{ node {{ {fields} }} }} }} }}"
    assert "values" in refused(graph, query)["message"]
    assert "values" in refused(graph, query, n=999)["message"]
    assert ask(graph, query, n=10)["transactions"]["edges"] == []
    assert "values" in refused(graph, query.replace("$n) {", "1000) {"))["message"]


def test_a_query_that_would_be_slow_to_check_is_refused_first(graph: Graph) -> None:
    begun = time.process_time()
    assert "fields" in refused(graph, "{ transactions { " + "count " * 3_900 + "} }")["message"]
    cycle = "{ ...A } fragment A on Query { " + "...A " * 1_000 + "}"
    assert "fragment" in refused(graph, cycle)["message"]
    assert time.process_time() - begun < 1.0


def counting(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the store is asked to count."""
    counted: list[object] = []
    count = ArweaveStore.count

    def noted(self: ArweaveStore, wanted: Any, budget: Any = None) -> int:
        counted.append(wanted)
        return count(self, wanted, budget)

    monkeypatch.setattr(ArweaveStore, "count", noted)
    return counted


def test_one_search_is_counted_once(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counting(monkeypatch)
    ask(graph, "{ transactions { a: count b: count c: count } }")
    assert len(counted) == 1


def test_all_searches_of_a_query_have_one_budget(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(bundle([item(("A", "x"), ("B", str(n % 2))) for n in range(2000)]))
    one = 'transactions(first: 1, tags: [{name: "A", values: ["x"]}, {name: "B", values: ["1"]}]) { count }'
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_STEPS_MAX", 150_000)
    assert ask(graph, f"{{ {one} }}")
    many = " ".join(f"t{n}: {one}" for n in range(9))
    assert "too broad" in refused(graph, f"{{ {many} }}")["message"]


def test_a_query_has_a_deadline_and_can_be_cancelled(graph: Graph, store: ArweaveStore) -> None:
    store.put(bundle([item(("A", "x")) for _ in range(1000)]))
    query = "{ transactions(first: 1000) { edges { node { id } } } }"
    late = Budget(10**9, -1.0)
    status, body = graph.execute(query, budget=late)
    assert (status, body["errors"][0]["extensions"]["code"]) == (503, "overloaded")
    gone = Budget(10**9, 60.0)
    gone.cancel()
    assert "went away" in graph.execute(query, budget=gone)[1]["errors"][0]["message"]


def test_an_index_of_before_gets_the_names_of_its_tags(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with ArweaveStore(path) as store:
        sent = [item(("N", str(n))) for n in range(3)]
        for each in sent:
            store.put(each)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM term WHERE term = ?", [term("name", "N")])
        db.execute("PRAGMA user_version = 0")
        db.commit()
    with ArweaveStore(path) as store:
        graph = Graph(store)
        query = '{ transactions(tags: [{name: "N"}]) { edges { node { id } } } }'
        assert graph.execute(query)[0] == 503
        uploads = os.open(path.with_suffix(".bytes"), os.O_RDONLY)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            while index.complete_some(db, uploads):
                pass
        os.close(uploads)
        assert ids(graph, 'tags: [{name: "N"}]') == [each.id for each in reversed(sent)]


SAID = 'tags: [{name: "Type", values: ["Assignment"]}, {name: "Process", values: ["p"]}]'


def said(signer: Signer, process: str, count: int) -> list[DataItem]:
    """What an owner says of a process, in items that are not alike."""
    return [item(("Type", "Assignment"), ("Process", process), signer=signer) for _ in range(count)]


def test_what_one_owner_says_of_a_process_is_found_however_much_others_say_of_it(
    graph: Graph, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler has many items, and so have strangers who name the process: neither set is rare."""
    monkeypatch.setattr("aoray.arweave.local.search._RARE", 2)
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_COUNTED_MAX", 20)
    first, last = said(BOB, "p", 2), said(BOB, "p", 2)
    store.put(bundle([*first, *said(BOB, "q", 3_000), *said(ALICE, "p", 3_000), *last], BOB))
    monkeypatch.setattr("aoray.arweave.local.search.GRAPHQL_STEPS_MAX", 10_000)  # and at least one tick
    arguments = f'owners: ["{BOB.address}"], {SAID}, first: 10'
    found = [each.id for each in (*first, *last)]
    assert ids(graph, arguments) == found[::-1]
    assert ids(graph, f"{arguments}, sort: HEIGHT_ASC") == found
    count = ask(graph, f"{{ transactions({arguments}) {{ count }} }}")
    assert count["transactions"]["count"] == "4"


def test_an_index_of_before_finds_it_too_and_gets_the_pairs(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    sent = [*said(BOB, "p", 2), *said(ALICE, "p", 2), *said(BOB, "q", 2)]
    with ArweaveStore(path) as store:
        for each in sent:
            store.put(each)
    pairs = [pair(owner.address, process) for owner in (ALICE, BOB) for process in "pq"]
    with closing(sqlite3.connect(path)) as db:
        db.executemany("DELETE FROM term WHERE term = ?", [(each,) for each in pairs])
        db.execute("PRAGMA user_version = 1")
        db.commit()
    arguments, found = f'owners: ["{BOB.address}"], {SAID}', [sent[1].id, sent[0].id]
    with ArweaveStore(path) as store:
        graph = Graph(store)
        assert ids(graph, arguments) == found
        assert ids(graph, 'tags: [{name: "Process"}], first: 1') == [sent[-1].id], "names are there already"
        uploads = os.open(path.with_suffix(".bytes"), os.O_RDONLY)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            while index.complete_some(db, uploads):
                pass
            counted = db.execute(f"SELECT count(*) FROM term WHERE term IN ({','.join('?' * 4)})", pairs)
            assert counted.fetchone() == (len(sent),)
        os.close(uploads)
        assert ids(graph, arguments) == found


@pytest.mark.parametrize("op", ["NEQ", "EQ"])
def test_pairs_change_no_answer(graph: Graph, store: ArweaveStore, op: str) -> None:
    sent = [*said(BOB, "p", 2), *said(ALICE, "p", 2), *said(BOB, "q", 2), item(signer=BOB)]
    store.put(bundle(sent, BOB))
    owners = f'["{ALICE.address}", "{BOB.address}"]'
    for values in (["p"], ["p", "q"], ["r"]):
        found = [
            each.id
            for each in reversed(sent)
            if any(tag.value in values for tag in each.tags) == (op == "EQ")
        ]
        tags = f'tags: [{{name: "Process", values: {json.dumps(values)}, op: {op}}}]'
        answer = ids(graph, f"owners: {owners}, {tags}, first: 100")
        assert [each for each in answer if each in {one.id for one in sent}] == found


def test_bundles_are_found_by_their_tags(graph: Graph, store: ArweaveStore) -> None:
    inner = bundle([item(("N", "1"))])
    outer = bundle([inner])
    store.put(outer)
    found = ids(graph, 'tags: [{name: "Bundle-Format", values: ["binary"]}], sort: HEIGHT_ASC')
    assert found == [outer.id, inner.id]


def test_long_queries_are_not_kept(graph: Graph) -> None:
    """What one becomes takes megabytes, and a stranger may send any number of different ones."""

    def kept() -> int:
        return graphql._parsed_before.cache_info().currsize + graphql._validated_before.cache_info().currsize

    ask(graph, "{ block { id height } }")
    before = kept()
    assert before
    padding = "#" + "x" * limits.GRAPHQL_KEPT_CHARACTERS_MAX
    assert ask(graph, "{ block { id height } } " + padding)
    assert refused(graph, "{ block { no } } " + padding)
    assert kept() == before


@pytest.mark.parametrize(
    "query", ["{ transactions(first: %s) { count } }", "query ($n: Int = %s) { block { id } }"]
)
def test_a_number_of_any_length_is_answered_in_words(graph: Graph, query: str) -> None:
    assert refused(graph, query % ("9" * 5000))["message"]


def test_the_rarest_of_common_terms_drives_a_search(store: ArweaveStore) -> None:
    """A node's own items are millions, and a process's thousands among them, with any number between two."""
    many, budget = 60_000, Budget(800_000, 60)
    own = [*range(1, 1_501), *range(many - 1_500, many)]
    with store.writing() as db:
        for number, seqs in ((1, range(1, many)), (2, range(1, many)), (3, own)):
            db.executemany("INSERT INTO term VALUES (?, ?)", [(number, seq) for seq in seqs])
    wanted, found, after = Filter(one_of=[[1], [2], [3]]), list[int](), None
    while True:
        with store.reading(budget) as connection:
            page = find(connection, wanted, SearchPage(1_001, after, ascending=True))
        if not page:
            break
        found += page
        after, budget = page[-1], Budget(800_000, 60)
    assert found == own
