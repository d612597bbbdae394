"""The commands of a computer's operator: `process stop`, `process resume`, `process show`, `process recheck`.

A decision is signed with the scheduler's key, so these run where the computer's keys are (`--data`,
`--keys`). `recheck` is for a computer that is down: it changes the store of results.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from aoray.cli.context import Context, Group, client_command
from aoray.cli.keys import of_a_computer
from aoray.cli.params import Command
from aoray.cli.setting_options import setting_options
from aoray.errors import ClientError
from aoray.settings import Settings
from aoray.util.clock import clock_ms


@click.group(cls=Group)
def process() -> None:
    """Stop and resume a process, as the operator of the computer."""


def _decision(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a decision: which process, and where the computer's keys are."""
    function = click.argument("process")(function)
    function = setting_options("data", "keys")(function)
    return client_command(function)


@process.command(cls=Command)
@_decision
def stop(context: Context, process: str, data: Path | None, keys: str | None) -> None:
    """Stop PROCESS: it gets no messages and no ticks, evaluates nothing and pushes nothing.

    Messages that are already ordered keep their order, and are evaluated after `aoray process resume`.
    """
    _decide(context, process, data, keys, stopped=True)


@process.command(cls=Command)
@_decision
def resume(context: Context, process: str, data: Path | None, keys: str | None) -> None:
    """Resume PROCESS after `aoray process stop`; what waits is evaluated in its order."""
    _decide(context, process, data, keys, stopped=False)


@process.command(cls=Command)
@client_command
@click.argument("process")
def show(context: Context, process: str) -> None:
    """Print whether PROCESS is stopped."""
    _say(context, context.run(lambda client: client.decided(process)))


@process.command(cls=Command)
@of_a_computer
@click.argument("process")
def recheck(settings: Settings, as_json: bool, process: str) -> None:
    """Let PROCESS, which diverged, be evaluated again. The computer must be down.

    A process diverges, and is stopped, when a message that is evaluated again gives another result than the
    stored one. After the next `aoray up` it is evaluated and compared again from its newest checkpoint, and
    stopped again if results still differ (docs/engines.md).
    """
    from contextlib import closing

    from aoray.protocol.attestations import result_hash
    from aoray.runtime import unit_keys
    from aoray.storage.factory import store_of

    store = store_of(settings)
    if not store.has_results():
        raise ClientError(f"there are no results in {settings.data}", hint="Say where: --data or --store.")
    with unit_keys.locked(settings.data, is_new=False), closing(store.open_results()) as results:
        found = results.forget_divergence(process)
    if found is None:
        raise ClientError(f"process {process} is not diverged", hint="`aoray status` names those that are.")
    stored, evaluated = result_hash(found.stored), result_hash(found.evaluated)
    text = (
        f"process {process} was stopped at slot {found.nonce}: {stored} is stored, {evaluated} was evaluated"
        "\nIt is evaluated and compared again after the next `aoray up`."
    )
    shown = {"process": process, "nonce": found.nonce, "stored": stored, "evaluated": evaluated}
    click.echo(orjson.dumps(shown).decode() if as_json else text)


def _decide(context: Context, process: str, data: Path | None, keys: str | None, *, stopped: bool) -> None:

    from aoray.protocol.decisions import Decided, decision_item
    from aoray.settings import Settings
    from aoray.storage.key_files import load

    settings = Settings.from_environment(data=data, keys=keys).resolved()
    signer = load(settings.keys_directory / "scheduler.json")
    decided = Decided(process, stopped, clock_ms())
    item = decision_item(signer, decided)
    _say(context, context.run(lambda client: client.decide(process, item.raw)))


def _say(context: Context, found: dict[str, Any]) -> None:
    word = "is stopped: `aoray process resume` resumes it" if found["stopped"] else "is not stopped"
    context.say(found, f"process {found['process']} {word}")
