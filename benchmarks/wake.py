"""How long a message takes that wakes its process from a checkpoint, beside one to an awake process."""

from __future__ import annotations

import argparse
import asyncio
import random

from benchmarks.dormitory import Dormitory, add_arguments, dormitory_for
from benchmarks.report import Report

NAME = "wake"
DESCRIPTION = (
    "from when a message is sent to a hibernated process until its result is back; and once more, awake"
)

__all__ = ["add_arguments"]


def run(arguments: argparse.Namespace) -> Report:
    """Two rows for each module."""
    rows = []
    hashes = {}
    for guest in arguments.module.split(","):
        with dormitory_for(guest, idle_seconds=arguments.idle_seconds) as dormitory:
            rows += asyncio.run(_measured(dormitory, arguments))
            hashes[guest] = dormitory.guest.sha256
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)


async def _measured(dormitory: Dormitory, arguments: argparse.Namespace) -> list[dict[str, object]]:
    await dormitory.spawn(arguments.processes)
    processes = list(dormitory.counts)
    random.Random(arguments.seed).shuffle(processes)
    await dormitory.asleep(arguments.idle_seconds + 600)
    rows = []
    for state in ("asleep", "awake"):
        measured = await dormitory.message(processes, arguments.clients)
        rows.append({"module": dormitory.guest.name, "state": state, **measured.row()})
    return rows
