"""What the messenger has acknowledged is on the embedded Arweave at the next request, whichever gateway and
shard took it, under load too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from message_load import prepare

from aoray.client import Client
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
BY_ID = "query ($id: ID!) { transaction(id: $id) { id owner { address } block { height } } }"
BY_TAG = """query ($value: String!) {
  transactions(tags: [{name: "Number", values: [$value]}]) { count edges { node { id bundledIn { id } } } }
}"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    """Two gateways, two shards, and an interval of a minute: nothing is posted because its time has come."""
    options = ["--gateways", "2", "--shards", "2"]
    environment = {"AORAY_FLUSH_INTERVAL_MS": "60000"}
    with LocalComputer(tmp_path_factory.mktemp("wide") / "data", options, environment) as running:
        yield running


async def see(base: str, sent: DataItem, number: str) -> None:
    """Read it in every way, once each, on a connection of its own."""
    async with httpx.AsyncClient(base_url=base, timeout=60) as http:
        for path in (f"/{sent.id}", f"/raw/{sent.id}"):
            answer = await http.get(path)
            assert (answer.status_code, answer.content) == (200, sent.data), (base, path)
        assert (await http.get(f"/tx/{sent.id}")).json()["id"] == sent.id
        found = await search(http, BY_TAG, value=number)
        assert [edge["node"]["id"] for edge in found["transactions"]["edges"]] == [sent.id]
        assert found["transactions"]["count"] == "1"
        found = (await search(http, BY_ID, id=sent.id))["transaction"]
        assert found["owner"]["address"] == sent.address and found["block"]["height"] > 0


async def search(http: httpx.AsyncClient, query: str, **variables: str) -> Any:
    answer = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def write_and_read(computer: LocalComputer, name: str, writes: int) -> None:
    """Processes and messages to them, each read right after its acknowledgement on both ports."""
    async with Client(computer.url, generate_ed25519()) as client, httpx.AsyncClient(timeout=60) as http:
        process = ""
        for number in range(writes):
            value = f"{name}-{number}"
            tags = [Tag("Number", value)]
            if number % 3:
                sent = client.message(process, tags=tags)
            else:
                sent = client.process(computer.health, tags=tags)
            process = sent.id if number % 3 == 0 else process
            answer = await http.post(computer.url, content=sent.raw)
            assert answer.status_code in (200, 202), answer.text
            await asyncio.gather(*(see(computer.unit(port), sent, value) for port in (0, 1)))


async def test_what_is_acknowledged_is_read_at_once_by_its_id_and_by_searches(wide: LocalComputer) -> None:
    await asyncio.gather(*(write_and_read(wide, f"quiet-{n}", 6) for n in range(2)))


async def test_under_load_too(wide: LocalComputer) -> None:
    work = await prepare(wide, messages=3000, clients=16, processes=16)
    load = asyncio.create_task(work.load.run(wide))
    await work.load.reached(100)
    await asyncio.gather(*(write_and_read(wide, f"load-{n}", 6) for n in range(4)))
    await load
