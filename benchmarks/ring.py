"""How many hops a second tokens make that go round a ring of processes. Each process sends what it gets to
the next, so a hop is a whole journey: a result's outbox becomes a signed item, is ordered and durable, and is
evaluated by the next process. One token alone shows how long a hop takes, many at once how many there are.

The clock is the scheduler's: from the slot of the first hop to that of the last. Every process counts what it
gets; at the end the counts must add up to the hops, each made once.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from typing import Any

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import PLAIN_FORMAT, guest
from benchmarks.report import Report
from benchmarks.running import Meter, computer_for, hashes_of, run_loop

NAME = "ring"
DESCRIPTION = "processes pass tokens round, each hop signed, durable and evaluated"
LATE_SECONDS_MAX = 300.0
LOOK_SECONDS = 0.1
PROGRAM = """
Seen, Done, First, Last = 0, 0, math.huge, 0
Handlers.add("next", "Next", function(msg) Next = msg.To end)
Handlers.add("token", "Token", function(msg)
  local left = tonumber(msg.Left)
  Seen, First, Last = Seen + 1, math.min(First, msg.Timestamp), math.max(Last, msg.Timestamp)
  if left > 1 then
    Send({ Target = Next, Action = "Token", Left = tostring(left - 1) })
  else
    Done = Done + 1
  end
end)
Handlers.add("clear", "Clear", function() Seen, Done, First, Last = 0, 0, math.huge, 0 end)
Handlers.add("told", "Told", function()
  print(string.format("%d %d %.0f %.0f", Seen, Done, Seen > 0 and First or 0, Last))
end)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--hops", type=int, default=2000, help="of all tokens together, for each row [2000]")
    parser.add_argument("--tokens", default="1,8,64", help="tokens at once; several numbers with commas")
    parser.add_argument("--url", default="", help="a running computer; without it one is started for the run")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each number of tokens."""
    with computer_for(arguments.url) as (url, computer):
        rows = run_loop(_measured(url, computer, arguments))
    lua = guest("lua", "ping", PLAIN_FORMAT)
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of([lua])}, rows)


async def _measured(
    url: str, computer: LocalComputer | None, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    async with Client(url, generate_ed25519()) as client:
        ring = await asyncio.gather(
            *(client.spawn(data=PROGRAM, on_boot=True) for _ in range(arguments.processes))
        )
        for process, after in zip(ring, [*ring[1:], ring[0]], strict=True):
            await client.result(process, await client.send(process, action="Next", tags=[Tag("To", after)]))
        counts = map(int, arguments.tokens.split(","))
        return [await _row(client, computer, ring, tokens, arguments.hops) for tokens in counts]


async def _row(
    client: Client, computer: LocalComputer | None, ring: list[str], tokens: int, hops: int
) -> dict[str, Any]:
    for process in ring:
        await client.send(process, action="Clear")
    each = max(1, hops // tokens)
    starts = [number * len(ring) // tokens for number in range(tokens)]
    ends = Counter(ring[(start + each - 1) % len(ring)] for start in starts)
    meter = Meter(computer)
    items = [client.message(ring[at], action="Token", tags=[Tag("Left", str(each))]) for at in starts]
    await asyncio.gather(*(client.post(item) for item in items))
    async with asyncio.timeout(LATE_SECONDS_MAX):
        await asyncio.gather(*(_stopped(client, process, count) for process, count in ends.items()))
    cpu = meter.cpu() or {}
    told = await asyncio.gather(*(_told(client, process) for process in ring))
    seen = sum(one[0] for one in told)
    if seen != each * tokens:
        raise RuntimeError(f"{each * tokens} hops were to be made, and {seen} were")
    seconds = (max(one[3] for one in told) - min(one[2] for one in told if one[0])) / 1000
    return {
        "processes": len(ring),
        "tokens": tokens,
        "hops": seen,
        "hops_per_s": round(seen / seconds, 1),
        "hop_ms": round(1000 * seconds * tokens / seen, 2),
        **meter.columns(cpu),
        "server_us": {part: us for part, used in cpu.items() if (us := round(used / seen * 1e6)) > 0},
    }


async def _stopped(client: Client, process: str, count: int) -> None:
    """Wait until so many tokens have ended at a process. Looking seldom costs the ring little."""
    done = 0
    while done < count:
        await asyncio.sleep(LOOK_SECONDS)
        done = (await _told(client, process))[1]


async def _told(client: Client, process: str) -> tuple[int, int, int, int]:
    """Of a process: tokens seen, tokens that ended there, when the first and the last was ordered (ms)."""
    said = (await client.dryrun(process, action="Told"))["Output"]["data"]
    seen, done, first, last = map(int, said.split())
    return seen, done, first, last
