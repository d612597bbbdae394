"""The commands that spawn processes and send messages: `spawn`, `send`, `eval`, `result`, `dryrun`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aoray.cli.bundling import bundle
from aoray.cli.context import Context, client_command, parse_tags, tag_option
from aoray.cli.params import ID_OR_NONCE, Command, TextCommand
from aoray.cli.render import NO_OUTPUT, describe, describe_sent, error_of
from aoray.protocol.outputs import output_of

if TYPE_CHECKING:
    from aoray.client import Client

LUA_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
DASHES = {"ignore_unknown_options": True}  # Lua code may begin with a dash
ON_BOOT = "On-Boot"


@click.command(cls=Command)
@client_command
@click.option("--module", default="", help="Id of the module. [the built-in Lua module]")
@click.option("--name", default="", help="Value of the process's Name tag.")
@click.option("--data", default="", help="Data of the process item.")
@click.option(
    "--load",
    type=LUA_FILE,
    help="Lua file that the process evaluates when it boots, with the files that it requires from its own"
    " folder. Waits for the result.",
)
@tag_option
def spawn(context: Context, module: str, name: str, data: str, load: Path | None, tags: list[Any]) -> None:
    """Spawn a process, and print its id."""
    named = [f"Name={name}"] if name else []
    sent = [*parse_tags(named), *tags]
    content = program(load) if load else data
    boots = load is not None or any(tag.name == ON_BOOT for tag in sent)

    async def call(client: Client) -> tuple[str, dict[str, Any] | None]:
        process = await client.spawn(module=module, tags=sent, data=content, on_boot=load is not None)
        return process, await client.result(process, process) if boots else None

    process, result = context.run(call)
    found = {"process": process} | ({"result": result} if result is not None else {})
    context.say(found, f"spawned process {process}")
    if result is not None and not context.as_json:
        say_on_stderr(result, output_of(result))
    fail_on_error(result)


@click.command(cls=TextCommand)
@client_command
@click.argument("process")
@click.argument("data", default="")
@click.option("--action", default="", help="Value of the message's Action tag.")
@click.option("--wait/--no-wait", default=False, help="Wait for the result and print it.")
@tag_option
def send(context: Context, process: str, data: str, action: str, wait: bool, tags: list[Any]) -> None:
    """Sign a message, send it to PROCESS, and print its id."""

    async def call(client: Client) -> tuple[str, dict[str, Any] | None]:
        message = await client.send(process, action=action, tags=tags, data=data)
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
    help="Lua file to evaluate instead of CODE, with the files that it requires from its own folder.",
)
def evaluate(context: Context, process: str, code: str | None, source: Path | None) -> None:
    """Evaluate Lua CODE in PROCESS, which this wallet must own.

    Reads standard input if CODE is missing or is -. Prints the output alone to standard output; errors, and
    what the process sends, go to standard error.
    """
    text = source_of(code, source)

    async def call(client: Client) -> tuple[str, dict[str, Any]]:
        message = await client.send(process, action="Eval", data=text)
        return message, await client.result(process, message)

    message, result = context.run(call)
    output = output_of(result)
    if context.as_json or output:
        context.say({"message": message, "result": result}, output)
    if not context.as_json:
        say_on_stderr(result, "" if output or result.get("Error") or describe_sent(result) else NO_OUTPUT)
    fail_on_error(result)


def source_of(code: str | None, file: Path | None) -> str | bytes:
    """Return the Lua source to evaluate: of the file, of the argument, or of standard input."""
    if file is not None:
        if code is not None:
            raise click.UsageError("CODE and --file exclude each other.")
        return program(file)
    if code is not None and code != "-":
        return code
    text = b"" if code is None and sys.stdin.isatty() else sys.stdin.buffer.read()
    if not text.strip():
        raise click.UsageError("There is no code: give CODE or --file, or write it to standard input.")
    return text


def program(file: Path) -> bytes:
    """Return the source of a Lua file, with the files that it requires from its own folder; - is standard
    input."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    return bundle(file)


def say_on_stderr(result: Mapping[str, Any], text: str) -> None:
    """Print to standard error: this text, what a result sends, and its error."""
    lines = [text] if text else []
    lines += [error_of(result)] if result.get("Error") else []
    for line in [*describe_sent(result), *lines]:
        click.echo(line, err=True)


@click.command(cls=Command)
@client_command
@click.argument("slot", type=ID_OR_NONCE)
@click.option("--process", required=True, help="Process that the message was sent to.")
def result(context: Context, slot: str, process: str) -> None:
    """Wait for the result of SLOT, a message's id or a nonce, and print it."""
    found = context.run(lambda client: client.result(process, slot))
    context.say(found, describe(found))
    fail_on_error(found)


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option("--action", default="", help="Value of the message's Action tag.")
@click.option("--data", default="", help="Data of the message.")
@tag_option
def dryrun(context: Context, process: str, action: str, data: str, tags: list[Any]) -> None:
    """Evaluate a message on the current state of PROCESS, without sending it."""
    found = context.run(lambda client: client.dryrun(process, action=action, tags=tags, data=data))
    context.say(found, describe(found))
    fail_on_error(found)


def fail_on_error(result: Mapping[str, Any] | None) -> None:
    """End with exit code 1 if the result is an error, so that scripts stop there."""
    if result and result.get("Error"):
        sys.exit(1)
