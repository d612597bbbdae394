"""What was acknowledged from a shard's log is read at once, before it is posted to the embedded Arweave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from arweave_items import BOB, bundle, item
from clock import Clock

from aoray import limits
from aoray.arweave.local.recent import Recent
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import DataItem
from aoray.web.application import application

BY_ID = "query ($id: ID!) { transaction(id: $id) { id block { height } } }"
BY_TAG = '{ transactions(tags: [{name: "A", values: ["b"]}]) { count edges { node { id } } } }'


class Logs:
    """Two shards' logs: what each has acknowledged, and not posted."""

    def __init__(self) -> None:
        self.held: dict[int, list[DataItem]] = {0: [], 1: []}
        self.all: dict[str, bytes] = {}
        self.store: ArweaveStore
        self.posts = 0
        self.begun, self.posting = asyncio.Event(), asyncio.Event()
        self.posting.set()

    def acknowledge(self, shard: int, sent: DataItem) -> DataItem:
        self.held[shard].append(sent)
        self.all[sent.id] = sent.raw
        return sent

    async def unposted(self) -> list[int]:
        return [shard for shard, held in self.held.items() if held]

    async def post(self, shard: int) -> None:
        self.posts += 1
        self.begun.set()
        held, self.held[shard] = self.held[shard], []
        await self.posting.wait()
        self.store.put(bundle(held, signer=BOB))


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def recent(logs: Logs) -> Recent:
    return Recent(logs.all.get, logs.unposted, logs.post)


@pytest.fixture
def store(tmp_path: Path, clock: Clock, recent: Recent, logs: Logs) -> Iterator[ArweaveStore]:
    options: Any = {"clock": clock, "trusted": {BOB.address}, "later": lambda: None, "recent": recent.find}
    with ArweaveStore(tmp_path / "arweave.sqlite", **options) as logs.store:
        yield logs.store


@pytest.fixture
async def http(store: ArweaveStore, recent: Recent) -> AsyncIterator[httpx.AsyncClient]:
    app = application("Arweave")
    app.include_router(router(store, recent))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://arweave") as opened:
        yield opened


async def graphql(http: httpx.AsyncClient, query: str, **variables: str) -> Any:
    return (await http.post("/graphql", json={"query": query, "variables": variables})).json()["data"]


async def test_an_acknowledged_item_is_read_by_its_id_before_it_is_posted(
    http: httpx.AsyncClient, logs: Logs
) -> None:
    sent = logs.acknowledge(0, item(("A", "b"), ("Content-Type", "text/plain"), data=b"0123456789"))
    for path in (f"/{sent.id}", f"/raw/{sent.id}"):
        assert (await http.get(path)).content == sent.data
    assert (await http.get(f"/{sent.id}", headers={"range": "bytes=2-4"})).content == b"234"
    assert (await http.get(f"/tx/{sent.id}")).json()["id"] == sent.id
    assert (await http.get(f"/tx/{sent.id}/item")).content == sent.raw
    assert (await http.get(f"/{sent.id}")).headers["a"] == "b"
    assert logs.posts == 0
    assert (await http.get(f"/tx/{sent.id}/status")).json()["block_height"] == 2
    assert logs.posts == 1


async def test_every_search_sees_what_was_acknowledged_before_it(http: httpx.AsyncClient, logs: Logs) -> None:
    sent = [logs.acknowledge(shard, item(("A", "b"))) for shard in (0, 1, 0)]
    assert (await graphql(http, BY_ID, id=sent[0].id))["transaction"]["id"] == sent[0].id
    found = (await graphql(http, BY_TAG))["transactions"]
    assert {edge["node"]["id"] for edge in found["edges"]} == {each.id for each in sent}
    assert found["count"] == "3"
    posts = logs.posts
    await graphql(http, BY_TAG)
    assert logs.posts == posts == 2  # a shard with nothing to post is left alone


async def test_all_who_search_during_one_round_of_posting_share_the_next(
    http: httpx.AsyncClient, logs: Logs
) -> None:
    logs.posting.clear()
    first = logs.acknowledge(0, item())
    searching = [asyncio.create_task(graphql(http, BY_ID, id=first.id))]
    await logs.begun.wait()
    later = [logs.acknowledge(0, item()) for _ in range(20)]
    searching += [asyncio.create_task(graphql(http, BY_ID, id=each.id)) for each in later]
    await asyncio.sleep(0)
    logs.posting.set()
    found = await asyncio.gather(*searching)
    assert [each["transaction"]["id"] for each in found] == [each.id for each in (first, *later)]
    assert all(each["transaction"]["block"] for each in found)
    assert logs.posts == 2


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_a_shard_that_does_not_answer_keeps_a_search_waiting_no_longer_than_the_bound(
    http: httpx.AsyncClient, logs: Logs, monkeypatch: pytest.MonkeyPatch, recent: Recent, fault: str
) -> None:
    monkeypatch.setattr(limits, "RECENT_SECONDS_MAX", 0.05)

    async def post(shard: int) -> None:
        if fault == "fails":
            raise Unavailable("no shard")
        await asyncio.Event().wait()

    monkeypatch.setattr(recent, "_post", post)
    sent = logs.acknowledge(0, item())
    assert (await graphql(http, BY_TAG))["transactions"]["edges"] == []
    assert (await graphql(http, BY_ID, id=sent.id))["transaction"] == {"id": sent.id, "block": None}
    answer = await http.get(f"/tx/{sent.id}/status")
    assert (answer.status_code, answer.text) == (202, "Pending")
    assert recent.cut_total == 3
