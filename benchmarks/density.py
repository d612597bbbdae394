"""What a process costs in memory: just after its messages, at rest (two seconds idle), and asleep
(hibernated); and on disk. Many processes are spawned, each gets one to three messages, and then they are
left alone. `…_mib` is what the whole computer holds, `…_kib_each` what its process actors hold for each
process."""

from __future__ import annotations

import argparse
import asyncio

from benchmarks.dormitory import Dormitory, Row, add_arguments, report_of, targets_of
from benchmarks.report import Report

NAME = "density"
DESCRIPTION = "memory of the whole computer with many processes: messaged, at rest, hibernated"
REST_S = 10.0  # more than limits.REST_SECONDS, a scan, and the work

__all__ = ["add_arguments"]


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module."""
    return report_of(NAME, DESCRIPTION, arguments, _measured)


async def _measured(dormitory: Dormitory, arguments: argparse.Namespace) -> list[Row]:
    await dormitory.spawn(1)
    memory = [dormitory.memory()]
    seconds = await dormitory.spawn(arguments.processes)
    processes = list(dormitory.counts)
    measured = await dormitory.message(targets_of(processes, arguments.seed), arguments.clients)
    memory.append(dormitory.memory())
    await asyncio.sleep(REST_S)
    memory.append(dormitory.memory())
    await dormitory.asleep(arguments.idle_seconds + 600)
    memory.append(dormitory.memory())
    files, size = dormitory.kept()
    empty = memory[0]
    count = len(processes)
    stages = dict(zip(("messaged", "resting", "asleep"), memory[1:], strict=True))
    return [
        {
            "module": dormitory.guest.name,
            "processes": count,
            "failed": len(measured.wrong),
            "spawned_per_s": round(arguments.processes / seconds, 1),
            "empty_mib": round(empty.all / 2**20, 1),
            **{f"{name}_mib": round(held.all / 2**20, 1) for name, held in stages.items()},
            **{f"{name}_kib_each": _each(held.actors - empty.actors, count) for name, held in stages.items()},
            "disk_kib_each": _each(size, files),
            "restarted": measured.cost["restarted"],
        }
    ]


def _each(size: int, count: int) -> float:
    return round(size / count / 1024, 1)
