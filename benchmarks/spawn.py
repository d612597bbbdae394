"""How many processes a second: each client posts its next presigned process when it has the first result of
the last (nonce 0: the process has booted and evaluated itself)."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from aoray.client import Client
from aoray.protocol.keys import generate_ed25519
from aoray.testing import LocalComputer
from benchmarks.guests import Guest
from benchmarks.http import prepare
from benchmarks.load import Measured, Prepared, closed_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of

NAME = "spawn"
DESCRIPTION = "presigned processes over HTTP until their first results are back, closed loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options. `--messages` and `--processes` of the others are here the number of spawns."""
    add_common(parser, messages=2000)
    parser.add_argument("--clients", default="1,16,64", help="clients at once; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    rows = []
    guests = guests_of(arguments)
    with computer_for(arguments.url) as (url, computer):
        for guest in guests:
            for clients in map(int, arguments.clients.split(",")):
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    measured = runner.run(measure(url, computer, guest, arguments.messages, clients))
                rows.append(
                    {
                        "module": guest.name,
                        "clients": clients,
                        **measured.row(),
                        "server_us": measured.server_us(),
                    }
                )
    hashes = {guest.name: guest.sha256 for guest in guests}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)


async def measure(
    url: str, computer: LocalComputer | None, guest: Guest, spawns: int, clients: int
) -> Measured:
    """One run: sign the processes, then spawn them, with the CPU time of both sides."""
    async with Client(url, generate_ed25519()) as client:
        module = await guest.publish(client)
        prepared = [await prepared_spawn(client, module) for _ in range(spawns)]
    before = computer.cpu_seconds() if computer else {}
    measured = await closed_loop(url, Guest(guest.name, guest.wasm), prepared, clients)
    if computer:
        after = computer.cpu_seconds()
        measured.server_cpu = {part: used - before.get(part, 0) for part, used in after.items()}
    return measured


async def prepared_spawn(client: Client, module: str) -> Prepared:
    """A signed process, as the bytes of its POST and of the GET of its first result."""
    item = client.process(await client.health(), module=module)
    return Prepared(prepare("POST", "/", item.raw), prepare("GET", f"/result/{item.id}?process-id={item.id}"))
