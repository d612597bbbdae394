"""What the workloads share: their arguments, the computer that they run against, and what it costs meanwhile.

A `Meter` is set before the clock starts, and read after it stopped: CPU seconds of every part of the
computer, the memory it holds, and which of its actors restarted, so that a row that is worth nothing says so.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from aoray.testing.local_computer import LocalComputer, command_of, part_of
from benchmarks.guests import PLAIN_FORMAT, Guest, guest
from benchmarks.load import Measured, Prepared, make_ready
from benchmarks.report import Report

Run = Callable[[str, Guest, list[Prepared]], Awaitable[Measured]]
T = TypeVar("T")
ACTORS = ("ProcessActor", "ShardActor", "GatewayActor")


class Meter:
    """What a computer uses from now on; of one that is not ours, nothing is known."""

    def __init__(self, computer: LocalComputer | None) -> None:
        self._computer = computer
        self._cpu = computer.cpu_seconds() if computer else {}
        self._actors = actors_of(computer) if computer else {}

    def cpu(self) -> dict[str, float] | None:
        """CPU seconds since, by part."""
        if self._computer is None:
            return None
        return {part: used - self._cpu.get(part, 0) for part, used in self._computer.cpu_seconds().items()}

    def columns(self, cpu: Mapping[str, float] | None = None) -> dict[str, Any]:
        """For a row: `server_cpu_s`, `server_mib` (as it is now), `restarted` (which actors, how often)."""
        if self._computer is None:
            return {"server_cpu_s": None, "server_mib": None, "restarted": None}
        cpu = cpu or self.cpu() or {}
        gone = Counter(kind for pid, kind in self._actors.items() if pid not in actors_of(self._computer))
        return {
            "server_cpu_s": round(sum(cpu.values()), 2),
            "server_mib": round(sum(self._computer.memory_bytes().values()) / 2**20, 1),
            "restarted": ", ".join(f"{kind} {count}x" for kind, count in sorted(gone.items())),
        }


def actors_of(computer: LocalComputer) -> dict[int, str]:
    """Its Ray actors: the class of each, by pid."""
    kinds = {pid: part_of(command_of(pid)) for pid in computer.members()}
    return {pid: kind for pid, kind in kinds.items() if kind in ACTORS}


def add_arguments(parser: argparse.ArgumentParser, messages: int, module: str = "lua") -> None:
    """The options of every workload that sends messages over HTTP."""
    parser.add_argument(
        "--module", default=module, help=f"lua, aos, counter or a file; several with commas [{module}]"
    )
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--messages", type=int, default=messages, help=f"for each row [{messages}]")
    parser.add_argument(
        "--program",
        choices=("ping", "reply", "busy"),
        default="ping",
        help="what Lua handlers do: print, send a reply, or compute for a millisecond",
    )
    parser.add_argument("--format", default=PLAIN_FORMAT, help="Module-Format of a file")
    parser.add_argument("--url", default="", help="a running computer; without it one is started for the run")


_shared: ContextVar[LocalComputer | None] = ContextVar("_shared", default=None)


@contextmanager
def shared(computer: LocalComputer) -> Iterator[None]:
    """Every workload takes this computer, as it is, instead of one of its own: so tests start one for all."""
    token = _shared.set(computer)
    try:
        yield
    finally:
        _shared.reset(token)


@contextmanager
def own_computer(
    options: Sequence[str] = (), environment: Mapping[str, str] | None = None, data: Path | None = None
) -> Iterator[LocalComputer]:
    """A computer for as long as it is needed, as LocalComputer makes it."""
    if (found := _shared.get()) is not None:
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="aoray-benchmark-") as directory:
        where = data or Path(directory) / "data"
        with LocalComputer(where, options, environment) as computer:
            yield computer


@contextmanager
def computer_for(
    url: str, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, LocalComputer | None]]:
    """The computer at `url`, or one of our own."""
    if url:
        yield url, None
        return
    with own_computer(options, environment) as computer:
        yield computer.url, computer


def guests_of(arguments: argparse.Namespace) -> list[Guest]:
    """The guests that were asked for."""
    names = arguments.module.split(",")
    return [guest(name, arguments.program, arguments.format) for name in names]


def measure(
    url: str, computer: LocalComputer | None, guest: Guest, load: Run, arguments: argparse.Namespace
) -> Measured:
    """One run: make ready, then the load, with the CPU time of both sides."""

    async def all_of_it() -> Measured:
        messages = await make_ready(url, guest, arguments.processes, arguments.messages, arguments.seed)
        meter = Meter(computer)
        measured = await load(url, guest, messages)
        measured.server_cpu = meter.cpu()
        measured.cost = meter.columns(measured.server_cpu)
        return measured

    return run_loop(all_of_it())


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop, which takes less of the cores that are measured."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def report_of(
    name: str,
    description: str,
    arguments: argparse.Namespace,
    column: str,
    loads: Sequence[tuple[float, Run]],
    change: Callable[[Guest], Guest] = lambda guest: guest,
) -> Report:
    """A row for each module (changed by `change`) and each load; `column` says what tells the loads apart."""
    rows = []
    guests = [change(each) for each in guests_of(arguments)]
    with computer_for(arguments.url) as (url, computer):
        for guest in guests:
            for value, load in loads:
                measured = measure(url, computer, guest, load, arguments)
                rows.append(
                    {"module": guest.name, column: value, **measured.row(), "server_us": measured.server_us()}
                )
    return Report(name, description, vars(arguments) | {"module_sha256": hashes_of(guests)}, rows)


def hashes_of(guests: Sequence[Guest]) -> dict[str, str]:
    """The SHA-256 of each guest's module, by its name."""
    return {guest.name: guest.sha256 for guest in guests}
