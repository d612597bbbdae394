"""What the commands share: how errors are printed, the options of every client command, and tags.

Nothing heavy is imported before a command runs, so `aoray --help` is quick.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import orjson
from click.core import ParameterSource

from aoray.errors import AorayError, ClientError, body_of

T = TypeVar("T")
DEFAULT_WALLET = Path("~/.aoray/wallet.json")
AS_JSON = "aoray.json"  # in the context: the answer is to be JSON


class Group(click.Group):
    """A group of commands that prints errors: a line on standard error and exit code 1 (2 for a wrong
    call); with `--json` the error's JSON on standard output, as the computer would answer it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; `--json` is noticed first, so that a wrong call is reported as JSON too."""
        before = args[: args.index("--")] if "--" in args else args
        if "--json" in before:  # known before the words are parsed, of which one may be wrong
            ctx.meta[AS_JSON] = True
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            message = (
                f"No such option: {name}. Options follow the command: {ctx.command_path} COMMAND {name} …"
            )
            raise click.NoSuchOption(name, message, ctx=ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print an error of aoray or of a file in place of a traceback."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except AorayError as error:
            fail(ctx, error)
        except OSError as error:
            if not error.filename:  # of a file it is the caller's: a path that can't be read or made
                raise
            fail(ctx, ClientError(f"{error.filename}: {error.strerror}"))
        except click.UsageError as error:
            if not ctx.meta.get(AS_JSON):
                raise
            fail(ctx, WrongCall(error.format_message()), error.exit_code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, each with the whole first paragraph of its help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _summary(found)) for name, found in commands if found and not found.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _summary(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())


class WrongCall(ClientError):
    """The arguments of a command are wrong."""

    code = "usage"


def fail(
    ctx: click.Context, error: AorayError, exit_code: int = 1, said: Mapping[str, Any] | None = None
) -> NoReturn:
    """Print an error and end the program; with `--json`, print it beside what else there is to print."""
    if ctx.meta.get(AS_JSON):
        click.echo(orjson.dumps({**(said or {}), **body_of(error)}).decode())
    else:
        click.echo(f"aoray: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), err=True)
    ctx.exit(exit_code)


class Context:
    """What every client command needs: the computer's URL, the wallet that signs, and the form of the
    output."""

    def __init__(self, url: str, wallet: Path, as_json: bool) -> None:
        self.url = url
        self.wallet = wallet.expanduser()
        self.as_json = as_json

    def run(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `call` with a client of the computer, signing with the wallet."""
        from aoray.client import Client

        async def with_client() -> T:
            async with Client(self.url, self._signer()) as client:
                return await call(client)

        return asyncio.run(with_client())

    def _signer(self) -> Any:
        """The wallet's key. The default wallet is made on first use; one that was named must be there, since
        a new key in the place of one that was meant would own nothing."""
        from aoray.storage.key_files import load, load_or_make

        source = click.get_current_context().get_parameter_source("wallet")
        if source is not ParameterSource.COMMANDLINE:
            return load_or_make(self.wallet)
        try:
            return load(self.wallet)
        except FileNotFoundError as error:
            hint = f"To make one: aoray wallet --wallet {self.wallet}"
            raise ClientError(f"there is no wallet {self.wallet}", hint=hint) from error

    def say(self, found: dict[str, Any], text: str) -> None:
        """Print `found` as JSON, or the text."""
        click.echo(orjson.dumps(found).decode() if self.as_json else text)


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--url`, `--wallet` and `--json` to a command, and give it a `Context`."""

    @click.option(
        "--url",
        envvar="AORAY_URL",
        default="http://127.0.0.1:4000",
        callback=lambda _context, _parameter, value: _checked_url(value),
        help="URL of the computer. [http://127.0.0.1:4000]",
    )
    @click.option(
        "--wallet",
        envvar="AORAY_WALLET",
        type=click.Path(path_type=Path),
        default=DEFAULT_WALLET,
        help="Key file (JWK) that signs; a file named here must exist."
        f" [{DEFAULT_WALLET}, made on first use]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
    @functools.wraps(function)
    def command(url: str, wallet: Path, as_json: bool, **rest: Any) -> None:
        function(Context(url, wallet, as_json), **rest)

    return command


def tag_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--tag NAME=VALUE`, which may be repeated."""
    return click.option(
        "--tag",
        "tags",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda _context, _parameter, value: parse_tags(value),
        help="Add a tag; repeatable.",
    )(function)


def _checked_url(text: str) -> str:
    """A URL of a computer; refused before a wallet is made for it."""
    if not re.match(r"https?://[^/]", text):
        raise click.BadParameter(f"{text!r} is not a URL like http://127.0.0.1:4000")
    return text


def parse_tags(texts: Sequence[str]) -> list[Any]:
    """Parse `NAME=VALUE` texts as tags."""
    from aoray.protocol.tags import Tag

    pairs = [text.partition("=") for text in texts]
    for (name, equals, _), text in zip(pairs, texts, strict=True):
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--tag")
    return [Tag(name, value) for name, _, value in pairs]
