"""Processes and what is said to them: `spawn`, `send`, `eval`, `result`, `dryrun`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from aoray.commands.bundling import bundle
from aoray.commands.context import Context, client_command, parse_tags, tag_option
from aoray.wording import NO_OUTPUT, describe, describe_sent, error_of, output_of
from aoray.words import Command, TextCommand

LUA_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
DASHES = {"ignore_unknown_options": True}  # Lua code may begin with a dash
ON_BOOT = "On-Boot"


@click.command(cls=Command)
@client_command
@click.option("--module", default="", help="Id of the module. [the built-in Lua]")
@click.option("--name", default="", help="The process's Name tag.")
@click.option("--data", default="", help="Data of the process item.")
@click.option(
    "--load",
    type=LUA_FILE,
    help="Lua file that the process evaluates as it boots, with the files that it requires from beside it."
    " Waits for the result.",
)
@tag_option
def spawn(
    context: Context, module: str, name: str, data: str, load: Path | None, tags: tuple[str, ...]
) -> None:
    """Make a process."""
    named = [f"Name={name}"] if name else []
    sent = parse_tags([*named, *tags])
    content = program(load) if load else data
    boots = load is not None or any(tag.name == ON_BOOT for tag in sent)

    async def call(client: Any) -> tuple[str, dict[str, Any] | None]:
        process = await client.spawn(module=module, tags=sent, data=content, on_boot=load is not None)
        return process, await client.result(process, process) if boots else None

    process, result = context.run(call)
    found = {"process": process} | ({"result": result} if result is not None else {})
    context.say(found, f"spawned process {process}")
    if result is not None and not context.as_json:
        say_aside(result, output_of(result))
    fail_on_error(result)


@click.command(cls=TextCommand)
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


@click.command("eval", cls=Command, context_settings=DASHES)
@client_command
@click.argument("process")
@click.argument("code", required=False)
@click.option(
    "--file",
    "source",
    type=LUA_FILE,
    help="Lua file to evaluate instead of CODE, with the files that it requires from beside it.",
)
def evaluate(context: Context, process: str, code: str | None, source: Path | None) -> None:
    """Evaluate Lua CODE in PROCESS, which this wallet must own.

    Without CODE, or if it is -, standard input is read. Prints the output alone; errors, and what the process
    sends, are on standard error.
    """
    text = source_of(code, source)

    async def call(client: Any) -> tuple[str, dict[str, Any]]:
        message = await client.send(process, action="Eval", data=text)
        return message, await client.result(process, message)

    message, result = context.run(call)
    output = output_of(result)
    if context.as_json or output:
        context.say({"message": message, "result": result}, output)
    if not context.as_json:
        say_aside(result, "" if output or result.get("Error") or describe_sent(result) else NO_OUTPUT)
    fail_on_error(result)


def source_of(code: str | None, file: Path | None) -> str | bytes:
    """The Lua source that is meant: a file's, what was written, or what is piped."""
    if file is not None:
        if code is not None:
            raise click.UsageError("CODE and --file are both given.")
        return program(file)
    if code is not None and code != "-":
        return code
    text = b"" if code is None and sys.stdin.isatty() else sys.stdin.buffer.read()
    if not text.strip():
        raise click.UsageError("There is no code: give CODE, --file, or write it to standard input.")
    return text


def program(file: Path) -> bytes:
    """The source of a Lua file and what it requires from beside it; - is standard input."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    return bundle(file)


def say_aside(result: Mapping[str, Any], text: str) -> None:
    """On standard error: this text, what a result sends, and its error."""
    lines = [text] if text else []
    lines += [error_of(result)] if result.get("Error") else []
    for line in [*describe_sent(result), *lines]:
        click.echo(line, err=True)


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
@click.option("--action", default="", help="The message's Action tag.")
@click.option("--data", default="", help="The message's data.")
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
