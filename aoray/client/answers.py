"""What goes in and what comes back, typed: messages and spawns to be sent, results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aoray.protocol.tags import Tag
from aoray.wording import output_of

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TagsGiven = Mapping[str, str] | Iterable[Tag]
"""Tags as people write them: a mapping, or pairs where a name comes twice."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be sent to a process."""

    process: str
    action: str = ""
    data: str | bytes = ""
    tags: TagsGiven = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spawn:
    """A process to be made: of the built-in Lua module unless another is named. With `on_boot` (as it is when
    there is data and no module) the data is Lua source that it evaluates as it boots."""

    data: str | bytes = ""
    tags: TagsGiven = field(default_factory=dict)
    module: str = ""
    on_boot: bool | None = None

    @property
    def boots(self) -> bool:
        return bool(self.data) and not self.module if self.on_boot is None else self.on_boot


class Sent(NamedTuple):
    """What a process sent while it evaluated a message: a message, or a process that it spawned."""

    target: str
    tags: Mapping[str, str]
    """The first of each name."""
    data: str

    @property
    def action(self) -> str:
        return self.tags.get("Action", "")


@dataclass(frozen=True, slots=True)
class Result:
    """What a message's evaluation gave."""

    process: str
    message: str
    """Its id; empty in a dry run."""
    output: str
    """What it printed or returned, as text, without a terminal's colours (Lua prints numbers in green)."""
    error: str
    """Why it failed, and left the state as it was; empty if it did not."""
    messages: tuple[Sent, ...]
    spawns: tuple[Sent, ...]
    raw: Mapping[str, Any]
    """The whole, as the compute unit served it: `Output`, `Messages`, `Spawns`, `Assignments`, …"""
    index: int = 0
    """Of `send_many`: which of its messages this is, from 0. Of `results`: its nonce."""

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(frozen=True, slots=True, order=True)
class Spawned:
    """A process that `spawn_many` made: which of those asked for, and its id."""

    index: int
    process: str


def result_of(raw: Mapping[str, Any], process: str, message: str = "", *, index: int = 0) -> Result:
    """A result from its JSON, whichever computer wrote it."""
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


def tags_of(given: TagsGiven) -> list[Tag]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return [Tag(name, value) for name, value in pairs]
