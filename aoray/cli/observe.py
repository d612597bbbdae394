"""The commands that watch a computer at work: `push`, `monitor`, `trace`, `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aoray import limits
from aoray.cli.context import Context, client_command, fail
from aoray.cli.params import Command
from aoray.cli.render import describe_crons, describe_status
from aoray.errors import AorayError, NotFound

if TYPE_CHECKING:
    from aoray.client import Client


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.argument("nonce", type=click.IntRange(min=0))
@click.argument("index", type=click.IntRange(min=0), required=False)
def push(context: Context, process: str, nonce: int, index: int | None) -> None:
    """Push the outbox of slot NONCE of PROCESS again: whatever is not delivered, or message INDEX alone."""

    async def call(client: Client) -> tuple[list[dict[str, Any]], list[AorayError]]:
        chosen = [index] if index is not None else await unsettled(client, process, nonce)
        failed = []
        if not chosen and await client.result_nowait(process, str(nonce)) is None:
            raise NotFound(
                f"slot {nonce} of {process} has no result: it does not exist, or is not evaluated yet",
                hint="`aoray export` lists the slots; GET /{process}/latest is the last one.",
                process_id=process,
                nonce=nonce,
            )
        for each in chosen:
            try:
                await client.push(process, nonce, each)
            except AorayError as error:  # the others have their turn all the same
                failed.append(error)
        page = await client.outbox(process, nonce=nonce, limit=limits.PAGE_ENTRIES_MAX)
        return [sent for sent in page["outbox"] if sent["index"] in chosen], failed

    pushed, failed = context.run(call)
    lines = [f"{each['index']} {each['state']} {each['id']} to {each['target']}" for each in pushed]
    nothing = (
        "nothing pushed"
        if failed
        else f"nothing to push: no message of the outbox of slot {nonce} waits or failed"
    )
    found: dict[str, Any] = {"process": process, "nonce": nonce, "pushed": pushed}
    if not (failed and context.as_json):
        context.say(found, "\n".join(lines) or nothing)
    if failed:
        fail(click.get_current_context(), failed[-1], said=found)


async def unsettled(client: Client, process: str, nonce: int) -> list[int]:
    """Return the indices of a slot's outbox messages that may still be delivered; at most a page of each
    state."""
    pages = [
        await client.outbox(process, nonce=nonce, state=state, limit=limits.PAGE_ENTRIES_MAX)
        for state in ("pending", "dead")
    ]
    return sorted(each["index"] for page in pages for each in page["outbox"])


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option("--stop", is_flag=True, help="Stop the ticks instead.")
@click.option("--show", is_flag=True, help="Only print when each is due.")
def monitor(context: Context, process: str, stop: bool, show: bool) -> None:
    """Start the cron ticks that the Cron-Interval tags of PROCESS ask for, and print when each is due."""

    async def call(client: Client) -> dict[str, Any]:
        if not show:
            await (client.unmonitor if stop else client.monitor)(process)
        return dict(await client.monitored(process))

    found = context.run(call)
    context.say(found, describe_crons(found))


@click.command(cls=Command)
@client_command
@click.argument("message")
@click.option("--process", default="", help="Process that the message was sent to.")
def trace(context: Context, message: str, process: str) -> None:
    """Print what caused MESSAGE and what it caused, as a tree."""
    from aoray.cli.render import draw

    found = context.run(lambda client: client.trace(message, process=process))
    context.say(found, "" if context.as_json else draw(found))


@click.command(cls=Command)
@client_command
def status(context: Context) -> None:
    """Print whether the computer accepts work, and how much of its log waits for Arweave."""
    found = context.run(lambda client: client.status())
    context.say(found, describe_status(found))
