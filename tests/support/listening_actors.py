"""Actors that stand for gateways and process actors: they listen, and have their modules at hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from aoray.actors.dependencies import dependencies_of
from aoray.actors.process_actor import ProcessActor
from aoray.errors import NotFound
from aoray.execution.loader import Loader
from aoray.protocol.ans104.items import DataItem
from aoray.settings import Settings
from aoray.storage.modules import ModuleStore
from aoray.storage.records import ResultRow
from aoray.vm.registry import VirtualMachines


class ListeningGateway:
    """Remembers what process actors deliver, and answers who waits for it."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], dict[str, Any]] = {}
        self._pushed: list[tuple[str, int]] = []
        self._changed = asyncio.Condition()

    async def deliver(self, results: list[tuple[str, str, bytes]]) -> None:
        async with self._changed:
            self._heard |= {
                (process_id, any_id): orjson.loads(result) for process_id, any_id, result in results
            }
            self._changed.notify_all()

    async def push(self, announced: list[tuple[str, int] | ResultRow]) -> None:
        async with self._changed:
            self._pushed += [(each[0], each[1]) for each in announced]
            self._changed.notify_all()

    async def result(self, key: tuple[str, str]) -> dict[str, Any]:
        async with self._changed:
            await self._changed.wait_for(lambda: key in self._heard)
            return self._heard[key]

    async def pushed(self, count: int) -> list[tuple[str, int]]:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pushed) >= count)
            return self._pushed


class OfflineProcessActor(ProcessActor):
    """A process actor whose modules all are in its directory, as files that somebody left there."""

    def __init__(self, settings: Settings, name: str, compiled: Path) -> None:
        modules = ModuleStore(settings.data / "modules", _nothing)
        super().__init__(
            settings,
            name,
            dependencies_of(settings)._replace(loader=Loader(modules, VirtualMachines(compiled))),
        )


async def _nothing(module_id: str) -> DataItem:
    raise NotFound(f"{module_id} is not in the directory")
