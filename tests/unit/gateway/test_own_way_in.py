"""The computer's own actors at the door of its Arweave: known by a word, and not by the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import Computer

from aoray.arweave.local import bundler_routes
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.own_way import own_client, own_word
from aoray.gateway import apps
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.settings import Settings
from aoray.web.shares import OWN_WORD


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))
    computer = Computer(tmp_path, rate_per_address=1.0, rate_burst_seconds=1.0)
    computer.gateway.admission._clock = lambda: 100.0
    return computer


@pytest.fixture
async def arweave(computer: Computer, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with ArweaveStore(tmp_path / "arweave.sqlite") as store:
        async with computer.http(apps.arweave_unit(computer.gateway, router(store))) as http:
            yield http


async def test_strangers_have_rates_and_threads_of_their_own_also_at_the_port_of_the_flusher(
    computer: Computer, arweave: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, threads = list[bool](), bundler_routes._threads
    monkeypatch.setattr(bundler_routes, "_threads", lambda *, own: (ways.append(own), threads(own=own))[1])

    async def post(word: str) -> int:
        headers = {"content-type": "application/octet-stream"} | ({OWN_WORD: word} if word else {})
        raw = build(generate_ed25519(), data=b"x").raw
        return (await arweave.post("/tx", content=raw, headers=headers)).status_code

    assert [await post(word) for word in ("", "", "x" * 64)] == [200, 429, 429]
    own = own_word(computer.settings)
    assert [await post(own) for _ in range(3)] == [200] * 3
    assert ways == [False, True, True, True]


def test_the_word_is_one_computers_and_is_said_to_its_own_arweave_alone(tmp_path: Path) -> None:
    here, there = Settings(data=tmp_path / "here"), Settings(data=tmp_path / "there")
    assert own_word(here) == own_word(here) != own_word(there)
    assert own_client(here)._said == {OWN_WORD: own_word(here)}
    assert own_client(Settings(data=tmp_path / "here", gateway_url="http://elsewhere"))._said == {}
