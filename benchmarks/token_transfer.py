"""How many payments a second pass from one token process to another. Each signed `Pay` message makes its
process debit itself and send a `Credit` to another one, which the messenger signs and pushes: two ordered,
durable, evaluated messages for a payment. The clock stops when every credit has been evaluated; then the
balances must add up to what they were, and each payment must have been credited once."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import Guest
from benchmarks.http import prepare
from benchmarks.load import Measured, Prepared, closed_loop
from benchmarks.report import Report
from benchmarks.running import Meter, computer_for, guests_of, hashes_of, run_loop
from benchmarks.running import add_arguments as add_common

NAME = "token_transfer"
DESCRIPTION = "payments between token processes until all are credited, and nothing is lost or doubled"
BALANCE = 1_000_000
SETTLE_SECONDS_MAX = 300
PROGRAM = f"""
Balance, Paid, Credited = {BALANCE}, 0, 0
Handlers.add("pay", "Pay", function(msg)
  local quantity = math.tointeger(tonumber(msg.Quantity))
  Balance, Paid = Balance - quantity, Paid + 1
  Send({{ Target = msg.Recipient, Action = "Credit", Quantity = msg.Quantity }})
  print("paid")
end)
Handlers.add("credit", "Credit", function(msg)
  Balance, Credited = Balance + math.tointeger(tonumber(msg.Quantity)), Credited + 1
end)
Handlers.add("state", "State", function() print(Balance .. " " .. Paid .. " " .. Credited) end)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=1000)
    parser.add_argument("--clients", default="16", help="clients at once; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    rows = []
    guests = [replace(each, program=PROGRAM, answer=b"paid") for each in guests_of(arguments)]
    with computer_for(arguments.url) as (url, computer):
        for guest in guests:
            rows += [
                run_loop(_measured(url, computer, guest, clients, arguments))
                for clients in map(int, arguments.clients.split(","))
            ]
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of(guests)}, rows)


async def _measured(
    url: str, computer: LocalComputer | None, guest: Guest, clients: int, arguments: argparse.Namespace
) -> dict[str, object]:
    async with Client(url, generate_ed25519()) as client:
        module = await guest.publish(client)
        spawned = await asyncio.gather(*(guest.spawn(client, module) for _ in range(arguments.processes)))
        work = payments(client, spawned, arguments.messages, arguments.seed)
        meter = Meter(computer)
        began = time.perf_counter()
        measured = await closed_loop(url, guest, work, clients)
        credited = await settled(client, spawned, len(measured.answered))
        wall = time.perf_counter() - began
        measured.server_cpu = meter.cpu()
        measured.cost = meter.columns(measured.server_cpu)
    return {
        "module": guest.name,
        "clients": clients,
        "processes": len(spawned),
        "payments_per_s": round(credited / wall, 1),
        "credited": credited,
        "credits_after_s": round(wall - measured.wall, 3),
        **_renamed(measured),
        "server_us": measured.server_us(),
    }


def _renamed(measured: Measured) -> dict[str, object]:
    row = measured.row()
    row["debited_per_s"] = row.pop("messages_per_s")
    return row


def payments(client: Client, processes: Sequence[str], count: int, seed: int) -> list[Prepared]:
    """Signed payments, payers, payees and quantities by chance."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        payer, payee = chance.sample(processes, 2)
        quantity = str(chance.randrange(1, 4))
        tags = [Tag("Quantity", quantity), Tag("Recipient", payee), Tag("Number", str(number))]
        item = client.message(payer, action="Pay", tags=tags)
        result = prepare("GET", f"/result/{item.id}?process-id={payer}")
        found.append(Prepared(prepare("POST", "/", item.raw), result))
    return found


async def settled(client: Client, processes: Sequence[str], paid: int) -> int:
    """Wait until so many payments are credited, each once and no token lost; how many."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while True:
            states = await asyncio.gather(*(_state(client, process) for process in processes))
            balance, debited, credited = (sum(column) for column in zip(*states, strict=True))
            if credited >= paid <= debited:
                break
    if balance != BALANCE * len(processes) or not credited == debited == paid:
        raise RuntimeError(f"paid {paid}, debited {debited}, credited {credited}, balance {balance}")
    return paid


async def _state(client: Client, process: str) -> tuple[int, int, int]:
    said = (await client.dryrun(process, action="State"))["Output"]["data"]
    balance, paid, credited = map(int, said.split())
    return balance, paid, credited
