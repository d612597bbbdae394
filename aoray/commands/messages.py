"""Processes and what is said to them: `spawn`, `send`, `eval`, `result`, `dryrun`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from aoray.commands.context import Context, client_command, parse_tags, tag_option
from aoray.wording import describe
from aoray.words import Command


@click.command(cls=Command)
@client_command
@click.option("--module", default="", help="Id of the module. [the built-in Lua]")
@click.option("--name", default="", help="The process's Name tag.")
@click.option("--data", default="", help="Data of the process item.")
@click.option("--load", type=click.File("rb"), help="Lua file that the process evaluates as it boots.")
@tag_option
def spawn(context: Context, module: str, name: str, data: str, load: Any, tags: tuple[str, ...]) -> None:
    """Make a process."""
    named = [f"Name={name}"] if name else []
    sent = parse_tags([*named, *tags])
    content = load.read() if load else data
    process = context.run(
        lambda client: client.spawn(module=module, tags=sent, data=content, on_boot=bool(load))
    )
    context.say({"process": process}, f"spawned process {process}")


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.argument("data", default="")
@click.option("--action", default="", help="The message's Action tag.")
@click.option("--wait/--no-wait", default=False, help="Wait for the result and print it.")
@tag_option
def send(context: Context, process: str, data: str, action: str, wait: bool, tags: tuple[str, ...]) -> None:
    """Send a signed message to PROCESS."""

    async def call(client: Any) -> tuple[str, dict[str, Any] | None]:
        message = await client.send(process, action=action, tags=parse_tags(tags), data=data)
        return message, await client.result(process, message) if wait else None

    message, result = context.run(call)
    found = {"message": message} | ({"result": result} if result is not None else {})
    context.say(found, f"sent message {message}" + (f"\n{describe(result)}" if result is not None else ""))
    fail_on_error(result)


@click.command("eval", cls=Command)
@client_command
@click.argument("process")
@click.argument("code", default="")
@click.option("--file", "source", type=click.File("r"), help="Lua file to evaluate instead of CODE.")
def evaluate(context: Context, process: str, code: str, source: Any) -> None:
    """Evaluate Lua CODE in PROCESS, which this wallet must own."""
    text = source.read() if source else code

    async def call(client: Any) -> tuple[str, dict[str, Any]]:
        message = await client.send(process, action="Eval", data=text)
        return message, await client.result(process, message)

    message, result = context.run(call)
    context.say({"message": message, "result": result}, describe(result))
    fail_on_error(result)


@click.command(cls=Command)
@client_command
@click.argument("message")
@click.option("--process", required=True, help="The process that the message was sent to.")
def result(context: Context, message: str, process: str) -> None:
    """Wait for the result of MESSAGE and print it."""
    found = context.run(lambda client: client.result(process, message))
    context.say(found, describe(found))
    fail_on_error(found)


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option("--action", default="")
@click.option("--data", default="")
@tag_option
def dryrun(context: Context, process: str, action: str, data: str, tags: tuple[str, ...]) -> None:
    """What a message to PROCESS would give, without sending it."""
    sent = parse_tags(tags)
    found = context.run(lambda client: client.dryrun(process, action=action, tags=sent, data=data))
    context.say(found, describe(found))
    fail_on_error(found)


def fail_on_error(result: Mapping[str, Any] | None) -> None:
    """Exit code 1 if the process answered with an error, so that scripts stop there."""
    if result and result.get("Error"):
        sys.exit(1)
