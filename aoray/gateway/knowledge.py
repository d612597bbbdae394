"""What a gateway must know about things before it takes a message: processes, modules, items, the block
height.

Processes and scheduled messages are in the log; modules, other items and blocks are on Arweave. What never
changes is remembered. On failure: `UnknownModule` or `UnknownMessage` if Arweave has no such thing,
`Unavailable` if it does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from aoray import limits
from aoray.bounded import Bounded
from aoray.errors import (
    AorayError,
    ClientError,
    NotFound,
    TooLarge,
    UnknownMessage,
    UnknownModule,
    UnknownProcess,
    UnsupportedModule,
)
from aoray.gateway.look import Look
from aoray.modules.lua import lua_module_id
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import is_id
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import Tag, Tags, first
from aoray.scheduler.reader import Page, ProcessRecord

log = logging.getLogger(__name__)

BLOCK_HEIGHT_SECONDS_MAX = 2.0


class Reader(Protocol):
    """The log, as `scheduler.reader` reads it."""

    def process(self, process_id: str) -> ProcessRecord | None: ...
    def entry(self, process_id: str, any_id: str) -> LogEntry | None: ...
    def entries(self, process_id: str, after_nonce: int, limit: int, to_nonce: int) -> Page: ...
    def entries_by_time(self, process_id: str, after: int, to: int, limit: int) -> Page: ...
    def latest(self, process_id: str) -> LogEntry | None: ...
    def find_message(self, message_id: str) -> bytes | None: ...


class Arweave(Protocol):
    """Arweave, as `arweave.client` reaches it."""

    def tags(self, id: str) -> Awaitable[Sequence[Tag]]: ...
    def item(self, id: str) -> Awaitable[DataItem]: ...
    def height(self) -> Awaitable[int]: ...
    def post_item(self, raw: bytes) -> Awaitable[str]: ...


class Knowledge:
    def __init__(self, reader: Reader, arweave: Arweave, look: Look) -> None:
        self.reader = reader
        self.look = look
        self._noting = threading.Lock()
        self._arweave = arweave
        self._modules: Bounded[str, Tags] = Bounded(limits.MODULES_KNOWN_MAX)
        self._processes: Bounded[str, DataItem] = Bounded(
            limits.PROCESSES_KNOWN_MAX, limits.PROCESSES_KNOWN_BYTES_MAX, lambda item: len(item.raw)
        )
        self._checking = asyncio.Semaphore(limits.MODULE_CHECKS_AT_ONCE_MAX)
        self._height = 0
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def process(self, process_id: str) -> DataItem:
        """The item that spawned a process."""
        known = self._processes.get(process_id)
        return known if known is not None else await self.look(self.read_process, process_id)

    def read_process(self, process_id: str) -> DataItem:
        """The same, for who is in a thread where it may read."""
        known = self._processes.get(process_id)
        if known is not None:
            return known
        record = self.reader.process(process_id) if is_id(process_id) else None
        if record is None:
            raise UnknownProcess(f"no process {process_id[:60]}", process_id=process_id[:60])
        item = parse(record.item)
        with self._noting:
            self._processes[process_id] = item
        return item

    async def require_module(self, module_id: str) -> Tags:
        """The tags of a module. Refuses what is not an AO module on Arweave, or what no engine here could
        run, as far as that can be said without a look at its code."""
        known = self._modules.get(module_id)
        if known is not None:
            return known
        try:
            tags = tuple(await self._arweave.tags(module_id))
        except NotFound as error:
            raise UnknownModule(
                f"no module {module_id} on Arweave",
                hint=f"The built-in module is {lua_module_id()}; publish another first: aoray module publish",
                module_id=module_id,
            ) from error
        if first(tags, "Type", "") != "Module":
            raise UnsupportedModule(
                f"{module_id} is not a module: it has no tag Type=Module", module_id=module_id
            )
        if module_id != lua_module_id():
            await self._check_module(module_id)
        self._modules[module_id] = tags
        return tags

    async def _check_module(self, module_id: str) -> None:
        from aoray.wasm.shape import refuse_at_once  # loads much that other calls do not need

        async with self._checking:
            try:
                item = await self._arweave.item(module_id)
            except ClientError:  # its tags are there; its data may come
                return
            await asyncio.to_thread(refuse_at_once, item.data)

    async def raw_item(self, message_id: str) -> bytes:
        """The signed item of a message, from the logs or from Arweave."""
        found = await self.look(self.reader.find_message, message_id)
        if found is not None:
            return found
        try:
            raw = (await self._arweave.item(message_id)).raw
        except NotFound as error:
            raise UnknownMessage(
                f"no message {message_id}, here or on Arweave", message_id=message_id
            ) from error
        if len(raw) > limits.ITEM_BYTES_MAX:
            raise TooLarge(f"{message_id} is too large for a message", bytes_max=limits.ITEM_BYTES_MAX)
        return raw

    async def block_height(self) -> int:
        """Arweave's height, a moment old; the last one known while Arweave does not say it in time."""
        if self._asking is None and time.monotonic() - self._asked > BLOCK_HEIGHT_SECONDS_MAX:
            self._asking = asyncio.create_task(self._ask_height())
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=BLOCK_HEIGHT_SECONDS_MAX)
        return self._height

    async def _ask_height(self) -> None:
        try:
            self._height = max(self._height, await self._arweave.height())
        except AorayError as error:
            log.warning("the block height stays %d: %r", self._height, error)
        finally:
            self._asked, self._asking = time.monotonic(), None
