"""Layer-1 transactions on the embedded Arweave: kept once, paid once, whole only with proven data; and what
strangers make of them is refused in words, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from hashlib import shake_256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from arweave_items import bundle, item

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.local import index, intake
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.local.wallets import GIFT, WINSTON_MAX, read_balances
from aoray.errors import ClientError, NotFound, Unavailable
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.merkle import CHUNK_BYTES_MAX
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.tags import Tag
from aoray.protocol.transactions import Transaction, chunks_json, sign, to_json
from aoray.storage.modules import store_module, stored_module
from aoray.web.application import application

RICH, POOR = generate_rsa(), generate_rsa()
OTHER = b64url_encode(b"o" * 32)
LONG = shake_256(b"aoray").digest(614_400)  # three chunks


@pytest.fixture
async def http(store: ArweaveStore) -> AsyncIterator[httpx.AsyncClient]:
    """An Arweave with a genesis file: only RICH has anything."""
    app = application("Arweave")
    app.include_router(router(store, balances={RICH.address: 1000}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://arweave") as opened:
        yield opened


def made(store: ArweaveStore, data: bytes = b"", signer: Any = RICH, **more: Any) -> Transaction:
    return sign(signer, data, **({"anchor": store.tip().id, "reward": 0} | more))


async def post(http: httpx.AsyncClient, transaction: Transaction, data: bytes = b"") -> httpx.Response:
    return await http.post("/tx", json=to_json(transaction, data))


async def balances(http: httpx.AsyncClient) -> dict[str, int]:
    names = {"rich": RICH.address, "poor": POOR.address, "other": OTHER}
    return {name: int((await http.get(f"/wallet/{own}/balance")).text) for name, own in names.items()}


async def test_a_transaction_is_there_with_its_data_tags_and_block_and_a_second_time_changes_nothing(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    sent = made(store, b"hello", tags=[Tag("Content-Type", "text/plain"), Tag("A", "b")], reward=7)
    answers = [await post(http, sent, b"hello") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 208]
    assert (await balances(http))["rich"] == 993
    assert (await http.get(f"/{sent.id}")).text == "hello"
    assert (await http.get(f"/{sent.id}")).headers["content-type"] == "text/plain"
    found = (await http.get(f"/tx/{sent.id}")).json()
    assert to_json(sent, b"hello").items() <= found.items()
    assert (await http.get(f"/tx/{sent.id}/status")).json()["block_height"] == 2
    assert (await http.get(f"/wallet/{RICH.address}/last_tx")).text == sent.id
    query = (
        '{ transactions(tags: [{name: "A", values: ["b"]}]) { edges { node { id fee { winston ar } } } } }'
    )
    (edge,) = (await http.post("/graphql", json={"query": query})).json()["data"]["transactions"]["edges"]
    assert edge["node"] == {"id": sent.id, "fee": {"winston": "7", "ar": "0.000000000007"}}


async def test_a_transfer_moves_what_it_says_once_and_conserves_the_rest(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    sent = made(store, target=OTHER, quantity=100, reward=5)
    for _ in range(3):
        await post(http, sent)
    assert await balances(http) == {"rich": 895, "poor": 0, "other": 100}
    to_self = made(store, target=RICH.address, quantity=895, anchor=sent.id)
    assert (await post(http, to_self)).status_code == 200
    assert (await balances(http))["rich"] == 895


async def test_balances_and_chunks_outlive_the_process(store: ArweaveStore, tmp_path: Path) -> None:
    sent = made(store, LONG, reward=100)
    chunks = list(chunks_json(LONG))
    for opened, part in ((store, chunks[:1]), (ArweaveStore(tmp_path / "arweave.sqlite"), chunks[1:])):
        app = application("Arweave")  # the second time without the genesis file
        app.include_router(router(opened, balances={RICH.address: 1000} if part == chunks[:1] else None))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://arweave") as http:
            await post(http, sent)
            assert (await balances(http))["rich"] == 900
            for chunk in part:
                assert (await http.post("/chunk", json=chunk)).status_code == 200
    assert store.data(store.get(sent.id)) == LONG


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


async def downloaded(http: httpx.AsyncClient, place: dict[str, str]) -> bytes:
    """The data chunk by chunk, as clients read it."""
    first, data = int(place["offset"]) - int(place["size"]) + 1, b""
    while len(data) < int(place["size"]):
        found = (await http.get(f"/chunk/{first + len(data)}")).json()
        data += b64url_decode(found["chunk"])
    return data


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


def changed(field: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: body | {field: value}


FORGED = {
    "another target": changed("target", b64url_encode(b"x" * 32)),
    "more": changed("quantity", "11"),
    "negative": changed("quantity", "-10"),
    "huge": changed("quantity", "9" * 40),
    "a float": changed("quantity", 1e3),
    "another reward": changed("reward", "1"),
    "another tag": changed("tags", [{"name": "QQ", "value": "Yg"}]),
    "tags that are none": changed("tags", [{"name": 1}]),
    "too many tags": changed("tags", [{"name": "QQ", "value": "Yg"}] * 200),
    "another owner": changed("owner", b64url_encode(POOR.public_key)),
    "a short owner": changed("owner", "AQAB"),
    "another id": changed("id", OTHER),
    "another data root": changed("data_root", OTHER),
    "other data": changed("data", "eA"),
    "format 1": changed("format", 1),
    "an anchor that is no block": changed("last_tx", b64url_encode(bytes(48))),
    "null": changed("signature", None),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_transaction_is_refused_in_words_and_moves_nothing(
    http: httpx.AsyncClient, store: ArweaveStore, name: str
) -> None:
    body = to_json(made(store, b"data", target=OTHER, quantity=10), b"data")
    answer = await http.post("/tx", json=FORGED[name](body))
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]
    assert await balances(http) == {"rich": 1000, "poor": 0, "other": 0}
    assert store.tip().height == 1


async def test_nobody_spends_what_he_has_not_nor_the_same_twice(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    first, second = (made(store, target=POOR.address, quantity=900) for _ in range(2))
    assert (await post(http, first)).status_code == 200
    answer = await post(http, second)
    assert answer.status_code == 400
    assert "has 100 winston, and the transaction costs 900" in answer.json()["error"]
    assert (await http.get(f"/tx/{second.id}")).status_code == 404
    with_fee = made(store, signer=POOR, target=OTHER, quantity=900, reward=1)
    assert (await post(http, with_fee)).status_code == 400
    assert await balances(http) == {"rich": 100, "poor": 900, "other": 0}


async def test_an_anchor_is_a_block_here_or_the_last_transaction_of_the_wallet(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    first = made(store, b"1", anchor="")
    assert (await post(http, first, b"1")).status_code == 200
    assert (await post(http, made(store, b"2", anchor=first.id), b"2")).status_code == 200
    assert (await post(http, made(store, b"3", anchor=first.id), b"3")).status_code == 400


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


async def test_blocks_that_are_mined_for_nothing_are_bounded_for_all_together(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.arweave.local.node_routes.time", SimpleNamespace(monotonic=lambda: now_s))
    now_s = 1_000.0
    full = limits.MINE_BLOCKS_BURST // limits.MINE_BLOCKS_MAX
    assert {(await http.get("/mine/100")).status_code for _ in range(full)} == {200}
    refused = await http.get("/mine")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
        429,
        "rate_limited",
        "1",
    )
    now_s += 2 / limits.MINE_BLOCKS_PER_SECOND
    assert [(await http.get("/mine")).status_code for _ in range(3)] == [200, 200, 429]
    assert (await http.get("/height")).text == str(1 + limits.MINE_BLOCKS_BURST + 2)


async def test_an_index_of_before_that_has_transactions_is_completed(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    sent = made(store, b"x", tags=[Tag("Process", "p")])
    await post(http, sent, b"x")
    named = intake.pair(sent.address, "p")
    with store.writing() as db:
        db.execute("DELETE FROM term WHERE term = ?", [named])
        db.execute("INSERT INTO unpaired SELECT max(seq) FROM item")
    uploads = os.open(store.path.with_suffix(".bytes"), os.O_RDONLY)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        while index.complete_some(other, uploads):
            pass
    os.close(uploads)
    assert store.rows("SELECT count(*) FROM term WHERE term = ?", [named]) == [(1,)]
    assert store.rows("SELECT * FROM unpaired", []) == []


async def test_arlocals_helpers_mint_and_mine(http: httpx.AsyncClient, store: ArweaveStore) -> None:
    assert (await http.get(f"/mint/{POOR.address}/50")).json() == 50
    assert (await http.get(f"/mint/{POOR.address}/5")).json() == 55
    for bad in (f"{POOR.address}/-5", f"{POOR.address}/x", f"{POOR.address}/{WINSTON_MAX + 1}", "x/5"):
        assert 400 <= (await http.get(f"/mint/{bad}")).status_code < 500
    assert (await http.get("/mine")).json()["height"] == 2
    assert (await http.get("/mine/3")).json()["height"] == 5
    for many in ("0", "-1", "x", "101"):
        assert (await http.get(f"/mine/{many}")).status_code == 400
    assert (await http.get("/block/height/4")).json()["txs"] == []
    sent = made(store, b"x")
    await post(http, sent, b"x")
    assert (await http.get("/block/height/6")).json()["txs"] == [sent.id]
    query = "query ($min: Int) { transactions(block: {min: $min}) { edges { node { id } } } }"
    for low, hits in ((1, 1), (3, 1), (6, 1), (7, 0)):
        body = {"query": query, "variables": {"min": low}}
        found = (await http.post("/graphql", json=body)).json()["data"]["transactions"]["edges"]
        assert len(found) == hits


async def test_without_a_genesis_file_a_new_wallet_can_pay(store: ArweaveStore) -> None:
    app = application("Arweave")
    app.include_router(router(store))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://arweave") as http:
        assert await balances(http) == {"rich": 0, "poor": 0, "other": 0}
        assert (await post(http, made(store, target=OTHER, quantity=3))).status_code == 200
        assert await balances(http) == {"rich": GIFT - 3, "poor": 0, "other": 3}
        await http.get(f"/mint/{POOR.address}/50")
        answer = await post(http, made(store, signer=POOR, target=OTHER, quantity=51))
        assert answer.status_code == 400


BAD_FILES = {
    "not JSON": "{",
    "a list": "[]",
    "no address": '{"x": "1"}',
    "negative": json.dumps({OTHER: "-1"}),
    "a float": json.dumps({OTHER: 1.5}),
    "a truth": json.dumps({OTHER: True}),
    "too much": json.dumps({OTHER: str(WINSTON_MAX + 1)}),
    "huge": json.dumps({OTHER: "9" * 5000}),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_genesis_file_is_refused_in_words(tmp_path: Path, name: str) -> None:
    file = tmp_path / "balances.json"
    file.write_text(BAD_FILES[name])
    with pytest.raises(ClientError, match="balances"):
        read_balances(file)


def test_a_genesis_file_is_for_a_new_network_alone(store: ArweaveStore, tmp_path: Path) -> None:
    file = tmp_path / "balances.json"
    file.write_text(json.dumps({OTHER: 5, RICH.address: "7"}))
    router(store, balances=read_balances(file))
    router(store, balances=read_balances(file))
    with pytest.raises(ClientError, match="other balances"):
        router(store, balances={OTHER: 6})
    with ArweaveStore(tmp_path / "used.sqlite") as used:
        used.put(item())
        with pytest.raises(ClientError, match="without balances"):
            router(used, balances={OTHER: 6})


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
