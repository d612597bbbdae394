"""How long the computer is away when a part of it is killed (SIGKILL): its process actors, its shards, its
gateways, or everything at once. Processes have counted messages; from the kill on, each gets one more
message, which is posted again until it is taken. A row says after how many seconds the first and the last
process had answered with its right count, so what is lost or done twice is seen."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from aoray.client import Client
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import wait_gone
from benchmarks.dormitory import Dormitory, dormitory_for
from benchmarks.http import Connection, prepare
from benchmarks.report import Report
from benchmarks.running import Meter

NAME = "recovery"
DESCRIPTION = "seconds from a SIGKILL until processes answer again, with their right counts"
KINDS = ("ProcessActor", "ShardActor", "GatewayActor", "all")
RETRY_S = 0.02
SECONDS_MAX = 120
Row = dict[str, object]


class Awaited(NamedTuple):
    """A message to a process, and the answer that is right."""

    process: str
    item: DataItem
    answer: bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--module", default="lua", help="lua or aos; both with a comma")
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--messages", type=int, default=10, help="to each process before the kill [10]")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kill", default=",".join(KINDS), help=f"with commas [{','.join(KINDS)}]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and each part."""
    rows: list[Row] = []
    hashes = {}
    for name in arguments.module.split(","):
        with dormitory_for(name, idle_seconds=600) as dormitory:
            asyncio.run(_prepare(dormitory, arguments))
            rows += [asyncio.run(_measured(dormitory, kind, arguments)) for kind in arguments.kill.split(",")]
            hashes[name] = dormitory.guest.sha256
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)


async def _prepare(dormitory: Dormitory, arguments: argparse.Namespace) -> None:
    await dormitory.spawn(arguments.processes)
    targets = list(dormitory.counts) * arguments.messages
    random.Random(arguments.seed).shuffle(targets)
    measured = await dormitory.message(targets, arguments.clients)
    if measured.wrong:
        raise RuntimeError(measured.wrong[0])


async def _measured(dormitory: Dormitory, kind: str, arguments: argparse.Namespace) -> Row:
    computer = dormitory.computer
    awaited = await _awaited(dormitory)
    meter = Meter(computer)
    began = time.perf_counter()
    if kind == "all":
        await asyncio.to_thread(computer.kill)
        began = time.perf_counter()
        await asyncio.to_thread(computer.start)
        meter = Meter(computer)
    else:
        victims = computer.actors(kind)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_gone, victims, 10)
    up = time.perf_counter() - began
    answered: list[float] = []
    shares = [awaited[n :: arguments.clients] for n in range(arguments.clients)]
    async with asyncio.timeout(SECONDS_MAX):
        await asyncio.gather(*(_drive(computer.url, share, began, answered) for share in shares))
    return {
        "module": dormitory.guest.name,
        "killed": kind,
        "processes": len(awaited),
        "up_s": round(up, 2) if kind == "all" else None,
        "first_answer_s": round(min(answered), 2),
        "last_answer_s": round(max(answered), 2),
        **meter.columns(),
    }


async def _awaited(dormitory: Dormitory) -> list[Awaited]:
    found = []
    async with Client(dormitory.computer.url, generate_ed25519()) as client:
        for process in dormitory.counts:
            dormitory.counts[process] += 1
            item = client.message(process, action="Ping")
            found.append(Awaited(process, item, b'pong %d"' % dormitory.counts[process]))
    return found


async def _drive(url: str, share: Sequence[Awaited], began: float, answered: list[float]) -> None:
    line = Connection(url)
    for process, item, answer in share:
        await _until_ok(line, prepare("POST", "/", item.raw))
        body = await _until_ok(line, prepare("GET", f"/result/{item.id}?process-id={process}"))
        while b'"Output"' not in body:  # 202: it takes longer than a request is held
            body = await _until_ok(line, prepare("GET", f"/result/{item.id}?process-id={process}"))
        if answer not in body:
            raise RuntimeError(f"{process} should say {answer!r}, and says {body[:300]!r}")
        answered.append(time.perf_counter() - began)
    line.close()


async def _until_ok(line: Connection, request: bytes) -> bytes:
    """Again and again until the computer takes it; 4xx is no matter of recovery."""
    while True:
        try:
            reply = await line.request(request)
        except (ConnectionError, OSError):
            reply = None
        if reply is not None and reply.status < 300:
            return reply.body
        if reply is not None and reply.status < 500 and reply.status not in (404, 429):
            raise RuntimeError(f"{reply.status} {reply.body[:300]!r}")
        await asyncio.sleep(RETRY_S)
