"""Data of layer-1 transactions: whole only with proven chunks, in any order, and within bounds; bundles are
unfolded however their data comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from arweave_items import bundle, item
from layer1 import LONG, OTHER, RICH, balances, downloaded, made, post

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.local import intake
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import NotFound, Unavailable
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.merkle import CHUNK_BYTES_MAX
from aoray.protocol.tags import Tag
from aoray.protocol.transactions import chunks_json
from aoray.storage.modules import store_module, stored_module


async def test_data_in_chunks_is_there_when_the_last_has_come_in_any_order(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    sent = made(store, LONG, tags=[Tag("A", "b")])
    await post(http, sent)
    chunks = list(chunks_json(LONG))
    for chunk in [chunks[2], chunks[0], chunks[2], chunks[0]]:
        assert (await http.post("/chunk", json=chunk)).text == "OK"
        assert (await http.get(f"/{sent.id}")).status_code == 404
        assert (await http.get(f"/tx/{sent.id}/offset")).status_code == 404
    assert (await http.post("/chunk", json=chunks[1])).text == "OK"
    assert (await http.get(f"/{sent.id}")).content == LONG
    place = (await http.get(f"/tx/{sent.id}/offset")).json()
    assert place["size"] == str(len(LONG))
    assert await downloaded(http, place) == LONG
    assert (await http.post("/chunk", json=chunks[1])).text == "OK"  # it is here: sent again


async def test_the_last_chunk_makes_the_data_whole_once_however_often_it_comes_at_the_same_time(
    http: httpx.AsyncClient, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would hold all of it in memory."""
    sent = made(store, LONG)
    await post(http, sent)
    *before, last = chunks_json(LONG)
    for chunk in before:
        await http.post("/chunk", json=chunk)
    joining, goes_on, joined, calls = threading.Event(), threading.Event(), Pieces.joined, list[str]()

    def held(self: Pieces, key: str) -> bytes:
        calls.append(key)
        joining.set()
        assert goes_on.wait(20)
        return joined(self, key)

    monkeypatch.setattr(Pieces, "joined", held)
    first = asyncio.create_task(http.post("/chunk", json=last))
    assert await asyncio.to_thread(joining.wait, 20)
    assert (await http.post("/chunk", json=last)).text == "OK"
    goes_on.set()
    assert (await first).text == "OK"
    assert len(calls) == 1 and store.data(store.get(sent.id)) == LONG


async def test_a_bundle_in_a_transaction_is_unfolded_however_its_data_comes(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    for size in (10, 400_000):
        inner = item(("A", "b"), data=bytes(size))
        data = bundle([inner]).data
        sent = made(store, data, tags=BUNDLE_TAGS)
        await post(http, sent, data if size == 10 else b"")
        for chunk in chunks_json(data) if size > 10 else ():
            assert (await http.post("/chunk", json=chunk)).text == "OK"
        assert (await http.get(f"/{inner.id}")).content == inner.data
        assert store.get(inner.id).bundled_in == sent.id
        assert (await http.get(f"/tx/{inner.id}/offset")).status_code == 404


async def test_a_bundle_that_came_as_an_item_has_an_offset_and_chunks(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    outer = bundle([item(data=LONG)])
    store.put(item())
    store.put(outer)
    store.put(item())
    place = (await http.get(f"/tx/{outer.id}/offset")).json()
    assert await downloaded(http, place) == outer.data
    for beyond in (0, 10**15, 10**30):
        assert (await http.get(f"/chunk/{beyond}")).status_code == 404


def bent(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


BAD_CHUNKS: dict[str, Callable[[list[dict[str, str]]], Any]] = {
    "forged": lambda all: all[0] | {"chunk": bent(all[0]["chunk"])},
    "another's": lambda all: all[0] | {"chunk": all[1]["chunk"]},
    "a wrong proof": lambda all: all[0] | {"data_path": bent(all[0]["data_path"])},
    "another's proof": lambda all: all[0] | {"data_path": all[1]["data_path"]},
    "a wrong root": lambda all: all[0] | {"data_root": OTHER},
    "a wrong offset": lambda all: all[0] | {"offset": all[1]["offset"]},
    "a wrong size": lambda all: all[0] | {"data_size": "614399"},
    "no transaction's": lambda all: next(iter(chunks_json(b"x" * 1000))),
    "negative": lambda all: all[0] | {"offset": "-1"},
    "huge": lambda all: all[0] | {"data_size": "9" * 30},
    "empty": lambda all: all[0] | {"chunk": ""},
    "too long": lambda all: all[0] | {"chunk": "A" * (CHUNK_BYTES_MAX * 4 // 3 + 8)},
    "numbers": lambda all: all[0] | {"chunk": 1},
    "a list": lambda all: all,
    "nothing": lambda all: {},
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_a_chunk_that_is_not_proven_is_refused_in_words(
    http: httpx.AsyncClient, store: ArweaveStore, name: str
) -> None:
    sent = made(store, LONG)
    await post(http, sent)
    chunks = list(chunks_json(LONG))
    answer = await http.post("/chunk", json=BAD_CHUNKS[name](chunks))
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]
    for chunk in chunks:
        assert (await http.get(f"/{sent.id}")).status_code == 404
        assert (await http.post("/chunk", json=chunk)).text == "OK"
    assert (await http.get(f"/{sent.id}")).content == LONG


async def test_pending_chunks_are_bounded(
    http: httpx.AsyncClient, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PIECES_SENDER_BYTES_MAX", 300_000)
    await post(http, made(store, LONG))
    chunks = list(chunks_json(LONG))
    assert (await http.post("/chunk", json=chunks[0])).status_code == 200
    answer = await http.post("/chunk", json=chunks[1])
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"]


async def test_a_module_may_be_a_transaction_and_is_verified_wherever_it_is_read(
    http: httpx.AsyncClient, store: ArweaveStore, tmp_path: Path
) -> None:
    sent = made(store, LONG, tags=[Tag("Type", "Module")])
    await post(http, sent)
    for chunk in chunks_json(LONG):
        await http.post("/chunk", json=chunk)
    transport = http._transport
    async with ArweaveClient("http://arweave", transport=transport) as client:
        module = await client.signed(sent.id)
        assert (module.id, module.data, module.address) == (sent.id, LONG, RICH.address)
        item_of_old = item()
        store.put(item_of_old)
        assert (await client.signed(item_of_old.id)).raw == item_of_old.raw
        with pytest.raises(NotFound):
            await client.signed(OTHER)
    store_module(tmp_path, module)
    assert stored_module(tmp_path, sent.id) == module
    for damage in (module.raw[:-1] + b"?", module.raw[:-1], b"{" + module.raw, b"{}\n" + LONG):
        (tmp_path / sent.id).write_bytes(damage)
        assert stored_module(tmp_path, sent.id) is None


@pytest.mark.parametrize("inline", [True, False])
async def test_a_large_bundle_is_indexed_in_slices_and_goes_on_after_a_crash_between_them(
    http: httpx.AsyncClient, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    monkeypatch.setattr(intake, "INDEX_SLICE_TERMS", 8)
    inner = [item(("A", "b")) for _ in range(10)]
    data = bundle(inner).data
    sent = made(store, data, tags=BUNDLE_TAGS, reward=9)
    move = store.fill
    monkeypatch.setattr(store, "fill", lambda intake, settle: move(intake, fails))

    async def give() -> int:
        answer = await post(http, sent, data if inline else b"")
        for chunk in () if inline else chunks_json(data):
            answer = await http.post("/chunk", json=chunk)
        return answer.status_code

    assert await give() == 503
    monkeypatch.setattr(store, "fill", move)
    assert (await http.get(f"/{sent.id}")).status_code == 404
    assert await give() in (200, 208)
    assert (await http.get(f"/{sent.id}")).content == data
    assert all(store.data(store.get(each.id)) == each.data for each in inner)
    query = '{ transactions(tags: [{name: "A", values: ["b"]}]) { count } }'
    found = (await http.post("/graphql", json={"query": query})).json()
    assert found["data"]["transactions"]["count"] == "10"
    assert len({store.get(each.id).height for each in inner}) > 1
    assert (await balances(http))["rich"] == 991


def fails(_: object) -> None:
    raise Unavailable("the power was cut")
