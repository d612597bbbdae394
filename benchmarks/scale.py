"""What more cores and more nodes give, for the same work. `--cores 1,2`: computer and load generator are
pinned to so many cores, with as many process actors, and the guest computes for about a millisecond
(`--program busy`) or does next to nothing (`--program ping`). `--nodes 1,2,3`: so many Ray nodes on this
machine, with a process actor on each; on one machine they share its cores, so this shows what spreading
costs, not what it gains. `speedup` is against the first row of its kind."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.guests import Guest
from benchmarks.load import closed_loop
from benchmarks.nodes import several_nodes
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of, hashes_of, measure

NAME = "scale"
DESCRIPTION = "the same closed loop on 1, 2, … cores, and on 1, 2, … nodes"
Row = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=2000)
    parser.set_defaults(program="busy")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--cores", default="1,2", help="with commas, or nothing [1,2]")
    parser.add_argument("--nodes", default="", help="with commas, or nothing [nothing]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of cores, then for each module and number of nodes."""
    rows: list[Row] = []
    guests = guests_of(arguments)
    for guest in guests:
        rows += _with_speedup([_cores(guest, count, arguments) for count in _numbers(arguments.cores)])
        rows += _with_speedup([_nodes(guest, count, arguments) for count in _numbers(arguments.nodes)])
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes_of(guests)}, rows)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _cores(guest: Guest, cores: int, arguments: argparse.Namespace) -> Row:
    options = ["--actors-per-node", str(cores)]
    with pinned(cores), computer_for("", options) as (url, computer):
        load = partial(closed_loop, clients=arguments.clients)
        measured = measure(url, computer, guest, load, arguments)
    return {"module": guest.name, "cores": cores, "nodes": 1, "actors": str(cores), **measured.row()} | {
        "server_us": measured.server_us()
    }


def _nodes(guest: Guest, nodes: int, arguments: argparse.Namespace) -> Row:
    with several_nodes(nodes) as computer:
        load = partial(closed_loop, clients=arguments.clients)
        measured = measure(computer.url, computer, guest, load, arguments)
    cores = os.cpu_count() or 1
    return {"module": guest.name, "cores": cores, "nodes": nodes, "actors": str(nodes), **measured.row()} | {
        "server_us": measured.server_us()
    }


def _with_speedup(rows: list[Row]) -> list[Row]:
    for row in rows:
        row["speedup"] = round(float(str(row["messages_per_s"])) / float(str(rows[0]["messages_per_s"])), 2)
    return rows


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """This process, and what it starts, on so many cores only."""
    allowed = os.sched_getaffinity(0)
    if cores > len(allowed):
        raise SystemExit(f"there are {len(allowed)} cores here, not {cores}")
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
