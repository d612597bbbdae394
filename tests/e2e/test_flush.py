"""The log gets to an Arweave node that others wrote, each entry once, whatever is killed, dropped or down."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from arlocal import ArLocal
from command_line import aoray_ran
from message_load import log_of
from polling import between_looks

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, unpack
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.settings import Settings
from aoray.storage.key_files import load_or_make
from aoray.storage.sqlite_store import log_path
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.node, pytest.mark.timeout(300)]
SECONDS_MAX = 60
BIG = "b" * 200_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ArLocal]:
    with ArLocal(tmp_path / "arlocal") as running:
        yield running


@pytest.fixture
def gateway(computer: LocalComputer) -> LocalComputer:
    """Another computer, for its Arweave."""
    return computer


async def until(client: Client, fits: Callable[[dict[str, Any]], object], act: Callable[[], None]) -> Any:
    """What the computer says of Arweave once it fits; `act` is done before each look."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            await asyncio.to_thread(act)
            found = (await client.status())["arweave"]
            if fits(found):
                return found
            await between_looks()


def settled(data: Path) -> list[str]:
    """The transactions that the computer holds for confirmed."""
    with closing(sqlite3.connect(log_path(Settings(data=data), 0))) as log:
        return [row[0] for row in log.execute("SELECT id FROM uploads WHERE settled")]


async def send(client: Client, process: str, count: int, data: str = "") -> list[str]:
    return [await client.send(process, action="Add", data=data) for _ in range(count)]


async def test_each_entry_is_in_one_confirmed_transaction_through_kills_forks_and_outages(
    node: ArLocal, gateway: LocalComputer, tmp_path: Path
) -> None:
    wallet = tmp_path / "wallet.json"
    address = load_or_make(wallet, generate_rsa).address
    node.mint(address)
    environment = {
        "AORAY_GATEWAY_URL": node.url,
        "AORAY_ARWEAVE_WALLET": str(wallet),
        "AORAY_CONFIRMATIONS_MIN": "2",
        "AORAY_REPOST_SECONDS": "1",
        "AORAY_FLUSH_INTERVAL_MS": "200",
    }
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    with LocalComputer(tmp_path / "data", environment=environment) as computer:
        async with Client(computer.url, generate_ed25519()) as client:
            process = await client.spawn(data="Handlers.add('add', 'Add', function() end)", on_boot=True)
            sent = await send(client, process, 3, BIG)  # bundles of several chunks
            await client.result(process, sent[-1])
            await until(client, lambda found: found["entries"] == 0 and found["unconfirmed"] > 0, nothing)

            node.kill()  # and with it all that it had not mined
            node.start(empty=True)
            node.mint(address)
            node.mine(3)  # another chain: the anchors of before are not in it
            await until(client, lambda found: found["reposts"] > 0 and found["failures"] == 0, nothing)

            sent += await send(client, process, 20)
            computer.kill()
            computer.start()
            sent += await send(client, process, 20)

            node.kill()
            sent += await send(client, process, 10, BIG)
            await client.result(process, sent[-1])
            found = await until(client, lambda found: found["failures"] > 0, nothing)
            assert found["entries"] > 0 and found["bytes"] > 10 * len(BIG) and found["oldest_seconds"] > 0
            assert "Unavailable" in found["last_error"] and found["hint"]
            code, out, _ = await aoray_ran("status", "--url", computer.url)
            assert code == 0 and "waiting" in out and "Unavailable" in out

            node.start()
            await until(client, lambda found: not (found["entries"] or found["unconfirmed"]), node.mine)
            log = await log_of(computer, process)
    assert len(log) == len(sent) + 1
    bundles = node.bundles(address, settled(tmp_path / "data"))
    items = Counter(item.id for data in bundles for item in unpack(data))
    assert set(items.values()) == {1}
    assert items.keys() >= {process, *sent, *(entry["assignment"]["id"] for entry in log)}

    # arlocal tells neither the anchors of items nor their bundles: another gateway reads the chain's data.
    async with ArweaveClient(gateway.unit(1)) as reading:
        for data in bundles:
            await reading.post_item(build(generate_ed25519(), tags=BUNDLE_TAGS, data=data).raw)
    code, out, err = await aoray_ran("verify", process, "--gateway", gateway.unit(1), "--json")
    assert code == 0, out + err
    assert orjson.loads(out)["nonce"] == len(sent)
