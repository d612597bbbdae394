"""A computer at work: `push`, `monitor`, `trace`, `status`."""

from __future__ import annotations

from typing import Any

import click

from aoray import limits
from aoray.commands.context import Context, client_command, fail
from aoray.errors import AorayError, NotFound
from aoray.wording import describe_crons, describe_status
from aoray.words import Command


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.argument("nonce", type=click.IntRange(min=0))
@click.argument("index", type=click.IntRange(min=0), required=False)
def push(context: Context, process: str, nonce: int, index: int | None) -> None:
    """Push the outbox of slot NONCE of PROCESS again: all of it that is not delivered, or message INDEX."""

    async def call(client: Any) -> tuple[list[dict[str, Any]], list[AorayError]]:
        chosen = [index] if index is not None else await unsettled(client, process, nonce)
        failed = []
        if not chosen and await client.peek(process, str(nonce)) is None:
            raise NotFound(
                f"slot {nonce} of {process} has no result: it is not there, or not evaluated yet",
                hint="The slots that there are: aoray export, or GET /{process}/latest of the scheduler.",
                process=process,
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


async def unsettled(client: Any, process: str, nonce: int) -> list[int]:
    """The outbox messages of a slot that may still be delivered; no more than a page of each state."""
    pages = [
        await client.outbox(process, nonce=nonce, state=state, limit=limits.PAGE_ENTRIES_MAX)
        for state in ("pending", "dead")
    ]
    return sorted(each["index"] for page in pages for each in page["outbox"])


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option("--stop", is_flag=True, help="Stop them.")
@click.option("--show", is_flag=True, help="Only say how they are.")
def monitor(context: Context, process: str, stop: bool, show: bool) -> None:
    """Start the crons of PROCESS, which its Cron-Interval tags name, and say when they are due."""

    async def call(client: Any) -> dict[str, Any]:
        if not show:
            await (client.unmonitor if stop else client.monitor)(process)
        return dict(await client.monitored(process))

    found = context.run(call)
    context.say(found, describe_crons(found))


@click.command(cls=Command)
@client_command
@click.argument("message")
@click.option("--process", default="", help="The process that the message was sent to.")
def trace(context: Context, message: str, process: str) -> None:
    """What caused MESSAGE, and what it caused, as a tree."""
    from aoray.drawing import draw

    found = context.run(lambda client: client.trace(message, process=process))
    context.say(found, "" if context.as_json else draw(found))


@click.command(cls=Command)
@client_command
def status(context: Context) -> None:
    """Whether the computer takes work, and what of its log waits for Arweave."""
    found = context.run(lambda client: client.status())
    context.say(found, describe_status(found))
