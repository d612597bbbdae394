"""Queries to the embedded Arweave's GraphQL, and what they find."""

from __future__ import annotations

from typing import Any

from aoray.arweave.local.graphql import Graph
from aoray.protocol.ids import b64url_encode

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
