"""How many processes a second. Presigned processes are posted over HTTP, and each client posts its next when
it has the first result of the last (nonce 0: the process has booted and evaluated itself); everything is
signed, checked and durable."""

from __future__ import annotations

import argparse

from aoray.client import Client
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import PLAIN_FORMAT, Guest, guest
from benchmarks.http import prepare
from benchmarks.load import Measured, Prepared, closed_loop
from benchmarks.report import Report
from benchmarks.running import Meter, computer_for, hashes_of, run_loop

NAME = "spawn"
DESCRIPTION = "presigned processes over HTTP until their first results are back, closed loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--module", default="lua", help="lua, aos, counter; several with commas [lua]")
    parser.add_argument("--spawns", type=int, default=1000, help="for each row [1000]")
    parser.add_argument("--clients", default="1,16,64", help="clients at once; several numbers with commas")
    parser.add_argument("--url", default="", help="a running computer; without it one is started for the run")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    rows = []
    guests = [guest(name, "ping", PLAIN_FORMAT) for name in arguments.module.split(",")]
    with computer_for(arguments.url) as (url, computer):
        for each in guests:
            for clients in map(int, arguments.clients.split(",")):
                measured = run_loop(_measured(url, computer, each, arguments.spawns, clients))
                row = measured.row()
                row["spawns_per_s"] = row.pop("messages_per_s")
                rows.append(
                    {"module": each.name, "clients": clients, **row, "server_us": measured.server_us()}
                )
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of(guests)}, rows)


async def _measured(
    url: str, computer: LocalComputer | None, guest: Guest, spawns: int, clients: int
) -> Measured:
    async with Client(url, generate_ed25519()) as client:
        module = await guest.publish(client)
        health = await client.health()
        items = [client.process(health, module=module) for _ in range(spawns)]
    meter = Meter(computer)
    answers_anything = Guest(guest.name, guest.wasm)
    measured = await closed_loop(url, answers_anything, [_prepared(item) for item in items], clients)
    measured.server_cpu = meter.cpu()
    measured.cost = meter.columns(measured.server_cpu)
    return measured


def _prepared(item: DataItem) -> Prepared:
    """The bytes of a process's POST and of the GET of its first result."""
    return Prepared(prepare("POST", "/", item.raw), prepare("GET", f"/result/{item.id}?process-id={item.id}"))
