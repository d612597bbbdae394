"""The load: presigned messages to a number of processes, each posted, and its result awaited, over HTTP.

Closed loop: each client sends its next message when it has the result of the one before; what a computer
can do at most. Open loop: messages leave at a stated rate whether or not answers come; a message that
could not leave in time has been waiting since it should have left (so a stall counts for all that it
delays). Signing happens before the clock starts.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, NamedTuple

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from benchmarks.guests import Guest
from benchmarks.http import Connection, prepare

OK, ACCEPTED = 200, 202
PERCENTILES = (50, 90, 99)


class Prepared(NamedTuple):
    """The bytes of a message's POST and of the GET of its result."""

    post: bytes
    result: bytes


@dataclass
class Measured:
    """What one run gave, in seconds. `acknowledged` and `answered` are latencies, one for each message."""

    wall: float = 0.0
    client_cpu: float = 0.0
    server_cpu: dict[str, float] | None = None
    acknowledged: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)  # what running.Meter says of the computer

    def row(self) -> dict[str, Any]:
        """The run in a table's terms; latencies in milliseconds."""
        count = len(self.answered)
        if not count:
            raise RuntimeError(f"no message was answered: {self.wrong[:1]}")
        return {
            "messages": count,
            "failed": len(self.wrong),
            "wall_s": round(self.wall, 3),
            "messages_per_s": round(count / self.wall, 1),
            **{f"p{p}_ms": each for p, each in zip(PERCENTILES, milliseconds(self.answered), strict=True)},
            "max_ms": round(max(self.answered) * 1000, 2),
            "ack_p50_ms": milliseconds(self.acknowledged)[0],
            "client_cpu_s": round(self.client_cpu, 2),
            **self.cost,
        }

    def server_us(self) -> dict[str, int]:
        """CPU microseconds that each part of the server used for a message, the greatest first."""
        parts = sorted((self.server_cpu or {}).items(), key=lambda part: -part[1])
        return {name: us for name, cpu in parts if (us := round(cpu / len(self.answered) * 1e6)) > 0}


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """The percentiles of latencies."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    return [round(cuts[each - 1] * 1000, 2) for each in PERCENTILES]


async def make_ready(url: str, guest: Guest, processes: int, messages: int, seed: int) -> list[Prepared]:
    """Publish the module, boot the processes, warm each with a message, and sign the load.

    Each process gets as many messages as another, in an order that the seed gives.
    """
    async with Client(url, generate_ed25519()) as client:
        module = await guest.publish(client)
        spawned = await asyncio.gather(*(guest.spawn(client, module) for _ in range(processes)))
        warmed = [await client.send(process, action=guest.action, data=guest.data) for process in spawned]
        for process, message in zip(spawned, warmed, strict=True):
            await client.result(process, message)
        targets = [spawned[n % processes] for n in range(messages)]
        random.Random(seed).shuffle(targets)
        return [_prepared(client, guest, target, number) for number, target in enumerate(targets)]


def _prepared(client: Client, guest: Guest, process: str, number: int) -> Prepared:
    tags = [Tag("Number", str(number))]
    item = client.message(process, action=guest.action, tags=tags, data=guest.data)
    return Prepared(prepare("POST", "/", item.raw), prepare("GET", f"/result/{item.id}?process-id={process}"))


async def exchange(line: Connection, message: Prepared, since: float, guest: Guest, into: Measured) -> None:
    """Post a message, await its result, and see whether it is right."""
    try:
        reply = await line.request(message.post)
        acknowledged = time.perf_counter()
        if reply.status in (OK, ACCEPTED):
            reply = await line.request(message.result)
            while reply.status == ACCEPTED:  # the computer says it takes longer than it holds a request
                reply = await line.request(message.result)
    except ConnectionError as error:
        into.wrong.append(str(error))
        return
    if reply.status != OK or guest.answer not in reply.body or b'"Error":' in reply.body:
        into.wrong.append(f"{reply.status} {reply.body[:300]!r}")
        return
    into.acknowledged.append(acknowledged - since)
    into.answered.append(time.perf_counter() - since)


async def closed_loop(url: str, guest: Guest, messages: Sequence[Prepared], clients: int) -> Measured:
    """Each of `clients` sends its share, one after another."""
    into = Measured()
    lines = [Connection(url) for _ in range(clients)]

    async def drive(line: Connection, mine: Sequence[Prepared]) -> None:
        for message in mine:
            await exchange(line, message, time.perf_counter(), guest, into)
        line.close()

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(drive(line, messages[n::clients]) for n, line in enumerate(lines)))
    into.wall, into.client_cpu = time.perf_counter() - began, time.process_time() - cpu
    return into


async def open_loop(url: str, guest: Guest, messages: Sequence[Prepared], rate: float) -> Measured:
    """One message every 1/`rate` seconds, each on a connection of its own or one that is free again."""
    into = Measured()
    free: list[Connection] = []

    async def send(message: Prepared, due: float) -> None:
        line = free.pop() if free else Connection(url)
        await exchange(line, message, due, guest, into)
        free.append(line)

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number, message in enumerate(messages):
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(send(message, due))
    into.wall, into.client_cpu = time.perf_counter() - began, time.process_time() - cpu
    for line in free:
        line.close()
    return into
