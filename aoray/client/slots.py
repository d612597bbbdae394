"""The log of a process as clients read it: one `LogSlot` for each nonce, page by page, from any scheduler
unit (`GET /{process}?from-nonce=…`, docs/wire-contract.md §2.2).

A scheduler unit has no route that waits for a message, so to follow a log, the client waits at the compute
unit for the result of the next slot (`GET /result/{nonce}`). If that is refused (by another kind of compute
unit, or one that restarts), or if many calls wait already, the client polls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from aoray import limits
from aoray.client.models import short
from aoray.client.unit_client import Client
from aoray.errors import AorayError
from aoray.protocol.outputs import WIRING
from aoray.protocol.tags import Tag, Tags, first

PAGE = 200
WAIT_MS = 2_000  # a slot exists before its result, and is seen at the latest after this time
LOOK_S = 0.5

Try = Callable[[Callable[[], Awaitable[dict[str, Any]]]], Awaitable[dict[str, Any]]]


class LogSlot(NamedTuple):
    """A slot of a process's log, with its message."""

    process: str
    nonce: int
    message: str
    """The id of the message; for nonce 0 that of the process."""
    assignment: str
    timestamp: int
    """When the message was scheduled: Unix time in ms."""
    block_height: int
    owner: str
    """The address that signed the message; empty if the item is elsewhere, as are the following fields."""
    from_process: str
    """The process for which the owner says it sent the message, or empty. Reliable only from an authority."""
    tags: Tags
    data: str
    """The data as text; bytes that are not UTF-8 are replaced, as the scheduler unit does."""

    def __repr__(self) -> str:
        tags = {tag.name: tag.value for tag in self.tags if tag.name not in WIRING - {"Action"}}
        said = f"owner={self.owner!r}, tags={tags!r}, data={short(self.data)}"
        return f"Slot(nonce={self.nonce}, message={self.message!r}, {said})"


async def following(
    client: Client, attempt: Try, process: str, after: int, follow: bool
) -> AsyncIterator[LogSlot]:
    """Yield the slots after the nonce `after`, in order; with `follow` forever."""
    hurried = False
    while True:
        page = await attempt(partial(client.schedule, process, after=after, limit=PAGE))
        edges = page.get("edges") or []
        for edge in edges:
            slot = slot_of(edge["node"], process)
            after = slot.nonce
            yield slot
        if not follow and not (page.get("page_info") or {}).get("has_next_page"):
            return
        if edges:
            hurried = False
        elif hurried:  # the slot was announced and is missing: this bounds the rate of requests
            await asyncio.sleep(LOOK_S)
            hurried = False
        else:
            hurried = await _comes(client, process, after + 1) < LOOK_S


async def _comes(client: Client, process: str, nonce: int) -> float:
    """Wait until this slot is evaluated, at most WAIT_MS, or if that is not possible for LOOK_S. Return the
    seconds waited."""
    began = time.monotonic()
    if client.waits >= limits.CLIENT_SLOT_WAITS_MAX:
        await asyncio.sleep(LOOK_S)
        return LOOK_S
    client.waits += 1
    try:
        await client.result_at(process, nonce, WAIT_MS)
    except AorayError:
        await asyncio.sleep(LOOK_S)
    finally:
        client.waits -= 1
    return time.monotonic() - began


def slot_of(node: Mapping[str, Any], process: str) -> LogSlot:
    """Read a slot from the scheduler unit's JSON."""
    assignment, message = node["assignment"], node.get("message") or {}
    assigned = _tags(assignment)
    tags = _tags(message)
    nonce = int(first(assigned, "Nonce", "0"))
    owner = str((message.get("owner") or {}).get("address") or "")
    return LogSlot(
        process=process,
        nonce=nonce,
        message=str(message.get("id") or first(assigned, "Message") or process),
        assignment=str(assignment["id"]),
        timestamp=int(first(assigned, "Timestamp", "0")),
        block_height=int(first(assigned, "Block-Height", "0")),
        owner=owner,
        from_process=first(tags, "From-Process", ""),
        tags=tags,
        data=str(message.get("data") or ""),
    )


def _tags(item: Mapping[str, Any]) -> Tags:
    return tuple(Tag(str(tag["name"]), str(tag["value"])) for tag in item.get("tags") or ())
