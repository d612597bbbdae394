"""Requests of any shape to applications without Ray: real routes, log, results and Arweave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from fuzz_strategies import cursor_texts, numerals, stack_of_a_server, texts
from hypothesis import strategies as st

from aoray.web.application import AdmissionMiddleware

PARROT = Path(__file__).with_name("parrot.wat")
SECONDS_MAX = 30.0
"""Of one request; far beyond what any takes, even on a busy machine."""


class Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Operation(NamedTuple):
    """What `/openapi.json` says of one: its query's names, and the types of all parameters."""

    method: str
    path: str
    query: Sequence[str]
    kinds: Mapping[str, str]


class Served:
    """One application, and the operations that it says it has."""

    def __init__(self, door: Any) -> None:
        assert isinstance(door, AdmissionMiddleware)
        self.app = door
        self.operations = list(_operations(door._app.openapi()["paths"]))

    def ask(self, runner: asyncio.Runner, request: Request) -> httpx.Response:
        """Its answer; what the application raises is raised here."""
        with stack_of_a_server():
            return runner.run(self._answer(request))

    async def _answer(self, request: Request) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ao", timeout=None) as client:
            async with asyncio.timeout(SECONDS_MAX):
                return await client.request(
                    request.method,
                    request.path,
                    params=dict(request.query),
                    headers=dict(request.headers),
                    content=request.body,
                )


def _operations(paths: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in sorted(paths.items()):
        for method, told in sorted(methods.items()):
            parameters = told.get("parameters", [])
            kinds = {each["name"]: each["schema"].get("type", "") for each in parameters}
            query = [each["name"] for each in parameters if each["in"] == "query"]
            yield Operation(method.upper(), path, query, kinds)


methods = st.sampled_from([""] * 20 + ["GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "OPTIONS"])
"""Empty: that of the operation."""
HEADERS = {
    "range": [
        "bytes=0-",
        "bytes=5-1",
        "bytes=-3",
        "bytes=-",
        "bytes=0-0,2-3",
        "bytes=" + "9" * 15 + "-",
        "x",
    ],
    "content-type": [
        "application/json",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
    ],
    "content-encoding": ["gzip"],
    "x-forwarded-for": ["", "1.2.3.4, 5.6.7.8"],
    "access-control-request-headers": ["a, b"],
}
headers = st.sampled_from(sorted(HEADERS)).flatmap(
    lambda name: st.sampled_from(HEADERS[name]).map(lambda value: {name: value})
)


def requests(
    served: Served, known: Sequence[str], bodies: st.SearchStrategy[bytes]
) -> st.SearchStrategy[Request]:
    """To every operation: known ids, numbers and any text in its path and query, headers that routes read."""
    ids, places = (
        st.sampled_from(known),
        st.sampled_from(["", "0", "7", "DESC", "\0", "/", "..", "é", "a,b", "1.0"]),
    )
    right = {"integer": numerals, "string": ids}
    wrong = st.one_of(places, ids, numerals, texts, cursor_texts)

    @st.composite
    def request(draw: st.DrawFn) -> Request:
        method, template, names, kinds = draw(st.sampled_from(served.operations))

        def value(name: str) -> str:
            fits = draw(st.integers(0, 2)) > 0  # not one_of: it would make one flat choice of all
            return draw(right.get(kinds.get(name, ""), wrong) if fits else wrong)

        path = re.sub(r"\{(\w+)\}", lambda found: quote(value(found[1]), safe=""), template)
        chosen = draw(st.lists(st.sampled_from([*names, "process-id"]), max_size=4, unique=True))
        query = {name: value(name) for name in chosen}
        if "/result/" in path:
            query["wait"] = "0"
        method = draw(methods) or method
        body = draw(bodies) if method in ("POST", "PUT", "DELETE") else b""
        return Request(method, path, query, draw(headers) if draw(st.booleans()) else {}, body)

    return request()


def check(request: Request, response: httpx.Response) -> None:
    """Guarantee G7: no fault in aoray, and an error is JSON that says what is wrong."""
    assert response.status_code < 500, (request, response.text)
    if response.status_code >= 400 and request.method != "HEAD":
        body = response.json()
        assert isinstance(body.get("error"), str) or body.get("errors"), (request, response.text)
    assert not 300 <= response.status_code < 400, "a POST must never be redirected, so nothing is"
