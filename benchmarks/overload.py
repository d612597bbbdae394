"""What happens when more is offered than the computer can take: first its peak (closed loop), then a multiple
of it (open loop, whether or not answers come), on the same computer and with messages signed in advance.

A message that is accepted has to get its result; the others have to be refused with 429 or 503 and a
`Retry-After`. What to look at: `kept`, the results a second under overload against the peak; the latency of
what was accepted; and the memory of the server before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aoray.testing import LocalComputer
from benchmarks.guests import Guest
from benchmarks.http import Connection
from benchmarks.load import ACCEPTED, OK, Measured, Prepared, closed_loop, milliseconds
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of, measure

NAME = "overload"
DESCRIPTION = "a multiple of the peak is offered in an open loop: what is accepted, how late, what is refused"
REFUSED = (429, 503)
CONNECTIONS = 6_000  # opened before the clock starts; a message for which none is free waits at the client
OPENED_AT_ONCE = 200
MIB = 1 << 20


class Line(Connection):
    """A connection that notes whether it was told when to come again."""

    retry_after = ""

    async def open(self) -> None:
        await self._open()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.retry_after = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self.retry_after = value.decode()


@dataclass
class Offered:
    """What became of messages that were offered at a rate. Times are seconds."""

    seconds: float = 0.0
    accepted: int = 0
    until_answered: float = 0.0  # from the first message that was offered to the last result
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    wrong: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=3000)
    parser.add_argument("--clients", type=int, default=64, help="for the peak [64]")
    parser.add_argument("--factor", type=float, default=3.0, help="of the peak that is offered [3]")
    parser.add_argument("--seconds", type=float, default=10.0, help="for how long [10]")
    parser.add_argument("--offered-max", type=int, default=40_000, help="messages, at most [40,000]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module."""
    guests = guests_of(arguments)
    with computer_for(arguments.url) as (url, computer):
        rows = [row_of(url, computer, guest, arguments) for guest in guests]
    hashes = {guest.name: guest.sha256 for guest in guests}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)


def row_of(
    url: str, computer: LocalComputer | None, guest: Guest, arguments: argparse.Namespace
) -> dict[str, Any]:
    """The peak, then the overload, and what both came to."""
    peak = measure(url, computer, guest, partial(closed_loop, clients=arguments.clients), arguments)
    peak_per_s = len(peak.answered) / peak.wall
    rate = arguments.factor * peak_per_s
    count = int(min(rate * arguments.seconds, arguments.offered_max))
    before = memory(computer)
    offered = Offered()
    load = partial(offer, rate=rate, into=offered)
    measure(url, computer, guest, load, argparse.Namespace(**vars(arguments) | {"messages": count}))
    return {
        "module": guest.name,
        "peak_per_s": round(peak_per_s, 1),
        "offered_per_s": round(count / offered.seconds, 1),
        "offered": count,
        "accepted": offered.accepted,
        "refused": len(offered.refused),
        "failed": len(offered.wrong) + offered.without_retry_after,
        "results_per_s": round(len(offered.answered) / offered.until_answered, 1),
        "kept": round(len(offered.answered) / offered.until_answered / peak_per_s, 2),
        "p50_ms": milliseconds(offered.answered)[0],
        "p99_ms": milliseconds(offered.answered)[2],
        "refused_p99_ms": milliseconds(offered.refused)[2] if offered.refused else None,
        "memory_mib_before": before,
        "memory_mib": memory(computer),
    }


def memory(computer: LocalComputer | None) -> int:
    """MiB of the computer's actors together."""
    return 0 if computer is None else sum(computer.memory_bytes().values()) // MIB


async def offer(url: str, guest: Guest, messages: Sequence[Prepared], rate: float, into: Offered) -> Measured:
    """One message every 1/`rate` seconds, and the result of each that is accepted."""
    free = asyncio.LifoQueue[Line]()
    for line in await lines(url, min(CONNECTIONS, len(messages))):
        free.put_nowait(line)

    async def send(message: Prepared, due: float) -> None:
        line = await free.get()
        await exchange(line, message, due, guest, into)
        free.put_nowait(line)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, message in enumerate(messages):
            due = began + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif not number % 32:  # late: let answers in all the same
                await asyncio.sleep(0)
            group.create_task(send(message, due))
        into.seconds = time.perf_counter() - began
    into.until_answered = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return Measured(wall=into.seconds, answered=into.answered)


async def exchange(line: Line, message: Prepared, due: float, guest: Guest, into: Offered) -> None:
    """Post a message; if it is accepted, await its result, however long that takes."""
    try:
        reply = await line.request(message.post)
        if reply.status in REFUSED:
            into.refused.append(time.perf_counter() - due)
            into.statuses[reply.status] += 1
            into.without_retry_after += not line.retry_after
            return
        into.accepted += reply.status == ACCEPTED
        while reply.status == ACCEPTED:
            reply = await line.request(message.result)
    except ConnectionError as error:
        into.wrong.append(str(error))
        return
    if reply.status == OK and guest.answer in reply.body and b'"Error":' not in reply.body:
        into.answered.append(time.perf_counter() - due)
    else:
        into.wrong.append(f"{reply.status} {reply.body[:300]!r}")


async def lines(url: str, count: int) -> list[Line]:
    """Open connections, as many files as the system gives us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = [Line(url) for _ in range(min(count, most - 1_000))]
    for at in range(0, len(opened), OPENED_AT_ONCE):
        await asyncio.gather(*(line.open() for line in opened[at : at + OPENED_AT_ONCE]))
    return opened
