"""Processes that hold tokens and, told to pay, send some to another; and what must hold when all is at rest:
every payment has been credited once, and no token is gone or new. What several tests share.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from message_load import Load, log_of
from polling import between_looks

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

PROGRAM = """
Balance, Paid, Credited = 1000000, 0, 0
Handlers.add("pay", "Pay", function(msg)
  local quantity = math.tointeger(tonumber(msg.Quantity))
  Balance, Paid = Balance - quantity, Paid + 1
  Send({ Target = msg.Recipient, Action = "Credit", Quantity = msg.Quantity })
end)
Handlers.add("credit", "Credit", function(msg)
  Balance, Credited = Balance + math.tointeger(tonumber(msg.Quantity)), Credited + 1
end)
Handlers.add("state", "State", function() print(Balance .. " " .. Paid .. " " .. Credited) end)
"""
PROCESSES = 8
BALANCE = 1_000_000
SETTLE_SECONDS_MAX = 90


async def spawn(client: Client) -> list[str]:
    return list(await asyncio.gather(*(client.spawn(data=PROGRAM, on_boot=True) for _ in range(PROCESSES))))


def payments(client: Client, processes: list[str], count: int) -> Load:
    """Payments among the processes; quantities repeat, so equal outbox messages are many."""
    source = random.Random(count)
    items = []
    for number in range(count):
        payer, payee = source.sample(processes, 2)
        tags = [
            Tag("Quantity", str(source.randrange(1, 4))),
            Tag("Recipient", payee),
            Tag("Number", str(number)),
        ]
        items.append(client.message(payer, action="Pay", tags=tags))
    return Load(items, clients=32)


async def states(client: Client, processes: list[str]) -> list[tuple[int, int, int]]:
    """Of each process its balance, and how many payments it has made and got."""
    found = []
    for process in processes:
        said = (await client.dryrun(process, action="State"))["Output"]["data"]
        balance, paid, credited = map(int, said.split())
        found.append((balance, paid, credited))
    return found


async def at_rest(client: Client, processes: list[str]) -> list[tuple[int, int, int]]:
    """The states when as many payments were got as were made; each look is a round of requests."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while True:
            found = await states(client, processes)
            if sum(paid for _, paid, _ in found) <= sum(credited for _, _, credited in found):
                return found
            await between_looks()


async def check_conserved(computer: LocalComputer, processes: list[str], paid_at_least: int) -> None:
    async with Client(computer.url, generate_ed25519()) as client:
        found = await at_rest(client, processes)
        for process in processes:  # one more message each, behind which nothing can still be on its way
            await client.result(process, await client.send(process, action="State"))
        assert await states(client, processes) == found
        for process, (_, paid, _) in zip(processes, found, strict=True):
            assert await deliveries(client, process) == Counter(delivered=paid)
    balances, paid, credited = zip(*found, strict=True)
    assert sum(balances) == BALANCE * PROCESSES
    assert sum(paid) == sum(credited) >= paid_at_least
    assert await credits_in_logs(computer, processes) == Counter(dict(zip(processes, credited, strict=True)))


async def deliveries(client: Client, process: str) -> Counter[str]:
    """How many outbox messages of a process are in which state, when none is pending any more."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while (await client.outbox(process, state="pending", limit=1))["outbox"]:
            await between_looks()
    found: Counter[str] = Counter()
    page: dict[str, Any] = {"next": ""}
    while "next" in page:
        page = await client.outbox(process, after=page["next"], limit=50)
        found.update(each["state"] for each in page["outbox"])
    return found


async def credits_in_logs(computer: LocalComputer, processes: list[str]) -> Counter[str]:
    """How many credits each process's log has; no two may come from one place in one outbox."""
    found: Counter[str] = Counter()
    for process in processes:
        origins = set()
        for node in await log_of(computer, process):
            tags = {tag["name"]: tag["value"] for tag in node["message"]["tags"]}
            if tags.get("Action") == "Credit":
                origins.add((tags["From-Process"], tags["From-Nonce"], tags["From-Index"]))
                found[process] += 1
        assert len(origins) == found[process]
    return found
