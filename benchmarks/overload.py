"""What happens when more is offered than the computer can take: first its peak (closed loop), then a multiple
of it (open loop, whether or not answers come), on the same computer and with messages signed in advance.

A message that is accepted has to get its result; the others have to be refused with 429 or 503 and a
`Retry-After`. What to look at: `kept`, the results a second under overload against the peak; the latency of
what was accepted; and the memory of the server before and after. The load generator does not come again with
what was refused, so what is offered stays what it is. `server_us` is the CPU of each part for a result, of
which refusing has its part (`peak_server_us`: at the peak, in all), `client_us` the load generator's for a
message offered, which is taken from the cores that the server has.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aoray.testing.local_computer import LocalComputer
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
TURN_SECONDS = 0.002
ANSWERS_SECONDS_MAX = 300.0  # for the last answer, from the last message on
MIB = 1 << 20


@dataclass
class Offered:
    """What became of messages that were offered at a rate. Times are seconds."""

    seconds: float = 0.0
    accepted: int = 0
    cpu: float = 0.0  # of the load generator
    until_answered: float = 0.0  # from the first message that was offered to the last result
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    wrong: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=6000)
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
    loaded = measure(url, computer, guest, load, argparse.Namespace(**vars(arguments) | {"messages": count}))
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
        "peak_server_us": sum(peak.server_us().values()),
        "server_us": loaded.server_us(),
        "client_us": round(offered.cpu / count * 1e6),
        "memory_mib_before": before,
        "memory_mib": memory(computer),
    }


def memory(computer: LocalComputer | None) -> int:
    """MiB of the computer's actors together."""
    return 0 if computer is None else sum(computer.memory_bytes().values()) // MIB


class Line(Connection):
    """A connection that carries one message at a time, by callbacks: with a task for each it would cost twice
    as much, and what the load generator costs is taken from the server."""

    def __init__(self, url: str, crowd: Crowd) -> None:
        super().__init__(url)
        self._crowd = crowd
        self._message: Prepared | None = None
        self._due = 0.0
        self._accepted = False
        self._retry_after = b""

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def open(self) -> None:
        await self._open()

    def send(self, message: Prepared, due: float) -> None:
        """Post it; if it is accepted, await its result, however long that takes."""
        self._message, self._due, self._accepted = message, due, False
        self._write(message.post)

    def _write(self, request: bytes) -> None:
        assert self._transport is not None
        self._retry_after = b""
        self._transport.write(request)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"retry-after":
            self._retry_after = value

    def on_message_complete(self) -> None:
        assert self._message is not None
        into, guest, status = self._crowd.into, self._crowd.guest, self._parser.get_status_code()
        if status == ACCEPTED:
            into.accepted += not self._accepted
            self._accepted = True
            self._write(self._message.result)
        elif status in REFUSED and not self._accepted:
            into.refused.append(time.perf_counter() - self._due)
            into.without_retry_after += not self._retry_after
            self._end()
        else:
            body = b"".join(self._body)
            if status == OK and guest.answer in body and b'"Error":' not in body:
                into.answered.append(time.perf_counter() - self._due)
                self._end()
            else:
                self._end(f"{status} {body[:300]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._message is not None:
            self._end("the server closed the connection")

    def _end(self, wrong: str = "") -> None:
        if wrong:
            self._crowd.into.wrong.append(wrong)
        self._message = None
        self._crowd.ended(self)


class Crowd:
    """The connections, and the messages for which none was free when they were due."""

    def __init__(self, guest: Guest, into: Offered) -> None:
        self.guest, self.into = guest, into
        self.free: list[Line] = []
        self._late: deque[tuple[Prepared, float]] = deque()
        self._left = 0
        self._quiet = asyncio.Event()

    def send(self, message: Prepared, due: float) -> None:
        """On a free connection, or on the next that is."""
        self._left += 1
        self._quiet.clear()
        while self.free and not self.free[-1].is_open:  # the server closes what is not used
            self.free.pop()
        if self.free:
            self.free.pop().send(message, due)
        else:
            self._late.append((message, due))

    def ended(self, line: Line) -> None:
        self._left -= 1
        if not self._left:
            self._quiet.set()
        if line.is_open and self._late:
            line.send(*self._late.popleft())
        elif line.is_open:
            self.free.append(line)

    async def quiet(self) -> None:
        """Wait until every message has its answer."""
        async with asyncio.timeout(ANSWERS_SECONDS_MAX):
            await self._quiet.wait()


async def offer(url: str, guest: Guest, messages: Sequence[Prepared], rate: float, into: Offered) -> Measured:
    """`rate` messages a second, whatever becomes of them, and the result of each that is accepted.

    Those of `TURN_SECONDS` leave together, and each is late from when it was due.
    """
    crowd = Crowd(guest, into)
    await connect(url, crowd, min(CONNECTIONS, len(messages)))
    began, cpu, sent = time.perf_counter(), time.process_time(), 0
    while sent < len(messages):
        due = min(len(messages), 1 + int((time.perf_counter() - began) * rate))
        for number in range(sent, due):
            crowd.send(messages[number], began + number / rate)
        sent = due
        await asyncio.sleep(TURN_SECONDS)
    into.seconds = time.perf_counter() - began
    await crowd.quiet()
    into.until_answered, into.cpu = time.perf_counter() - began, time.process_time() - cpu
    for line in crowd.free:
        line.close()
    return Measured(wall=into.seconds, answered=into.answered)


async def connect(url: str, crowd: Crowd, count: int) -> None:
    """Open its connections, as many files as the system gives us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd.free = [Line(url, crowd) for _ in range(min(count, most - 1_000))]
    for at in range(0, len(crowd.free), OPENED_AT_ONCE):
        await asyncio.gather(*(line.open() for line in crowd.free[at : at + OPENED_AT_ONCE]))
