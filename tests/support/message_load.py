"""The load that tests put on a computer, and how its logs are read back: what several of them share."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from aoray.client import Client
from aoray.client.retry import patiently
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_decode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer
from benchmarks.http import Connection
from benchmarks.http import prepare as prepare_request

ASKING_SECONDS_MAX = 60
PROGRAM = """
Sum, Count = 0, 0
Handlers.add("add", "Add", function(msg)
  Sum, Count = Sum + math.tointeger(tonumber(msg.Quantity)), Count + 1
end)
Handlers.add("state", "State", function() print(Sum .. " " .. Count) end)
"""
ATTEMPTS_MAX = 600
RETRY_AFTER_S = 0.1
PAGE = 1000


@dataclass
class Load:
    """Items to post, by a number of clients at once, and what became of them."""

    items: Sequence[DataItem]
    clients: int
    acknowledged: set[str] = field(default_factory=set)
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, computer: LocalComputer, *, patient: bool = True) -> None:
        """Post everything. A patient load outlives a computer that does not answer for a while."""
        mine = [self.items[n :: self.clients] for n in range(self.clients)]
        await asyncio.gather(*(self._drive(Connection(computer.url), part, patient) for part in mine))

    async def _drive(self, line: Connection, items: Sequence[DataItem], patient: bool) -> None:
        for item in items:
            if not await self._post(line, item, ATTEMPTS_MAX if patient else 1):
                assert not patient, f"{item.id} was refused {ATTEMPTS_MAX} times"
                break
        line.close()

    async def _post(self, line: Connection, item: DataItem, attempts: int) -> bool:
        for _ in range(attempts):
            if not await _accepted(line, item):
                await self.reached(len(self.acknowledged) + 1, RETRY_AFTER_S)
                continue
            async with self.progress:
                self.acknowledged.add(item.id)
                self.progress.notify_all()
            return True
        return False

    async def reached(self, count: int, seconds: float | None = None) -> bool:
        """Wait until so many are acknowledged, or the time is over."""
        try:
            async with asyncio.timeout(seconds), self.progress:
                await self.progress.wait_for(lambda: len(self.acknowledged) >= count)
        except TimeoutError:
            return False
        return True


async def _accepted(line: Connection, item: DataItem) -> bool:
    """Whether the computer took it; it may be away or overloaded, but it may not refuse."""
    try:
        status, body = await line.request(prepare_request("POST", "/", item.raw))
    except ConnectionError:
        return False
    assert status in (202, 503), body
    if status == 503:
        return False
    assert json.loads(body)["id"] == item.id
    return True


@dataclass(frozen=True)
class Work:
    """The processes, the load, and what each item adds to which process."""

    processes: Sequence[str]
    load: Load
    quantity: dict[str, int]


async def prepare(computer: LocalComputer, *, messages: int, clients: int, processes: int) -> Work:
    """Spawn the processes, and sign the messages: seeded quantities, spread at random over processes."""
    source = random.Random(messages)
    async with Client(computer.url, generate_ed25519()) as client:
        spawned = await asyncio.gather(
            *(client.spawn(data=PROGRAM, on_boot=True, tags=[Tag("Name", f"p{n}")]) for n in range(processes))
        )
        quantity = {}
        items = []
        for number in range(messages):
            amount = source.randrange(1_000_000)
            tags = [Tag("Quantity", str(amount)), Tag("Number", str(number))]
            item = client.message(source.choice(spawned), action="Add", tags=tags)
            quantity[item.id] = amount
            items.append(item)
    return Work(spawned, Load(items, clients), quantity)


async def check(computer: LocalComputer, work: Work) -> None:
    """Every acknowledged item is in its process's log once, and its process has added it up once."""
    of_process = {item.id: item.target_id for item in work.load.items}
    found: Counter[str] = Counter()
    async with Client(computer.url, generate_ed25519()) as client:
        # An actor that was killed just now may be behind, and refuses for as long as it is.
        asked = [client.message(pid, action="State") for pid in work.processes]
        states = await asyncio.gather(
            *(patiently(partial(client.post, item), ASKING_SECONDS_MAX) for item in asked)
        )
        for pid, state in zip(work.processes, states, strict=True):
            said = (await client.result(pid, state))["Output"]["data"]
            messages = check_log(pid, await log_of(computer, pid))
            assert messages.pop() == state
            assert all(of_process[id] == pid for id in messages)
            found.update(messages)
            expected = sum(work.quantity[id] for id in messages)
            assert said == f"{expected} {len(messages)}"
    assert max(found.values()) == 1
    assert work.load.acknowledged <= found.keys()


async def log_of(computer: LocalComputer, process: str) -> list[dict[str, Any]]:
    """The whole log of a process, page by page, as the scheduler unit tells it."""
    nodes: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=computer.unit(3), timeout=60) as http:
        params: dict[str, str | int] = {"process-id": process, "limit": PAGE}
        while True:
            page = (await http.get(f"/{process}", params=params)).raise_for_status().json()
            nodes += [edge["node"] for edge in page["edges"]]
            if not page["page_info"]["has_next_page"]:
                return nodes
            params["from"] = page["edges"][-1]["cursor"]


def check_log(process: str, nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Nonces have no gap, timestamps rise, the hash chain holds; gives the ids of the messages in order."""
    chain, previous, time = b"", b"", -1
    for nonce, node in enumerate(nodes):
        tags = {tag["name"]: tag["value"] for tag in node["assignment"]["tags"]}
        assert (tags["Process"], int(tags["Nonce"])) == (process, nonce)
        linked = previous + chain if nonce else b64url_decode(process)
        chain, previous = hashlib.sha256(linked).digest(), b64url_decode(node["assignment"]["id"])
        assert b64url_decode(tags["Hash-Chain"]) == chain
        assert int(tags["Timestamp"]) > time
        time = int(tags["Timestamp"])
        if nonce:
            assert tags["Message"] == node["message"]["id"]
    return [node["message"]["id"] for node in nodes[1:]]


@contextmanager
def stopped(computer: LocalComputer, kind: str) -> Iterator[None]:
    """While the actors of a class do nothing at all."""
    pids = computer.actors(kind)
    assert pids
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def messages(client: Client, process: str, count: int) -> list[DataItem]:
    return [client.message(process, action="Eval", data=f"N = {number}") for number in range(count)]
