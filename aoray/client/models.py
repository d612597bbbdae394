"""The values of the client: messages and spawns to send, and results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Rational, Real
from typing import Any, NamedTuple

from aoray.protocol.outputs import WIRING, output_of
from aoray.protocol.tags import Tag

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TagValue = str | int | float | Decimal
TagsInput = Mapping[str, TagValue] | Iterable[tuple[str, TagValue]]
"""Tags as people write them: a mapping, or pairs if a name occurs twice. Numbers are sent as decimal text."""
SHOWN = 200  # characters of a text in a `repr`


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send to a process."""

    process: str
    action: str = ""
    data: str | bytes = ""
    tags: TagsInput = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spawn:
    """A process to spawn, of the built-in Lua module unless another is named.

    With `on_boot` (by default if there is data and no module) the data is Lua source that the process
    evaluates as it boots.
    """

    data: str | bytes = ""
    tags: TagsInput = field(default_factory=dict)
    module: str = ""
    on_boot: bool | None = None

    @property
    def boots(self) -> bool:
        """Whether the process evaluates its data as it boots."""
        return bool(self.data) and not self.module if self.on_boot is None else self.on_boot


class Sent(NamedTuple):
    """A message or a spawn that a process sent while it evaluated a message."""

    target: str
    tags: Mapping[str, str]
    """The first value of each name."""
    data: str

    @property
    def action(self) -> str:
        """The value of the tag `Action`; '' if there is none."""
        return self.tags.get("Action", "")

    def __repr__(self) -> str:
        tags = {name: value for name, value in self.tags.items() if name not in WIRING - {"Action"}}
        return f"Sent(target={self.target!r}, tags={tags!r}, data={short(self.data)})"


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The result of a message's evaluation."""

    process: str
    message: str
    """The id of the message; empty in a dry run."""
    output: str
    """What the process printed or returned, as text, without a terminal's colours (Lua prints numbers in
    green)."""
    error: str
    """Why the message failed, which left the state as it was; empty if it succeeded."""
    messages: tuple[Sent, ...]
    spawns: tuple[Sent, ...]
    raw: Mapping[str, Any]
    """The complete result, as the compute unit served it: `Output`, `Messages`, `Spawns`, `Assignments`, …"""
    index: int = 0
    """From `send_many`: the index of the message, from 0. From `results`: its nonce."""

    @property
    def ok(self) -> bool:
        """Whether the message succeeded."""
        return not self.error

    def __repr__(self) -> str:
        """Show the output or the error, and what was sent; everything is in the fields."""
        text = (
            f"output={short(self.output)}"
            if self.ok
            else f"error={short(COLOURS.sub('', self.error).strip())}"
        )
        kinds = {"messages": self.messages, "spawns": self.spawns}
        return f"Result({', '.join([text, *(f'{name}={sent!r}' for name, sent in kinds.items() if sent)])})"


@dataclass(frozen=True, slots=True, order=True)
class Spawned:
    """A process that `spawn_many` made: its index among those asked for, and its id."""

    index: int
    process: str


def short(text: str) -> str:
    """Return the `repr` of a text, shortened to SHOWN characters."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}…"


def result_of(raw: Mapping[str, Any], process: str, message: str = "", *, index: int = 0) -> Result:
    """Read a result from its JSON, as any compute unit serves it."""
    return Result(
        process=process,
        message=message,
        output=COLOURS.sub("", output_of(raw)),
        error=str(raw.get("Error") or ""),
        messages=tuple(map(_sent, raw.get("Messages") or ())),
        spawns=tuple(map(_sent, raw.get("Spawns") or ())),
        raw=raw,
        index=index,
    )


def _sent(each: Any) -> Sent:
    found = each if isinstance(each, dict) else {}
    tags: dict[str, str] = {}
    for tag in found.get("Tags") or ():
        tags.setdefault(str(tag.get("name")), str(tag.get("value")))
    return Sent(str(found.get("Target") or ""), tags, str(found.get("Data") or ""))


def tags_of(given: TagsInput) -> list[Tag]:
    """Return tags as they are signed. Raises `TypeError` that names what is not a tag."""
    pairs: Iterable[Any] = given.items() if isinstance(given, Mapping) else given
    return [_tag(each) for each in pairs]


def _tag(pair: Any) -> Tag:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
        raise TypeError(f"a tag is a name (text) and a value, not {pair!r:.{SHOWN}}")
    return Tag(pair[0], _tag_text(*pair))


def _tag_text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bool):
        if isinstance(value, Integral):
            return str(int(value))
        if isinstance(value, Real | Decimal) and not isinstance(value, Rational) and math.isfinite(value):
            return format(Decimal(str(value)), "f")
    raise TypeError(f"the value of tag {name} must be text or a number, not {value!r:.{SHOWN}}")
