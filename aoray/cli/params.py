"""Words of the command line: an id may begin with a hyphen, as one in 64 does, and is not an option for that;
and what must be an id is looked at before anything is asked of a computer."""

from __future__ import annotations

import re
from typing import Any

import click

from aoray.protocol.ids import is_id

MARK = "\0"  # before an id, while the words are parsed
TEXT = re.compile(r"-(\d|[^=]*\s)")
IDS = ("process", "message")  # the names of what must be ids


class Command(click.Command):
    """A command that recognizes ids wherever they stand, even if they begin with a hyphen."""

    def is_word(self, word: str) -> bool:
        """Return whether this argument is not an option, whatever it begins with."""
        return is_id(word)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words, and refuse what must be an id and is not one."""
        rest = super().parse_args(ctx, [MARK + word if self.is_word(word) else word for word in args])
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        for name in IDS:
            value = ctx.params.get(name)
            if value and isinstance(value, str) and not is_id(value):
                said = f"{value!r} is not an id (43 characters of A-Z, a-z, 0-9, - and _)"
                raise click.BadParameter(said, ctx=ctx, param_hint=name.upper())
        return rest


class IdOrNonce(click.ParamType[str]):
    """The name of a slot: the id of its message or assignment, or its nonce."""

    name = "slot"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or refuse what is neither an id nor a number."""
        name = _unmarked(str(value))
        if not is_id(name) and not (name.isascii() and name.isdecimal()):
            self.fail(f"{name!r} is neither an id nor a nonce, such as 0 or 12", param, ctx)
        return str(name)


ID_OR_NONCE = IdOrNonce()


class TextCommand(Command):
    """A command that recognizes numbers and sentences with a leading hyphen as well. (A single word with
    a dash may be an option that is spelled wrongly.)"""

    def is_word(self, word: str) -> bool:
        """Return whether this argument is an id, a number or a sentence."""
        return super().is_word(word) or bool(TEXT.match(word))


def _unmarked(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_unmarked, value))
    return value.removeprefix(MARK) if isinstance(value, str) else value
