"""From a process's data item to what its instance is made of: module, limits, environment.

The first part of an activation, off the evaluating thread, since fetching and compiling take their time.
Compiled modules are kept for a while: a thousand processes of one module load it once. The modules of one
owner are loaded one after another, so that somebody with many heavy ones does not hold up the others'; what
is refused is remembered, and costs once.

On failure: what the bytes of the module and of the process decide is not raised; it becomes the reason that
every message of the process gets as its error, on every machine. All else is raised, and tried again.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from weakref import WeakValueDictionary

from aoray import limits
from aoray.actors.evaluation import Prepared
from aoray.actors.messages import ModuleInfo, environment_of
from aoray.actors.modules import ModuleStore, StoredModule, limits_of
from aoray.bounded import Bounded
from aoray.errors import ProcessError, TooLarge, UnsupportedModule
from aoray.protocol.assignments import engine_of
from aoray.protocol.engines import Engine as Rules
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import ao_tag
from aoray.wasm import Engine, Instance, Limits, Module

FOR_EVER = (UnsupportedModule, TooLarge, ProcessError)  # what the bytes of module and process decide


class Spawned(NamedTuple):
    """Nonce 0 of a process: its own item and its assignment, raw."""

    item: bytes
    assignment: bytes


class Loaded(NamedTuple):
    """A module, ready to boot."""

    info: ModuleInfo
    module: Module


class Loader:
    """Modules as instances need them. For one event loop."""

    def __init__(self, modules: ModuleStore, engine: Engine) -> None:
        self._modules = modules
        self._engine = engine
        self._loaded: dict[tuple[str, int], Loaded] = {}  # by module and version of the engine
        self._kept: Module | None = None
        self._refused: Bounded[tuple[str, int], str] = Bounded(limits.MODULES_REFUSED_MAX)
        self._fetches = asyncio.Semaphore(limits.ACTIVATIONS_IN_FLIGHT_MAX)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by owner
        self._threads = ThreadPoolExecutor(limits.LOADS_MAX, thread_name_prefix="loading")

    def load(self, wasm: bytes) -> Module:
        """A module, compiled now or before; it stays loaded."""
        module = self._kept = self._engine.load(wasm)
        return module

    async def prepared(self, process_id: str, spawned: Spawned) -> Prepared:
        """What the process's instance is made of, or why it can't be."""
        process, rules = parse(spawned.item), engine_of(spawned.assignment)
        try:
            loaded = await self._load(ao_tag(process.tags, "Module", ""), rules)
        except FOR_EVER as error:
            return Prepared(error.message, Limits(), b"")
        return await self._booted(_prepared(process_id, process, loaded), loaded.info.owner)

    async def _booted(self, prepared: Prepared, owner: str) -> Prepared:
        """With the module's boot at hand. It may take as long as a message: not in the evaluating thread."""
        module = prepared.module
        if not isinstance(module, Module) or not _to_boot(prepared):
            return prepared
        loop = asyncio.get_running_loop()
        async with self._turn(owner):
            try:
                await loop.run_in_executor(self._threads, Instance.prepare, module, prepared.limits)
            except UnsupportedModule as error:
                return prepared._replace(module=error.message)
        return prepared

    def _turn(self, owner: str) -> asyncio.Lock:
        return self._turns.setdefault(owner, asyncio.Lock())

    def ready(self, process_id: str, spawned: Spawned) -> Prepared | None:
        """The same at once, if the module is loaded."""
        process, rules = parse(spawned.item), engine_of(spawned.assignment)
        loaded = self._loaded.get((ao_tag(process.tags, "Module", ""), rules.version))
        prepared = _prepared(process_id, process, loaded) if loaded else None
        return None if prepared is None or _to_boot(prepared) else prepared

    async def _load(self, module_id: str, rules: Rules) -> Loaded:
        key = module_id, rules.version
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        info, wasm = await self._get(key)
        turn = self._turn(info.owner)
        if turn.locked():  # to be read again: what waits holds no memory
            wasm = b""
        async with turn:
            loaded = self._loaded.get(key)
            if loaded is None:
                wasm = wasm or (await self._get(key)).wasm
                loaded = Loaded(info, await self._compiled(key, wasm, rules, info.owner))
                self._keep(key, loaded)
        return loaded

    async def _get(self, key: tuple[str, int]) -> StoredModule:
        """A module as it was published, unless it is known to be refused."""
        if (reason := self._refused.get(key)) is not None:
            raise UnsupportedModule(reason, module=key[0])
        async with self._fetches:
            return await self._modules.get(key[0])

    async def _compiled(self, key: tuple[str, int], wasm: bytes, rules: Rules, owner: str) -> Module:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._engine.load, wasm, rules, owner)
        except (UnsupportedModule, TooLarge) as error:  # so it is for the next process too
            self._refused[key] = error.message
            raise

    def _keep(self, key: tuple[str, int], loaded: Loaded) -> None:
        """Keep it for the next process of it; the oldest go when they are too many or too large."""
        self._loaded[key] = loaded
        count, size = limits.MODULES_LOADED_MAX, limits.MODULES_LOADED_BYTES_MAX
        while len(self._loaded) > 1 and (
            len(self._loaded) > count or sum(each.module.held() for each in self._loaded.values()) > size
        ):
            self._loaded.pop(next(iter(self._loaded)))


def _to_boot(prepared: Prepared) -> bool:
    return isinstance(prepared.module, Module) and prepared.limits not in prepared.module.boots


def _prepared(process_id: str, process: DataItem, loaded: Loaded) -> Prepared:
    info, module = loaded
    try:
        granted = limits_of(process.tags, info.tags, module.rules)
    except FOR_EVER as error:
        return Prepared(error.message, Limits(), b"")
    return Prepared(module, granted, environment_of(process_id, process, info))
