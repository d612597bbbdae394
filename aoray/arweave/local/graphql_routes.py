"""GraphQL over HTTP: `POST /graphql` (JSON, or application/graphql), `GET /graphql?query=…&variables=…`.

Searches run in threads of their own, two at a time, in which addresses take turns (`turns`), so they delay
neither uploads nor reads of single items. `cost` and `Budget` bound what a search may cost.

On failure: 400 for a query that is too broad or malformed, 503 with Retry-After if too many wait or the query
took too long. The search of a client that disconnected ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from aoray import limits
from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.recent import Recent
from aoray.arweave.local.search import new_budget
from aoray.errors import MalformedInput
from aoray.util.turns import Budget, Turns
from aoray.web.bodies import BodyBudget

Who = Callable[[Mapping[str, Any]], str]


def searches() -> Turns:
    """Return the threads in which GraphQL queries run."""
    return Turns(
        "searches",
        threads=limits.GRAPHQL_AT_ONCE_MAX,
        waiting_max=limits.GRAPHQL_WAITING_MAX,
        wait_seconds=limits.GRAPHQL_WAIT_SECONDS_MAX,
    )


def peer(scope: Mapping[str, Any]) -> str:
    """Return the network address of a request's client."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _body(bodies: BodyBudget, request: Request) -> AbstractAsyncContextManager[bytes]:
    return bodies.read(
        request,
        bytes_max=limits.GRAPHQL_REQUEST_BYTES_MAX,
        total_bytes_max=limits.UPLOADS_IN_FLIGHT_BYTES_MAX,
        seconds_max=limits.REQUEST_BODY_SECONDS_MAX,
    )


class Searching(NamedTuple):
    """What searches need: the graph, the logs with recent items, the threads, and the function that says
    whose turn a request uses."""

    graph: Graph
    recent: Recent
    turns: Turns
    who: Callable[[Mapping[str, Any]], str]

    async def answer(self, request: Request, asked: Any) -> Response:
        """Return the answer to a query, once it is the address's turn."""
        query, variables, operation = _query(asked)
        await self.recent.settle()
        status, body = await self.turns.run(
            self.who(request.scope),
            lambda budget: _searched(self.graph, query, variables, operation, budget),
            new_budget(),
            request.is_disconnected,
        )
        headers = {"retry-after": "1"} if status == 503 else None
        return Response(body, status, headers, media_type="application/json")


def _searched(graph: Graph, query: str, variables: Any, operation: Any, budget: Budget) -> tuple[int, bytes]:
    status, body = graph.execute(query, variables, operation or None, budget)
    return status, orjson.dumps(body)


def add_graphql(routes: APIRouter, searching: Searching, bodies: BodyBudget) -> None:
    """Add the two routes of GraphQL."""

    @routes.post("/graphql")
    async def graphql(request: Request) -> Response:
        """Search items and blocks, with JSON, or with the text of the query as application/graphql."""
        async with _body(bodies, request) as body:
            asked = _asked(request.headers.get("content-type", ""), body)
        return await searching.answer(request, asked)

    @routes.get("/graphql")
    async def graphql_get(request: Request) -> Response:
        """Search items and blocks with `?query=…&variables=…`; without a query, return a description."""
        asked: dict[str, Any] = dict(request.query_params)
        if "query" not in asked:
            return JSONResponse({"graphql": "Arweave", "hint": 'POST {"query": "…", "variables": {}} here.'})
        try:
            asked["variables"] = orjson.loads(asked.get("variables") or "null")
        except orjson.JSONDecodeError as error:
            raise MalformedInput(f"the variables are not JSON: {error}", field="variables") from error
        return await searching.answer(request, asked)


def _asked(content_type: str, body: bytes) -> Any:
    try:
        if content_type.partition(";")[0].strip().lower() == "application/graphql":
            return {"query": body.decode()}
        return orjson.loads(body)
    except UnicodeDecodeError as error:
        raise MalformedInput(f"the query is not UTF-8: {error}") from error
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}") from error


def _query(asked: Any) -> tuple[str, Any, Any]:
    """Return the query, its variables and the name of the operation. Raises `MalformedInput`."""
    asked = asked if isinstance(asked, dict) else {}
    query, variables, operation = asked.get("query"), asked.get("variables"), asked.get("operationName")
    for field, value, kinds in (
        ("query", query, str),
        ("variables", variables, dict | None),
        ("operationName", operation, str | None),
    ):
        if not isinstance(value, kinds):
            raise MalformedInput(f"GraphQL needs `{field}` in a JSON object", field=field)
    return query, variables, operation
