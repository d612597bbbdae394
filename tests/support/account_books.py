"""The books of the economy at rest: logs, outboxes and accounts, held against each other."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_economy import GRANT, Economy, tags_of, until
from message_load import PAGE, check_log, log_of

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

SETTLE_SECONDS_MAX = 300


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

    def others(self, economy: Economy) -> int:
        """How many slots there are of which no client was told, and that nobody here sent."""
        ours = sum(self.pushed.values()) + sum(self.news.values())
        return sum(self.length.values()) - len(economy.acknowledged) - ours

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
