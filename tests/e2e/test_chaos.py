"""Nothing is lost and nothing happens twice while everything is killed, again and again (design.md G1 to G4).

A token process and 50 wallets' processes pay each other while actors are killed at random every few seconds,
and the whole tree twice. At the end the supply is conserved, every acknowledged item was scheduled once,
every outbox message was delivered once and nothing else was, every slot has its result, and `aoray verify`
makes the token process again from Arweave alone.

CHAOS_SECONDS is how long it lasts (60; `make chaos` 300), CHAOS_SEED what happens (printed; the times at
which the machine gets to things are its own). When it fails, what the computer said and kept stays where
the failure says.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaotic import GRANT, Economy, found, tags_of, until
from loading import PAGE, check_log

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.protocol.keys import generate_ed25519
from aoray.testing import LocalComputer, send_kill

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1_000_000)))
SETTLE_SECONDS_MAX = 240 + SECONDS
KINDS = ("ProcessActor", "ProcessActor", "ShardActor", "GatewayActor")
ENVIRONMENT = {"AORAY_SHARDS": "2", "AORAY_RESIDENT_PROCESSES_MAX": "10", "AORAY_LOG_LEVEL": "info"}
QUERY = """query ($process: String!, $nonce: String!) { transactions(tags: [
  {name: "Type", values: ["Assignment"]}, {name: "Process", values: [$process]},
  {name: "Nonce", values: [$nonce]}]) { edges { node { id } } } }"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 4 * SECONDS)]


@dataclass
class Wrecker:
    """Kills actors at random, and everything at two moments."""

    computer: LocalComputer
    source: random.Random
    seconds: float
    killed: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        begin, never = clock(), asyncio.Event()
        whole = [self.seconds / 3, self.seconds * 2 / 3]
        while whole or clock() - begin < self.seconds:
            await until(never, self.source.uniform(0.5, 3))
            if whole and clock() - begin >= whole[0]:
                del whole[0]
                await asyncio.to_thread(self.computer.kill)
                await asyncio.to_thread(self.computer.start)
                self.killed["everything"] += 1
            else:
                await asyncio.to_thread(self._kill_some)

    def _kill_some(self) -> None:
        kind = self.source.choice(KINDS)
        there = self.computer.actors(kind)
        victims = there if self.source.random() < 0.2 else self.source.sample(there, min(1, len(there)))
        send_kill(victims)
        self.killed[kind] += len(victims)


@pytest.fixture
def hurt_computer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[LocalComputer]:
    """A computer with little room and two shards, whose traces stay if the test fails."""
    computer = LocalComputer(tmp_path / "data", environment=ENVIRONMENT)
    with capsys.disabled():
        print(f"\nchaos: {SECONDS} s, CHAOS_SEED={SEED}, data in {computer.data}, log {computer.log}")
    with computer:
        yield computer


async def test_chaos_loses_and_doubles_nothing(
    hurt_computer: LocalComputer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    economy = await found(hurt_computer)
    over = asyncio.Event()
    wrecker = Wrecker(hurt_computer, random.Random(SEED), SECONDS)
    working = asyncio.create_task(economy.run(hurt_computer, SEED, over))
    try:
        await wrecker.run()
    finally:
        over.set()
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        await working
    assert not economy.faults
    assert wrecker.killed["everything"] == 2
    books = await Books.made(hurt_computer, economy)
    async with Client(hurt_computer.url, generate_ed25519()) as client:
        await check_supply(client, economy)
    books.check_messages(economy)
    books.check_results(hurt_computer)
    report = await verified(hurt_computer, economy.token, books.length[economy.token] - 1, tmp_path / "fresh")
    with capsys.disabled():
        print(f"chaos: killed {dict(wrecker.killed)}; {books.summary(economy)}")
        print(
            f"chaos: verified {report['messages']} messages of the token process from Arweave alone,"
            f" {report['messages_per_second']} a second"
        )


async def check_supply(client: Client, economy: Economy) -> None:
    """No token is gone or new, and wallets and token say the same."""
    accounts, balances = await economy.accounts(client), await economy.balances(client)
    assert sum(balances.values()) == GRANT * len(economy.wallets)
    for wallet, account in accounts.items():
        assert balances[wallet] == GRANT + account.got - account.gave, wallet
        assert account.asked == account.debits + account.refused, wallet
        assert account.opened == account.born, wallet
    assert sum(account.credits for account in accounts.values()) == sum(
        account.debits for account in accounts.values()
    )


@dataclass
class Books:
    """All logs and all outboxes, as the computer tells them when it has come to rest."""

    length: dict[str, int] = field(default_factory=dict)  # of each process's log
    scheduled: Counter[tuple[str, str]] = field(default_factory=Counter)  # (process, message id)
    pushed: Counter[tuple[str, str]] = field(default_factory=Counter)  # of those, by our messenger
    news: Counter[str] = field(default_factory=Counter)  # how often the birth of a process was told
    states: Counter[str] = field(default_factory=Counter)
    delivered: Counter[tuple[str, str]] = field(default_factory=Counter)
    spawned: set[str] = field(default_factory=set)
    uploaded: set[str] = field(default_factory=set)

    @classmethod
    async def made(cls, computer: LocalComputer, economy: Economy) -> Books:
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            await at_rest(computer)
        books = cls()
        async with Client(computer.url, generate_ed25519()) as client:
            authority = (await client.health())["authority"]
            for process in economy.processes:
                await books._add_outbox(client, process)
            for process in (*economy.processes, *sorted(books.spawned)):
                await books._add_log(computer, process, authority)
            for process in sorted(books.spawned):
                await books._add_outbox(client, process)
        async with ArweaveClient(computer.unit(1)) as arweave:
            for item_id in books.uploaded:
                await arweave.item(item_id)
        return books

    async def _add_log(self, computer: LocalComputer, process: str, authority: str) -> None:
        nodes = await log_of(computer, process)
        check_log(process, nodes)
        self.length[process] = len(nodes)
        for node in nodes:
            message = node["message"]
            self.scheduled[process, message["id"]] += 1
            if message["owner"]["address"] != authority:
                continue
            tags = tags_of(message)
            if tags.get("Action") == "Spawned":
                self.news[tags["Process"]] += 1
            else:
                self.pushed[process, message["id"]] += 1

    async def _add_outbox(self, client: Client, process: str) -> None:
        page: dict[str, Any] = {"next": ""}
        while "next" in page:
            page = await client.outbox(process, after=page["next"], limit=PAGE)
            for each in page["outbox"]:
                self.states[each["state"]] += 1
                if each["state"] == "delivered":
                    self.delivered[each["target"], each["id"]] += 1
                if each["kind"] == "spawn":
                    self.spawned.add(each["id"])
                elif each["state"] == "uploaded":
                    self.uploaded.add(each["id"])

    def check_messages(self, economy: Economy) -> None:
        """What was acknowledged is scheduled once; what was sent is delivered once, and nothing else is."""
        assert set(self.scheduled.values()) == {1}
        assert {(process, id) for id, process in economy.acknowledged.items()} <= self.scheduled.keys()
        assert set(self.states) <= {"delivered", "uploaded"}
        assert set(self.delivered.values()) <= {1}
        assert self.delivered == self.pushed
        assert self.news == Counter(dict.fromkeys(self.spawned, 1))
        theirs = sum(self.pushed.values()) + sum(self.news.values())
        assert sum(self.length.values()) == len(economy.acknowledged) + theirs

    def check_results(self, computer: LocalComputer) -> None:
        """Every slot has a result, and none is an error."""
        results = sqlite3.connect(f"{(computer.data / 'results.sqlite').as_uri()}?mode=ro", uri=True)
        with closing(results):
            query = "SELECT process_id, count(*), max(nonce), sum(has_error) FROM results GROUP BY process_id"
            told = {process: rest for process, *rest in results.execute(query)}
        assert told == {process: [length, length - 1, 0] for process, length in self.length.items()}

    def summary(self, economy: Economy) -> str:
        return (
            f"{len(economy.acknowledged)} items acknowledged, {sum(self.length.values())} slots in"
            f" {len(self.length)} logs, outboxes {dict(self.states)}, {len(self.spawned)} processes spawned"
        )


async def log_of(computer: LocalComputer, process: str) -> list[dict[str, Any]]:
    """The log of a process, without the data of its messages."""
    nodes: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=computer.unit(3), timeout=60) as http:
        params: dict[str, str | int] = {"process-id": process, "limit": PAGE}
        while True:
            page = (await http.get(f"/{process}", params=params)).raise_for_status().json()
            nodes += [edge["node"] for edge in page["edges"]]
            if not page["page_info"]["has_next_page"]:
                return nodes
            params["from"] = page["edges"][-1]["cursor"]


async def at_rest(computer: LocalComputer) -> None:
    """Wait until all slots have results and all outboxes have been pushed: then nothing can move any more."""
    while not await asyncio.to_thread(is_at_rest, computer.data):
        await until(asyncio.Event(), 0.5)


def is_at_rest(data: Path) -> bool:
    """With nobody sending: what is still to be pushed is in `results`, looked at first, or a slot by then."""
    with closing(sqlite3.connect(f"{(data / 'results.sqlite').as_uri()}?mode=ro", uri=True)) as results:
        results.execute("BEGIN")
        if results.execute("SELECT 1 FROM results WHERE pushed = 0 LIMIT 1").fetchone():
            return False
        evaluated = dict(results.execute("SELECT process_id, max(nonce) FROM results GROUP BY process_id"))
    scheduled: dict[str, int] = {}
    for path in data.glob("log-*.sqlite"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as log:
            scheduled |= dict(log.execute("SELECT process_id, nonce FROM processes"))
    return scheduled == evaluated


async def verified(computer: LocalComputer, process: str, nonce: int, fresh: Path) -> dict[str, Any]:
    """What `aoray verify` says, with nothing but an Arweave to ask and an empty directory."""
    variables = {"process": process, "nonce": str(nonce)}
    async with ArweaveClient(computer.unit(1)) as client, asyncio.timeout(SETTLE_SECONDS_MAX):
        while not (await client.graphql(QUERY, variables))["transactions"]["edges"]:
            await until(asyncio.Event(), 0.5)
    fresh.mkdir()
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aoray", "verify", process, "--gateway", computer.unit(1), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"AORAY_DATA": str(fresh)},
        cwd=fresh,
    )
    out, err = await running.communicate()
    assert running.returncode == 0, out.decode() + err.decode()
    report: dict[str, Any] = json.loads(out)
    assert report["ok"] and (report["nonce"], report["errors"]) == (nonce, 0)
    return report
