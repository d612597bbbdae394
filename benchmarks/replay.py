"""How fast a log is checked and evaluated again (`aoray verify`), beside how fast it came about, in one run.

Live: presigned items over HTTP until their results are back, closed loop, as `throughput` has it. Then, when
Arweave has all of it, `aoray verify` of every process, some side by side; each in an OS process of its own as
a person would start it. `verify_per_s` is from the first page fetched to the last evaluated, as verify itself
says it, of all that ran side by side; `whole_per_s` has everything: starting Python, listing, compiling.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import httpx
import orjson

from aoray.arweave.client import ArweaveClient
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import Guest
from benchmarks.load import closed_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of, measure

NAME = "replay"
DESCRIPTION = "checking and evaluating a log again from Arweave, beside the load that made it"
FLUSHED_SECONDS_MAX = 300
QUIET_LOOKS, LOOK_S = 4, 1.0  # so many, so far apart, with nothing that waits
PROCESSES = """{ transactions(first: 1000, tags: [{name: "Type", values: ["Process"]}]) {
  edges { node { id } } } }"""


class Verified(NamedTuple):
    """What verifying some processes gave; seconds of wall and CPU time."""

    reports: Sequence[dict[str, Any]]
    wall: float
    cpu: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=20_000)
    parser.set_defaults(processes=1)
    parser.add_argument("--clients", type=int, default=64, help="clients at once, while it is live")
    parser.add_argument("--at-once", type=int, default=1, help="processes that are verified side by side [1]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module."""
    rows = []
    guests = guests_of(arguments)
    for guest in guests:
        with computer_for("") as (_, computer):
            assert computer is not None
            rows.append(_measured(computer, guest, arguments))
    hashes = {guest.name: guest.sha256 for guest in guests}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)


def _measured(computer: LocalComputer, guest: Guest, arguments: argparse.Namespace) -> dict[str, Any]:
    load = partial(closed_loop, clients=arguments.clients)
    others = set(asyncio.run(_processes(computer)))
    live = measure(computer.url, computer, guest, load, arguments)
    _settle(computer)
    processes = set(asyncio.run(_processes(computer))) - others
    verified = asyncio.run(_verified(computer, processes, arguments.at_once))
    messages = sum(report["messages"] for report in verified.reports)
    # Those side by side share the machine, so the speed of all is the sum of what each says of itself
    side_by_side = min(arguments.at_once, len(verified.reports))
    speed = messages / sum(report["seconds"] for report in verified.reports) * side_by_side
    live_cpu = live.client_cpu + sum((live.server_cpu or {}).values())
    live_per_s = len(live.answered) / live.wall
    return {
        "module": guest.name,
        "processes": len(verified.reports),
        "at_once": side_by_side,
        "messages": messages,
        "live_per_s": round(live_per_s, 1),
        "verify_per_s": round(speed, 1),
        "times_live": round(speed / live_per_s, 2),
        "whole_per_s": round(messages / verified.wall, 1),
        "attested": sum(report["attested"] for report in verified.reports),
        "live_us": round(live_cpu / len(live.answered) * 1e6),
        "verify_us": round(verified.cpu / messages * 1e6),
    }


def _settle(computer: LocalComputer) -> None:
    """Wait until all is on Arweave, attestations too, which come some seconds after the results."""
    deadline = time.monotonic() + FLUSHED_SECONDS_MAX
    quiet = 0
    while quiet < QUIET_LOOKS:
        waits = httpx.get(f"{computer.url}/status").json()["arweave"]
        quiet = 0 if waits is None or waits["entries"] or waits["publications"] else quiet + 1
        if time.monotonic() > deadline:
            raise RuntimeError("the log does not get to Arweave")
        time.sleep(LOOK_S)


async def _processes(computer: LocalComputer) -> list[str]:
    async with ArweaveClient(computer.unit(1)) as client:
        answer = await client.graphql(PROCESSES)
    return [edge["node"]["id"] for edge in answer["transactions"]["edges"]]


async def _verified(computer: LocalComputer, processes: Collection[str], at_once: int) -> Verified:
    """These processes, by the command line."""
    turns = asyncio.Semaphore(at_once)

    async def one(process: str) -> dict[str, Any]:
        async with turns:
            command = ("-m", "aoray", "verify", process, "--json", "--gateway", computer.unit(1))
            started = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
            out, _ = await started.communicate()
        report: dict[str, Any] = orjson.loads(out)
        if not report["ok"]:
            raise RuntimeError(report["error"])
        return report

    began, before = time.perf_counter(), _children_cpu()
    reports = await asyncio.gather(*map(one, processes))
    return Verified(reports, time.perf_counter() - began, _children_cpu() - before)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
