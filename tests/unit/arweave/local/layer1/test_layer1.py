"""Layer-1 transactions on the embedded Arweave: kept once, paid once, whole only with proven data; and what
strangers make of them is refused in words, and changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from layer1 import LONG, OTHER, POOR, RICH, balances, made, post

from aoray.arweave.local import index, intake
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag
from aoray.protocol.transactions import chunks_json, to_json
from aoray.web.application import application


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
