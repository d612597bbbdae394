"""How fast the log gets to Arweave, and how far behind it is while messages come. `live`: bundles are made
beside a closed loop of messages, and the age of the oldest entry that waits is looked at four times a second.
`behind`: the log was kept back (a computer that flushes once an hour is stopped, and started again with the
usual interval), and all of it goes at once."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from benchmarks.guests import Guest
from benchmarks.load import Measured, Prepared, closed_loop
from benchmarks.report import Report
from benchmarks.running import Meter, guests_of, hashes_of, measure, own_computer, run_loop
from benchmarks.running import add_arguments as add_common

NAME = "flush"
DESCRIPTION = "entries of the log a second that Arweave accepts, and how late they are"
LOOK_S = 0.25
HOUR_MS = "3600000"
DRAIN_SECONDS_MAX = 600
Row = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=5000, module="counter")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--interval-ms", type=int, default=1000, help="the flush interval [1000]")


def run(arguments: argparse.Namespace) -> Report:
    """Two rows for each module."""
    rows: list[Row] = []
    guests = guests_of(arguments)
    for guest in guests:
        with tempfile.TemporaryDirectory(prefix="aoray-benchmark-") as directory:
            rows.append(_live(Path(directory) / "live", guest, arguments))
            rows.append(_behind(Path(directory) / "behind", guest, arguments))
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of(guests)}, rows)


def _live(data: Path, guest: Guest, arguments: argparse.Namespace) -> Row:
    with own_computer(environment=_interval(str(arguments.interval_ms)), data=data) as computer:
        oldest: list[float] = []

        async def load(url: str, guest: Guest, messages: list[Prepared]) -> Measured:
            async with Client(url, generate_ed25519()) as client:
                looking = asyncio.create_task(_look(client, oldest))
                measured = await closed_loop(url, guest, messages, clients=arguments.clients)
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking
                return measured

        measured = measure(computer.url, computer, guest, load, arguments)
        drained, entries = run_loop(_drained(computer.url))
        row = measured.row()
        return {
            "module": guest.name,
            "state": "live",
            "entries": entries,
            "entries_per_s": round(len(measured.answered) / (measured.wall + drained), 1),
            "messages_per_s": row["messages_per_s"],
            "oldest_s_max": round(max(oldest, default=0.0), 2),
            "drained_s": round(drained, 2),
            **measured.cost,
        }


def _behind(data: Path, guest: Guest, arguments: argparse.Namespace) -> Row:
    with own_computer(environment=_interval(HOUR_MS), data=data) as computer:
        load = partial(closed_loop, clients=arguments.clients)
        loaded = measure(computer.url, computer, guest, load, arguments)
    with own_computer(environment=_interval(str(arguments.interval_ms)), data=data) as computer:
        meter = Meter(computer)
        drained, entries = run_loop(_drained(computer.url))
        return {
            "module": guest.name,
            "state": "behind",
            "entries": entries,
            "entries_per_s": round(entries / drained, 1),
            "messages_per_s": loaded.row()["messages_per_s"],
            "oldest_s_max": None,
            "drained_s": round(drained, 2),
            **meter.columns(),
        }


def _interval(milliseconds: str) -> dict[str, str]:
    return {"AORAY_FLUSH_INTERVAL_MS": milliseconds}


async def _look(client: Client, oldest: list[float]) -> None:
    while True:
        oldest.append((await client.status())["arweave"]["oldest_seconds"])
        await asyncio.sleep(LOOK_S)


async def _drained(url: str) -> tuple[float, int]:
    """Seconds until nothing of the log waits any more, and how many entries waited at first."""
    began = time.perf_counter()
    first: int | None = None
    async with Client(url, generate_ed25519()) as client, asyncio.timeout(DRAIN_SECONDS_MAX):
        while True:
            waiting = (await client.status())["arweave"]["entries"]
            first = waiting if first is None else first
            if not waiting:
                return time.perf_counter() - began, first
            await asyncio.sleep(LOOK_S / 10)
