"""What only the operator of a computer decides: `process stop` and `process resume`.

A decision is signed with the scheduler's key, so these run where the computer's keys are (`--data`,
`--keys`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aoray.commands.context import Context, Group, client_command
from aoray.words import Command


@click.group(cls=Group)
def process() -> None:
    """Stop a process, and have it go on: for the operator of the computer."""


def _decision(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a decision: which process, and where the computer's keys are."""
    function = click.argument("process")(function)
    function = click.option(
        "--data", type=click.Path(path_type=Path), help="The computer's directory. [aoray-data]"
    )(function)
    function = click.option("--keys", help="The directory of its keys. [keys in --data]")(function)
    return client_command(function)


@process.command(cls=Command)
@_decision
def stop(context: Context, process: str, data: Path | None, keys: str | None) -> None:
    """Stop PROCESS: it gets no more messages or ticks, evaluates none, and what it sent waits.

    What is ordered stays in its order, and is evaluated when it is resumed.
    """
    _decide(context, process, data, keys, stopped=True)


@process.command(cls=Command)
@_decision
def resume(context: Context, process: str, data: Path | None, keys: str | None) -> None:
    """Have PROCESS go on after `aoray process stop`, with what waits."""
    _decide(context, process, data, keys, stopped=False)


@process.command(cls=Command)
@client_command
@click.argument("process")
def show(context: Context, process: str) -> None:
    """Say whether PROCESS is stopped, and since when."""
    _say(context, context.run(lambda client: client.decided(process)))


def _decide(context: Context, process: str, data: Path | None, keys: str | None, *, stopped: bool) -> None:
    import time

    from aoray.keyfiles import load
    from aoray.protocol.decisions import Decided, decision_item
    from aoray.settings import Settings

    settings = Settings.from_environment(data=data, keys=keys).resolved()
    signer = load(settings.keys_directory / "scheduler.json")
    decided = Decided(process, stopped, time.time_ns() // 1_000_000)
    item = decision_item(signer, decided)
    _say(context, context.run(lambda client: client.decide(process, item.raw)))


def _say(context: Context, found: dict[str, Any]) -> None:
    word = "is stopped: `aoray process resume` has it go on" if found["stopped"] else "is not stopped"
    context.say(found, f"process {found['process']} {word}")
