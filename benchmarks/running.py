"""What the benchmarks share: their arguments, and the computer that they run against."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from aoray.testing import LocalComputer
from benchmarks.guests import PLAIN_FORMAT, Guest, guest
from benchmarks.load import Measured, Prepared, make_ready

Run = Callable[[str, Guest, list[Prepared]], Awaitable[Measured]]


def add_arguments(parser: argparse.ArgumentParser, messages: int) -> None:
    """The options of every benchmark."""
    parser.add_argument("--module", default="lua", help="lua, aos, counter or a file; several with commas")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--messages", type=int, default=messages, help=f"for each row [{messages}]")
    parser.add_argument(
        "--program",
        choices=("ping", "reply"),
        default="ping",
        help="what Lua handlers do: print, or send a reply",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the order in which processes get messages [1]"
    )
    parser.add_argument("--format", default=PLAIN_FORMAT, help="Module-Format of a file")
    parser.add_argument("--url", default="", help="a running computer; without it one is started for the run")
    parser.add_argument("--json", default="", metavar="FILE", help="write JSON too; - for nothing but JSON")


@contextmanager
def computer_for(url: str) -> Iterator[tuple[str, LocalComputer | None]]:
    """The computer at `url`, or one of our own for as long as it is needed."""
    if url:
        yield url, None
        return
    with (
        tempfile.TemporaryDirectory(prefix="aoray-benchmark-") as directory,
        LocalComputer(Path(directory) / "data") as computer,
    ):
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
        before = computer.cpu_seconds() if computer else {}
        measured = await load(url, guest, messages)
        if computer:
            after = computer.cpu_seconds()
            measured.server_cpu = {part: used - before.get(part, 0) for part, used in after.items()}
        return measured

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_of_it())
