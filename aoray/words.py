"""Words of the command line: an id may begin with a hyphen, as one in 64 does, and is no option for that."""

from __future__ import annotations

from typing import Any

import click

from aoray.protocol.ids import is_id

MARK = "\0"  # before an id, while the words are parsed


class Command(click.Command):
    """Takes ids for what they are, wherever they stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, [MARK + word if is_id(word) else word for word in args])
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return rest


def _unmarked(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_unmarked, value))
    return value.removeprefix(MARK) if isinstance(value, str) else value
