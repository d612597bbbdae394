"""How long a message takes that wakes its process from a checkpoint, beside one to an awake process. Many
processes hibernate, each gets one message, in an order that the seed gives, and then one more. Each answer is
the process's own count, so a state that was lost would be seen."""

from __future__ import annotations

import argparse
import random

from benchmarks.dormitory import Dormitory, Row, add_arguments, report_of
from benchmarks.report import Report

NAME = "wake"
DESCRIPTION = (
    "from when a message is sent to a hibernated process until its result is back; and once more, awake"
)

__all__ = ["add_arguments"]


def run(arguments: argparse.Namespace) -> Report:
    """Two rows for each module."""
    return report_of(NAME, DESCRIPTION, arguments, _measured)


async def _measured(dormitory: Dormitory, arguments: argparse.Namespace) -> list[Row]:
    await dormitory.spawn(arguments.processes)
    processes = list(dormitory.counts)
    random.Random(arguments.seed).shuffle(processes)
    await dormitory.asleep(arguments.idle_seconds + 600)
    rows = []
    for state in ("asleep", "awake"):
        measured = await dormitory.message(processes, arguments.clients)
        rows.append({"module": dormitory.guest.name, "state": state, **measured.row()})
    return rows
