"""Outboxes of a computer without Ray: what is in one, and what has become of it."""

from __future__ import annotations

from typing import Any

from fake_computer import EMPTY, Computer
from polling import until

from aoray.protocol.ans104.items import DataItem, parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag

WALLET = b64url_encode(b"w" * 32)


def to(target: str, *tags: Tag) -> dict[str, Any]:
    return {"Target": target, "Anchor": "", "Data": "x", "Tags": [tag._asdict() for tag in tags]}


def on(asked: str, **outbox: Any) -> Any:
    """An evaluation that sends `outbox` where the data of a message is `asked`."""
    return lambda entry: EMPTY | (outbox if parse(entry.item).data == asked.encode() else {})


async def pushed(computer: Computer) -> None:
    """Until nothing is left to push."""
    await until(lambda: not len(computer.gateway.pusher) and not computer.results.unpushed(1))


def slots(computer: Computer, pid: str) -> list[LogEntry]:
    return list(computer.gateway.lookups.reader.entries(pid, -1, 1000, 1000))


def items(computer: Computer, pid: str) -> list[DataItem]:
    return [parse(entry.item) for entry in slots(computer, pid)]
