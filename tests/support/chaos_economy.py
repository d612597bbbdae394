"""A small economy for the chaos run: a token process, wallets' processes that pay each other through it, and
the clients that tell them to.

Every payment is a chain: a client's Pay, the wallet's Transfer, the token's Credit-Notice and Debit-Notice,
and now and then a receipt to a wallet that is not a process (so to Arweave), or a process spawned. Some
payments are two equal transfers in one outbox, which must stay two.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from aoray.client import Client
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

WALLETS = 50
CLIENTS = 24
GRANT = 40  # small enough that some transfers are refused for want of it
RETRY_AFTER_S = 0.2

TOKEN = """
Balances, Transfers = Balances or {}, Transfers or 0
Handlers.add("mint", "Mint", function(msg)
  assert(msg.From == Owner)
  for holder in string.gmatch(msg.Data, "%S+") do Balances[holder] = math.tointeger(msg.Quantity) end
end)
Handlers.add("transfer", "Transfer", function(msg)
  local quantity = math.tointeger(tonumber(msg.Quantity))
  local held = Balances[msg.From] or 0
  if quantity <= 0 or held < quantity then
    Send({ Target = msg.From, Action = "Transfer-Error", Quantity = msg.Quantity })
    return
  end
  Balances[msg.From] = held - quantity
  Balances[msg.Recipient] = (Balances[msg.Recipient] or 0) + quantity
  Transfers = Transfers + 1
  Send({ Target = msg.From, Action = "Debit-Notice", Recipient = msg.Recipient, Quantity = msg.Quantity })
  Send({ Target = msg.Recipient, Action = "Credit-Notice", Sender = msg.From, Quantity = msg.Quantity })
end)
Handlers.add("state", "State", function()
  local lines = {}
  for holder, held in pairs(Balances) do lines[#lines + 1] = holder .. " " .. held end
  print(table.concat(lines, "\\n"))
end)
"""

WALLET = """
Asked, Refused, Credits, Got, Debits, Gave, Opened, Born = 0, 0, 0, 0, 0, 0, 0, 0
Handlers.add("pay", "Pay", function(msg)
  for _ = 1, math.tointeger(tonumber(msg.Times)) do
    Asked = Asked + 1
    Send({ Target = "TOKEN", Action = "Transfer", Recipient = msg.Recipient, Quantity = msg.Quantity })
  end
end)
local function quantity(msg)
  assert(msg.From == "TOKEN")
  return math.tointeger(tonumber(msg.Quantity))
end
Handlers.add("credit", "Credit-Notice", function(msg)
  Credits, Got = Credits + 1, Got + quantity(msg)
end)
Handlers.add("debit", "Debit-Notice", function(msg)
  Debits, Gave = Debits + 1, Gave + quantity(msg)
  if Debits % 4 == 0 then Send({ Target = Owner, Action = "Receipt", Quantity = msg.Quantity }) end
end)
Handlers.add("refused", "Transfer-Error", function(msg) Refused = Refused + (quantity(msg) and 1 or 0) end)
Handlers.add("open", "Open", function(msg)
  Opened = Opened + 1
  Spawn({ Name = "child", Data = "1" })
end)
Handlers.add("born", "Spawned", function(msg) Born = Born + 1 end)
Handlers.add("state", "State", function()
  print(table.concat({ Asked, Refused, Credits, Got, Debits, Gave, Opened, Born }, " "))
end)
"""

T = TypeVar("T")


class Account(NamedTuple):
    """What a wallet's process says of itself: counts, and sums of what it got and gave."""

    asked: int
    refused: int
    credits: int
    got: int
    debits: int
    gave: int
    opened: int
    born: int


@dataclass
class Economy:
    """The processes, and what their clients have been told."""

    token: str
    wallets: Sequence[str]
    acknowledged: dict[str, str] = field(default_factory=dict)  # the process of each item
    faults: list[str] = field(default_factory=list)  # answers that no client should get

    @property
    def processes(self) -> list[str]:
        return [self.token, *self.wallets]

    async def run(self, computer: LocalComputer, seed: int, over: asyncio.Event) -> None:
        """Clients at work until it is over. Each has one message under way, and retries it."""
        clients = [Client(computer.url, generate_ed25519()) for _ in range(CLIENTS)]
        sources = [random.Random(f"{seed} {number}") for number in range(CLIENTS)]
        await asyncio.gather(*map(self._work, clients, sources, [over] * CLIENTS))

    async def _work(self, client: Client, source: random.Random, over: asyncio.Event) -> None:
        async with client:
            while not over.is_set():
                item = self._message(client, source)
                await persistently(lambda item=item: client.post(item), self.faults)
                self.acknowledged[item.id] = item.target_id
                if source.random() < 0.5:
                    await self._await_result(client, item)

    async def _await_result(self, client: Client, item: DataItem) -> None:
        result = await persistently(lambda: client.result(item.target_id, item.id), self.faults)
        if result.get("Error"):
            self.faults.append(f"{item.id} of {item.target_id}: {result['Error']}")

    def _message(self, client: Client, source: random.Random) -> DataItem:
        payer, payee = source.sample(self.wallets, 2)
        if source.random() < 0.02:
            return client.message(payer, action="Open")
        tags = [
            Tag("Recipient", payee),
            Tag("Quantity", str(source.randrange(1, 10))),
            Tag("Times", "2" if source.random() < 0.1 else "1"),
        ]
        return client.message(payer, action="Pay", tags=tags)

    async def accounts(self, client: Client) -> dict[str, Account]:
        """What each wallet's process says."""
        found = {}
        for wallet in self.wallets:
            said = (await client.dryrun(wallet, action="State"))["Output"]["data"]
            found[wallet] = Account(*map(int, said.split()))
        return found

    async def balances(self, client: Client) -> dict[str, int]:
        """What the token process says."""
        said = (await client.dryrun(self.token, action="State"))["Output"]["data"]
        return {holder: int(held) for holder, held in map(str.split, said.splitlines())}


async def found(computer: LocalComputer) -> Economy:
    """Spawn everybody, and give each wallet the same."""
    async with Client(computer.url, generate_ed25519()) as client:
        token = await client.spawn(data=TOKEN, on_boot=True, tags=[Tag("Name", "token")])
        program = WALLET.replace("TOKEN", token)
        wallets = await asyncio.gather(
            *(
                client.spawn(data=program, on_boot=True, tags=[Tag("Name", f"w{number}")])
                for number in range(WALLETS)
            )
        )
        minted = client.message(
            token, action="Mint", tags=[Tag("Quantity", str(GRANT))], data=" ".join(wallets)
        )
        await client.post(minted)
        result = await client.result(token, minted.id)
        assert not result.get("Error"), result
    economy = Economy(token, wallets)
    economy.acknowledged |= {process: process for process in economy.processes} | {minted.id: token}
    return economy


async def persistently(ask: Callable[[], Awaitable[T]], faults: list[str]) -> T:
    """Ask until there is an answer, as a client does whose computer is away; a 500 is noted."""
    while True:
        try:
            return await ask()
        except Unavailable as error:
            if error.details.get("status", 503) != 503:
                faults.append(f"{error.details['status']}: {error.message}")
        await until(asyncio.Event(), RETRY_AFTER_S)


async def until(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, or for so long; says whether it has come."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def tags_of(item: dict[str, Any]) -> dict[str, str]:
    """The tags of an item as the scheduler unit tells it."""
    return {tag["name"]: tag["value"] for tag in item["tags"]}
