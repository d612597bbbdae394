"""How many messages a second one result sends out. One process is asked to send a message to each of many
others, so one outbox holds them all: they are signed, ordered and durable, and evaluated by as many
processes. The clock is the scheduler's, from the slot of the request to that of the last message; at the end
every process must have got one message for each round.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import PLAIN_FORMAT, guest
from benchmarks.report import Report
from benchmarks.running import Meter, computer_for, hashes_of, run_loop

NAME = "fan_out"
DESCRIPTION = "one process sends to many, until each has evaluated its message"
SECONDS_MAX = 300.0
LOOK_SECONDS = 0.05
SPAWNS_AT_ONCE = 64
HUB = """
All = {}
Handlers.add("to", "To", function(msg) for id in msg.Data:gmatch("%S+") do All[#All + 1] = id end end)
Handlers.add("go", "Go", function(msg)
  Began = msg.Timestamp
  for _, id in ipairs(All) do Send({ Target = id, Action = "Hello" }) end
end)
Handlers.add("told", "Told", function() print(string.format("%d %.0f", #All, Began)) end)
"""
SPOKE = """
Seen, Last = 0, 0
Handlers.add("hello", "Hello", function(msg) Seen, Last = Seen + 1, msg.Timestamp end)
Handlers.add("told", "Told", function() print(string.format("%d %.0f", Seen, Last)) end)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--fan", type=int, default=1000, help="processes that one sends to [1000]")
    parser.add_argument("--rounds", type=int, default=3, help="one row each [3]")
    parser.add_argument("--url", default="", help="a running computer; without it one is started for the run")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each round."""
    with computer_for(arguments.url) as (url, computer):
        rows = run_loop(_measured(url, computer, arguments))
    lua = guest("lua", "ping", PLAIN_FORMAT)
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of([lua])}, rows)


async def _measured(
    url: str, computer: LocalComputer | None, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    async with Client(url, generate_ed25519()) as client:
        hub = await client.spawn(data=HUB, on_boot=True)
        gate = asyncio.Semaphore(SPAWNS_AT_ONCE)

        async def spoke() -> str:
            async with gate:
                process = await client.spawn(data=SPOKE, on_boot=True)
                await client.result(process, process)
                return process

        spokes = await asyncio.gather(*(spoke() for _ in range(arguments.fan)))
        await client.result(hub, await client.send(hub, action="To", data=" ".join(spokes)))
        return [await _row(client, computer, hub, spokes, n + 1) for n in range(arguments.rounds)]


async def _row(
    client: Client, computer: LocalComputer | None, hub: str, spokes: list[str], rounds: int
) -> dict[str, Any]:
    meter = Meter(computer)
    await client.send(hub, action="Go")
    await _arrived(client, spokes[-1], rounds)  # all but the last ones are there when it is
    cpu = meter.cpu() or {}
    told = [await _arrived(client, process, rounds) for process in spokes]
    wrong = sum(seen != rounds for seen, _ in told)
    if wrong:
        raise RuntimeError(f"{wrong} of {len(spokes)} processes did not get {rounds} messages")
    began = (await _told(client, hub))[1]
    seconds = (max(last for _, last in told) - began) / 1000
    return {
        "fan": len(spokes),
        "round": rounds,
        "messages_per_s": round(len(spokes) / seconds, 1),
        "seconds": round(seconds, 3),
        **meter.columns(cpu),
        "server_us": {part: us for part, used in cpu.items() if (us := round(used / len(spokes) * 1e6)) > 0},
    }


async def _arrived(client: Client, process: str, rounds: int) -> tuple[int, int]:
    """What a process got, once it is as much as it should be."""
    told = await _told(client, process)
    async with asyncio.timeout(SECONDS_MAX):
        while told[0] < rounds:
            await asyncio.sleep(LOOK_SECONDS)
            told = await _told(client, process)
    return told


async def _told(client: Client, process: str) -> tuple[int, int]:
    """Of a process: two numbers."""
    first, second = map(int, (await client.dryrun(process, action="Told"))["Output"]["data"].split())
    return first, second
