"""What `make demo` shows: a computer, 8 processes, 400 signed messages over HTTP, processes that talk.

It starts a whole computer in a temporary directory on free ports, is its HTTP client as any other would be,
and stops it. A message's latency here is from its POST until its result is back.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aoray import limits
from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.runtime import ray_env
from aoray.settings import Settings
from aoray.testing.local_computer import free_ports

PROCESSES = 8
MESSAGES = 50
ROUNDS = 3

PROGRAM = """
Sum, Hops = 0, 0
Handlers.add("add", "Add", function(msg)
  Sum = Sum + tonumber(msg.Quantity)
  print(tostring(Sum))
end)
Handlers.add("hop", "Hop", function(msg)
  Hops = Hops + 1
  local left = tonumber(msg.Left)
  if left > 0 then Send({Target = Next, Action = "Hop", Left = tostring(left - 1)}) end
end)
Handlers.add("state", "State", function() print(Sum .. " " .. Hops) end)
"""


def run() -> None:
    """Run the whole demonstration, on standard output."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="aoray-demo-") as data:
        settings = Settings(data=Path(data), port=free_ports())
        ray_env.prepare(settings)
        from aoray.runtime.computer import Computer

        console.print("[bold]Starting[/] Ray and an AO computer on this machine …")
        began = time.perf_counter()
        with Computer(settings) as computer:
            console.print(
                f"ready in {time.perf_counter() - began:.1f} s: {settings.url}, {computer.health['version']}"
            )
            asyncio.run(_show(console, settings.url))
            console.print("stopping …")
    aoray = "aoray" if shutil.which("aoray") else sys.argv[0]
    console.print(f"[bold]Stopped.[/] Now: `{aoray} up`, and README.md.")


async def _show(console: Console, url: str) -> None:
    async with Client(url, generate_ed25519()) as client:
        processes = await asyncio.gather(
            *(client.spawn(data=PROGRAM, on_boot=True) for _ in range(PROCESSES))
        )
        console.print(f"spawned {PROCESSES} Lua processes; sending each {MESSAGES} signed messages")
        began = time.perf_counter()
        with Progress(
            TextColumn("messages"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        ) as progress:
            bar = progress.add_task("messages", total=PROCESSES * MESSAGES)

            async def drive(process: str) -> list[float]:
                return [
                    await _timed(client, process, n, lambda: progress.advance(bar)) for n in range(MESSAGES)
                ]

            latencies = list(chain.from_iterable(await asyncio.gather(*map(drive, processes))))
        seconds = time.perf_counter() - began
        await _ring(client, processes)
        console.print(await _states(client, processes))
        _say_speed(console, latencies, seconds)


async def _timed(client: Client, process: str, number: int, done: Callable[[], None]) -> float:
    began = time.perf_counter()
    message = await client.send(process, action="Add", tags=[Tag("Quantity", str(number))])
    await client.result(process, message)
    done()
    return time.perf_counter() - began


async def _ring(client: Client, processes: Sequence[str]) -> None:
    """Let the processes pass a message round among themselves, and wait until it has come to rest."""
    for process, following in zip(processes, [*processes[1:], processes[0]], strict=True):
        await client.eval(process, f'Next = "{following}"')
    hops = len(processes) * ROUNDS
    await client.send(processes[0], action="Hop", tags=[Tag("Left", str(hops - 1))])
    for process in processes:
        await _wait_for_hops(client, process)


async def _wait_for_hops(client: Client, process: str) -> None:
    """Follow the results of a process until the message has passed it `ROUNDS` times."""
    for _ in range(limits.DEMO_ROUNDS_MAX):
        if int((await _state(client, process)).split()[1]) >= ROUNDS:
            return
        await client.eval(process, "return Hops")  # waits its turn behind what is queued
    raise TimeoutError(f"the message did not come round to {process}")


async def _state(client: Client, process: str) -> str:
    return str((await client.dryrun(process, action="State"))["Output"]["data"])


async def _states(client: Client, processes: Sequence[str]) -> Table:
    table = Table("process", "sum of 0…49", "hops among processes")
    for process in processes:
        total, hops = (await _state(client, process)).split()
        table.add_row(process, total, hops)
    return table


def _say_speed(console: Console, latencies: Sequence[float], seconds: float) -> None:
    cuts = quantiles(latencies, n=100)
    console.print(
        f"{len(latencies)} messages in {seconds:.2f} s: [bold]{len(latencies) / seconds:.0f} messages/s[/], "
        f"latency p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"
        " (signed, durable, evaluated, answered)"
    )
