"""Arweave without a network: keeps items, and fails as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aoray.errors import AorayError, ClientError, NotFound, Unavailable
from aoray.protocol.ans104.bundles import unpack
from aoray.protocol.ans104.items import DataItem, parse
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag

MODULE = b64url_encode(b"m" * 32)
"""The id of an item that is said to be a module."""


class FakeArweave:
    """What was `posted` is not read again; `items` are, and `asked` says which were."""

    def __init__(self, *items: DataItem) -> None:
        self.items = {item.id: item for item in items}
        self.asked: list[str] = []
        self.posted: list[bytes] = []
        self.down = False
        self.silent: asyncio.Event | None = None  # no answer to an upload before it is set
        self.refusal: ClientError | None = None  # what it answers to uploads
        self.lost = self.answers_lost = 0  # of the next uploads so many never arrive, or are answered in vain
        self.confused: AorayError | None = None  # what it answers to whoever reads
        self.faults: list[AorayError] = []  # what it answers to the next who read, one each

    async def tags(self, id: str) -> Sequence[Tag]:
        return [Tag("Type", "Module")] if id == MODULE and not self.down else self._found(id).tags

    async def item(self, id: str, bytes_max: int = 0) -> DataItem:
        self.asked.append(id)
        await asyncio.sleep(0)
        return self._found(id)

    async def signed(self, id: str) -> DataItem:
        return await self.item(id)

    async def height(self) -> int:
        return 42

    async def post_item(self, raw: bytes) -> str:
        if self.down or self.lost:
            self.lost -= not self.down
            raise Unavailable("Arweave does not answer")
        if self.silent:
            await self.silent.wait()
        if self.refusal:
            raise self.refusal
        self.posted.append(raw)
        if self.answers_lost:
            self.answers_lost -= 1
            raise Unavailable("the answer was lost")
        return parse(raw).id

    def uploaded(self) -> list[str]:
        """The ids of all items in the bundles that were posted."""
        return [item.id for raw in self.posted for item in unpack(parse(raw).data)]

    def _found(self, id: str) -> DataItem:
        if self.confused:
            raise self.confused
        if self.faults:
            raise self.faults.pop(0)
        if self.down:
            raise Unavailable("Arweave does not answer")
        if id not in self.items:
            raise NotFound(f"no {id}")
        return self.items[id]
