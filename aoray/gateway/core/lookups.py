"""What a gateway must know about things before it takes a message: processes, modules, items, the block
height.

Processes and scheduled messages are in the log; modules, other items and blocks are on Arweave. What never
changes is remembered. On failure: `UnknownModule` or `UnknownMessage` if Arweave has no such thing,
`Unavailable` if it does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol

from aoray import limits
from aoray.errors import (
    AorayError,
    ClientError,
    NotFound,
    Overloaded,
    TooLarge,
    UnknownMessage,
    UnknownModule,
    UnknownProcess,
    UnsupportedModule,
)
from aoray.gateway.core.store_executor import StoreExecutor
from aoray.modules.lua import lua_module_id
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import is_id
from aoray.protocol.signed import SignedBytes, SignedMessage
from aoray.protocol.tags import Tag, Tags, ao_tag, first
from aoray.storage.log_reader import LogPage
from aoray.util.bounded_dict import BoundedDict
from aoray.vm.registry import check_module
from aoray.web.shares import Shares

log = logging.getLogger(__name__)


class LogView(Protocol):
    """The log, as `storage.log_reader` reads it."""

    def process(self, process_id: str) -> LogEntry | None:
        """Return slot 0 of a process; None if the log has no such process."""

    def entry(self, process_id: str, any_id: str) -> LogEntry | None:
        """Return the slot of a message, by its id or its assignment's id; None if there is none."""

    def entries(self, process_id: str, after_nonce: int, limit: int, to_nonce: int) -> LogPage:
        """Return up to `limit` slots with nonces above `after_nonce`, up to `to_nonce`."""

    def entries_by_time(self, process_id: str, after: int, to: int, limit: int) -> LogPage:
        """Return up to `limit` slots with timestamps (ms) above `after`, up to `to`."""

    def latest(self, process_id: str) -> LogEntry | None:
        """Return the last slot of a process; None if the log has no such process."""

    def find_message(self, message_id: str) -> SignedBytes | None:
        """Return the signed bytes of a message in the log of any process; None if no log has it."""


class Arweave(Protocol):
    """Arweave, as the gateway reads it (`arweave.client`)."""

    def tags(self, id: str) -> Awaitable[Sequence[Tag]]:
        """Return the tags of an item. Raises `NotFound`, and `Unavailable` while no gateway
        answers."""

    def item(self, id: str, bytes_max: int = ...) -> Awaitable[DataItem]:
        """Return an item with its data, which must verify. Raises `TooLarge` beyond `bytes_max`."""

    def signed(self, id: str) -> Awaitable[DataItem]:
        """Return an item, or a layer-1 transaction in the form of one, which must verify."""

    def height(self) -> Awaitable[int]:
        """Return the height of the chain, in blocks."""

    def post_item(self, raw: bytes) -> Awaitable[str]:
        """Upload an item to a bundler, and return the item's id."""


class ModuleTags(NamedTuple):
    """The tags of a module, and until when (of the monotonic clock) they count."""

    tags: Tags
    until_s: float


class Lookups:
    """What a gateway reads of processes, modules and messages, from the log and from Arweave, with bounded
    caches of each."""

    def __init__(self, reader: LogView, arweave: Arweave, store_executor: StoreExecutor) -> None:
        self.reader = reader
        self.store_executor = store_executor
        self._noting = threading.Lock()
        self._arweave = arweave
        self._modules: BoundedDict[str, ModuleTags] = BoundedDict(limits.MODULES_KNOWN_MAX)
        self._processes: BoundedDict[str, SignedMessage] = BoundedDict(
            limits.PROCESSES_KNOWN_MAX, limits.PROCESSES_KNOWN_BYTES_MAX, lambda item: len(item.raw)
        )
        self._refused: BoundedDict[str, ClientError] = BoundedDict(limits.MODULES_KNOWN_MAX)
        self._checks: dict[str, asyncio.Task[Tags]] = {}  # under way
        self._checking = asyncio.Semaphore(limits.MODULE_CHECKS_AT_ONCE_MAX)
        self._fetches = Shares(limits.MESSAGES_FETCHED_AT_ONCE_MAX)
        self._height = 0
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def process(self, process_id: str) -> SignedMessage:
        """Return the item that spawned a process."""
        known = self._processes.get(process_id)
        return known if known is not None else await self.store_executor(self.read_process, process_id)

    def read_process(self, process_id: str) -> SignedMessage:
        """Return the item that spawned a process; for callers in a thread where it may read."""
        known = self._processes.get(process_id)
        if known is not None:
            return known
        record = self.reader.process(process_id) if is_id(process_id) else None
        if record is None:
            raise UnknownProcess(f"no process {process_id[:60]}", process_id=process_id[:60])
        item = record.message
        with self._noting:
            self._processes[process_id] = item
        return item

    async def require_module(self, module_id: str) -> Tags:
        """Return the tags of a module, as its owner signed them. Refuses what is not an AO module on
        Arweave, or what no engine here could run, as far as that can be said without a look at its code.

        Its data is looked at once, however many spawn it, and whatever comes of it.
        """
        known = self._modules.get(module_id)
        if known is not None and time.monotonic() < known.until_s:
            return known.tags
        if (refused := self._refused.get(module_id)) is not None:
            raise refused
        check = self._checks.get(module_id)
        if check is None:
            check = self._checks[module_id] = asyncio.create_task(self._checked(module_id))
            check.add_done_callback(lambda _: self._checks.pop(module_id, None))
        return await asyncio.shield(check)

    async def _checked(self, module_id: str) -> Tags:
        try:
            tags = tuple(await self._arweave.tags(module_id))
        except ClientError as error:  # 404, or an answer that is none: it may show it tomorrow
            raise UnknownModule(
                f"no module {module_id} on Arweave{_instead(error)}",
                hint=f"The built-in module is {lua_module_id()}; publish another first: aoray module publish",
                module_id=module_id,
            ) from error
        _require_module_type(module_id, tags)
        known = ModuleTags(tags, math.inf)  # of the built-in one it is our own word
        if module_id != lua_module_id():
            known = await self._looked_at(module_id, tags)
        self._modules[module_id] = known
        return known.tags

    async def _looked_at(self, module_id: str, said: Tags) -> ModuleTags:
        """What the owner of a module signed. Until its data comes, without which no signature can be checked,
        it is what the gateway says, and only for a moment."""
        async with self._checking:
            try:
                item = await self._arweave.signed(module_id)
            except ClientError:
                return ModuleTags(said, time.monotonic() + limits.MODULE_WORD_SECONDS_MAX)
            try:
                _require_module_type(module_id, item.tags)
                module_format = ao_tag(item.tags, "Module-Format", "")
                await asyncio.to_thread(check_module, item.data, module_format)
            except ClientError as error:  # so it is for whoever spawns it next
                self._refused[module_id] = error
                raise
        return ModuleTags(item.tags, math.inf)

    async def signed_bytes(self, message_id: str, who: str = "") -> SignedBytes:
        """Return a message as it was signed, from the logs or from Arweave. `who` shares in what is
        fetched there at once."""
        found = await self.store_executor(self.reader.find_message, message_id)
        if found is not None:
            return found
        if not self._fetches.take(who):
            raise Overloaded("too many messages are being fetched", hint="Try again.", retry_after_s=1)
        try:
            raw = (await self._arweave.item(message_id, limits.ITEM_BYTES_MAX)).raw
        except ClientError as error:  # the same
            raise UnknownMessage(
                f"no message {message_id}, here or on Arweave{_instead(error)}", message_id=message_id
            ) from error
        finally:
            self._fetches.give(who)
        if len(raw) > limits.ITEM_BYTES_MAX:
            raise TooLarge(f"{message_id} is too large for a message", bytes_max=limits.ITEM_BYTES_MAX)
        return SignedBytes(raw)

    async def block_height(self) -> int:
        """Return Arweave's height, at most a moment old; the last known one if Arweave does not answer in
        time."""
        if self._asking is None and time.monotonic() - self._asked > limits.BLOCK_HEIGHT_SECONDS_MAX:
            self._asking = asyncio.create_task(self._ask_height())
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=limits.BLOCK_HEIGHT_SECONDS_MAX)
        return self._height

    async def _ask_height(self) -> None:
        try:
            self._height = max(self._height, await self._arweave.height())
        except AorayError as error:
            log.warning("the block height stays %d: %r", self._height, error)
        finally:
            self._asked, self._asking = time.monotonic(), None


def _instead(error: ClientError) -> str:
    """What Arweave says, if it is not that there is no such thing."""
    return "" if isinstance(error, NotFound) else f": {error.message}"


def _require_module_type(module_id: str, tags: Tags) -> None:
    if first(tags, "Type", "") != "Module":
        why = f"{module_id} is not a module: it has no tag Type=Module"
        raise UnsupportedModule(why, module_id=module_id)
