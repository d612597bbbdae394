"""The store of modules: from a module's id to its data, owner and tags.

Where in a message's journey: before it, when a process is activated. A module is a data item, stored as it
was signed in a file named by its id under `data/modules` (or `--files`). So every read can check it against
its id and signature, whoever wrote the file, and any number of actors can share it. A module that is not
stored is fetched from Arweave, once for all callers that wait.

On failure: `UnsupportedModule` (the signed item is not a module that can run) follows from what was signed,
and becomes the result of the processes' messages. Everything else is a fault of the gateway or of this
machine, and is `Unavailable`: an item that Arweave does not show today may be there tomorrow, since gateways
differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from aoray.errors import ClientError, NotFound, Unavailable, UnsupportedModule
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import is_id
from aoray.protocol.modules import ModuleInfo
from aoray.protocol.tags import ao_tag
from aoray.protocol.transactions import signed_item
from aoray.storage.files import Files, LocalFiles

logger = logging.getLogger(__name__)

JSON_ENCODING = "JSON-1"


class StoredModule(NamedTuple):
    """A module as it was published."""

    info: ModuleInfo
    data: bytes


class ModuleStore:
    """The modules under one directory. An instance belongs to one event loop."""

    def __init__(self, directory: Files | Path, fetch: Callable[[str], Awaitable[DataItem]]) -> None:
        self._directory = directory
        self._fetch = fetch
        self._under_way: dict[str, asyncio.Task[StoredModule]] = {}

    async def get(self, module_id: str) -> StoredModule:
        """Return a module. Callers that ask while it is being fetched wait for the same fetch. Raises
        `UnsupportedModule` or `Unavailable`."""
        if not is_id(module_id):  # the id becomes the name of a file
            raise UnsupportedModule(f"{module_id[:60]!r} is not the id of a module")
        task = self._under_way.get(module_id)
        if task is None:
            task = self._under_way[module_id] = asyncio.create_task(self._load(module_id))
            task.add_done_callback(lambda _: self._under_way.pop(module_id, None))
        return await asyncio.shield(task)

    async def _load(self, module_id: str) -> StoredModule:
        item = await asyncio.to_thread(stored_module, self._directory, module_id)
        if item is None:
            item = await self._fetched(module_id)
            try:
                await asyncio.to_thread(store_module, self._directory, item)
            except OSError as error:  # the module will be fetched again
                logger.warning("module %s can't be kept: %s", module_id, error)
        return _module_of(item)

    async def _fetched(self, module_id: str) -> DataItem:
        try:
            return await self._fetch(module_id)
        except NotFound as error:
            raise Unavailable(f"no module {module_id} on Arweave", module_id=module_id) from error
        except ClientError as error:  # the bytes that came are not the item with this id
            raise Unavailable(
                f"module {module_id} can't be fetched: {error.message}", module_id=module_id
            ) from error


def stored_module(directory: Files | Path, module_id: str) -> DataItem | None:
    """Return a stored module; None if it is missing, damaged, or not the item that the file's name says."""
    try:
        item = signed_item(_files(directory).read(module_id))
    except (OSError, ClientError):  # missing, unreadable or damaged: it is fetched again
        return None
    return item if item.id == module_id else None


def store_module(directory: Files | Path, item: DataItem) -> None:
    """Store a module under its id."""
    _files(directory).write(item.id, item.raw)


def _files(directory: Files | Path) -> Files:
    return LocalFiles(directory) if isinstance(directory, Path) else directory


def _module_of(item: DataItem) -> StoredModule:
    """Return an item as a module. Raises `UnsupportedModule` if it is not one, or does not use JSON for input
    and output."""
    if ao_tag(item.tags, "Type") != "Module":
        raise UnsupportedModule(f"{item.id} is not a module: it has no tag Type=Module", module_id=item.id)
    for name in ("Input-Encoding", "Output-Encoding"):
        encoding = ao_tag(item.tags, name, JSON_ENCODING)
        if encoding != JSON_ENCODING:
            raise UnsupportedModule(f"{name} {encoding!r} of module {item.id} is not {JSON_ENCODING}")
    return StoredModule(ModuleInfo(item.id, item.address, item.tags), item.data)
