"""A dialect that is not aoray's own is reached over a socket, and what all dialects share holds for it:
admission, counts, bounds, errors, the description of the routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fake_computer import Computer
from toy_dialect import TOY, UNIT, ToyFastPath

from aoray import limits
from aoray.gateway import apps
from aoray.web.server import serve

BOTH = (*apps.DIALECTS, TOY)
FAST = "/toy-fast/you"


@asynccontextmanager
async def reached(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that listens on a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(serve(app, listening))
        host, port = listening.getsockname()
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
            yield client
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def http(computer: Computer) -> AsyncIterator[httpx.AsyncClient]:
    """Where the toy dialect answers beside those that there are."""
    async with reached(apps.all_units(computer.gateway, None, BOTH)) as client:
        yield client


async def test_its_routes_and_its_fast_path_answer_beside_the_others(
    computer: Computer, http: httpx.AsyncClient
) -> None:
    before, requests = ToyFastPath.taken_total, computer.gateway.in_flight.requests_total
    found = [
        await http.get("/toy/you"),
        await http.post("/toy", content=b"four"),
        await http.get(FAST),
    ]
    assert [each.json() for each in found] == [{"hello": "you"}, {"bytes": 4}, {"hello": "you"}]
    assert {each.headers["access-control-allow-origin"] for each in found} == {"*"}
    assert ToyFastPath.taken_total == before + 1
    process = await computer.spawn()
    item = computer.message_item(process)
    assert (await http.post("/", content=item.raw)).status_code == 202
    assert (await http.get(f"/result/{item.id}?process-id={process}")).json()["Output"] == "ok"
    assert (await http.get("/")).json()["version"] and (await http.get("/health")).status_code == 200
    assert computer.gateway.in_flight.requests_total == requests + 7
    assert computer.gateway.in_flight.requests == 0


async def test_its_unit_answers_alone_on_its_port(computer: Computer) -> None:
    made = apps.applications(computer.gateway, None, BOTH)
    assert [port - computer.settings.port for port in made] == [0, 2, 3, 4, 5]
    async with reached(made[computer.settings.port + 5]) as http:
        assert (await http.get("/toy/you")).json() == (await http.get(FAST)).json() == {"hello": "you"}
        assert (await http.get("/timestamp")).status_code == (await http.post("/")).status_code - 1 == 404
        described = (await http.get("/openapi.json")).json()
        assert described["info"]["title"] == UNIT.title
        assert {"/toy", "/toy/{name}", "/health"} <= described["paths"].keys()


async def test_what_goes_wrong_in_it_is_json(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for path, status in (
        ("/toy/nobody", 400),
        ("/toy/bug", 500),
        ("/toy-fast/nobody", 500),
        ("/toy-fast/%C3", 200),
        ("/toy", 405),
        ("/toy/a/b", 404),
    ):
        found = await http.get(path)
        assert (found.status_code, "error" in found.json()) == (status, status != 200), path


async def test_its_requests_are_admitted_as_all_are(
    computer: Computer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = computer.gateway.in_flight.crowd.requests
    assert requests.take("others", requests.most // 2)
    monkeypatch.setattr(requests, "most", requests.held)
    for answer in (await http.get("/toy/you"), await http.post("/toy"), await http.get(FAST)):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await http.get("/health")).status_code == 200


async def test_its_bodies_are_bounded(
    computer: Computer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_BYTES_MAX", 100)
    assert (await http.post("/toy", content=bytes(100))).json() == {"bytes": 100}
    assert (await http.post("/toy", content=bytes(101))).status_code == 413
    assert computer.gateway.in_flight.bodies.bytes == 0


@pytest.fixture
def limited(computer: Computer) -> Computer:
    """A computer whose addresses may write twice, and read as much as 25 looks at a page, and no more."""
    rates = {"rate_per_address": 2.0, "rate_reads_per_address": 25.0, "rate_burst_seconds": 1.0}
    other = Computer(computer.settings.data, **rates)
    other.gateway.admission._clock = lambda: 100.0
    return other


async def test_its_requests_are_charged(limited: Computer) -> None:
    async with reached(apps.all_units(limited.gateway, None, BOTH)) as http:
        posted = [(await http.post("/toy")).status_code for _ in range(3)]
        read = [(await http.get("/toy/you")).status_code for _ in range(3)]
    assert posted == read == [200, 200, 429]


async def test_its_table_is_merged_with_the_others(computer: Computer, http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert {"/toy", "/toy/{name}", "/", "/result/{message_id}", "/health"} <= paths.keys()
    greet = paths["/toy/{name}"]["get"]
    assert [each["name"] for each in greet["parameters"]] == ["name", "loudly"]
    assert {"200", "4XX", "503"} <= greet["responses"].keys()
    assert "application/octet-stream" in paths["/toy"]["post"]["requestBody"]["content"]
    assert [each["name"] for each in paths["/result/{message_id}"]["get"]["parameters"]][-1] == "wait"
