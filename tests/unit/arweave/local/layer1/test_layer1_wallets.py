"""Wallets of the embedded Arweave: what they have at the start, and ArLocal's helpers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from arweave_items import item
from layer1 import OTHER, POOR, RICH, balances, made, post

from aoray import limits
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.local.wallets import GIFT, WINSTON_MAX, read_balances
from aoray.errors import ClientError
from aoray.web.application import application


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
