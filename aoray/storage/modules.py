"""Modules: from a module's id to its data, its owner and its tags; and what its processes may use.

Activation asks here. A module is a data item, kept as it was signed in a file named by its id under
`data/modules` (or `--files`); so every read can check it against its id and signature, whoever wrote the
file, and any number of actors share it. What is not there is fetched from Arweave, once however many ask.

On failure: `UnsupportedModule` (these bytes, signed by that id, are not a module) and `ProcessError` (a limit
that can't be granted) follow from what was signed, and become the results of the processes' messages.
Whatever else goes wrong says something of the gateway or of this machine, and is `Unavailable`: an item that
Arweave does not show today may be there tomorrow, since gateways differ."""

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
    """The modules under one directory. For one event loop."""

    def __init__(self, directory: Files | Path, fetch: Callable[[str], Awaitable[DataItem]]) -> None:
        self._directory = directory
        self._fetch = fetch
        self._under_way: dict[str, asyncio.Task[StoredModule]] = {}

    async def get(self, module_id: str) -> StoredModule:
        """Return the module; callers that ask while it is being fetched wait for the same fetch."""
        if not is_id(module_id):  # it is to be a file's name
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
            except OSError as error:  # it will be fetched again, that is all
                logger.warning("module %s can't be kept: %s", module_id, error)
        return _module_of(item)

    async def _fetched(self, module_id: str) -> DataItem:
        try:
            return await self._fetch(module_id)
        except NotFound as error:
            raise Unavailable(f"no module {module_id} on Arweave", module_id=module_id) from error
        except ClientError as error:  # nothing of what came is signed by that id
            raise Unavailable(
                f"module {module_id} can't be had: {error.message}", module_id=module_id
            ) from error


def stored_module(directory: Files | Path, module_id: str) -> DataItem | None:
    """Return a stored module, if it is the one that the name of its file says."""
    try:
        item = signed_item(_files(directory).read(module_id))
    except (OSError, ClientError):  # not there, or not to be had, or damaged: then it is fetched again
        return None
    return item if item.id == module_id else None


def store_module(directory: Files | Path, item: DataItem) -> None:
    """Store a module where the stores of this directory find it."""
    _files(directory).write(item.id, item.raw)


def _files(directory: Files | Path) -> Files:
    return LocalFiles(directory) if isinstance(directory, Path) else directory


def _module_of(item: DataItem) -> StoredModule:
    """An item as a module; refused if it isn't one that speaks JSON."""
    if ao_tag(item.tags, "Type") != "Module":
        raise UnsupportedModule(f"{item.id} is not a module: it has no tag Type=Module", module_id=item.id)
    for name in ("Input-Encoding", "Output-Encoding"):
        encoding = ao_tag(item.tags, name, JSON_ENCODING)
        if encoding != JSON_ENCODING:
            raise UnsupportedModule(f"{name} {encoding!r} of module {item.id} is not {JSON_ENCODING}")
    return StoredModule(ModuleInfo(item.id, item.address, item.tags), item.data)
