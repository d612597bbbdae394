"""What the commands share: how errors are said, the options of every client command, and tags.

Nothing heavy is imported before a command runs, so `aoray --help` is quick.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from aoray.errors import AorayError

T = TypeVar("T")
DEFAULT_WALLET = Path("~/.aoray/wallet.json")


class Group(click.Group):
    """Turns the project's errors into a line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AorayError as error:
            click.echo(f"aoray: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), err=True)
            sys.exit(1)
        except OSError as error:
            if not error.filename:  # of a file it is the caller's: a path that can't be read or made
                raise
            click.echo(f"aoray: {error.filename}: {error.strerror}", err=True)
            sys.exit(1)


class Context:
    """What every client command needs: where the computer is, who speaks, and how to say it."""

    def __init__(self, url: str, wallet: Path, as_json: bool) -> None:
        self.url = url
        self.wallet = wallet.expanduser()
        self.as_json = as_json

    def run(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `call` with a client of the computer, signing with the wallet (made on first use)."""
        from aoray.client import Client
        from aoray.keyfiles import load_or_make

        async def with_client() -> T:
            async with Client(self.url, load_or_make(self.wallet)) as client:
                return await call(client)

        return asyncio.run(with_client())

    def say(self, found: dict[str, Any], text: str) -> None:
        """Print `found` as JSON, or the text."""
        click.echo(orjson.dumps(found).decode() if self.as_json else text)


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds `--url`, `--wallet` and `--json`, and gives the command a `Context`."""

    @click.option("--url", envvar="AORAY_URL", default="http://127.0.0.1:4000", help="The computer.")
    @click.option("--wallet", envvar="AORAY_WALLET", type=click.Path(path_type=Path), default=DEFAULT_WALLET)
    @click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
    @functools.wraps(function)
    def command(url: str, wallet: Path, as_json: bool, **rest: Any) -> None:
        function(Context(url, wallet, as_json), **rest)

    return command


def tag_option(function: Callable[..., None]) -> Callable[..., None]:
    """Adds `--tag Name=Value`, as often as wanted."""
    return click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="A tag; repeatable.")(
        function
    )


def parse_tags(texts: Sequence[str]) -> list[Any]:
    """`Name=Value` texts as tags."""
    from aoray.protocol.tags import Tag

    pairs = [text.partition("=") for text in texts]
    for (name, equals, _), text in zip(pairs, texts, strict=True):
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--tag")
    return [Tag(name, value) for name, _, value in pairs]
