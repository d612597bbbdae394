"""GraphQL queries are answered within bounds, or refused in words: a stranger's costs what any other does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from arweave_items import bundle, item
from graphql_queries import ask, edges, refused

from aoray import limits
from aoray.arweave.local import graphql
from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.store import ArweaveStore
from aoray.util.turns import Budget


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
