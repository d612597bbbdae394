"""From a process's data item to what its instance is made of: module, limits, environment.

The first part of an activation, off the evaluating thread, since fetching and compiling take their time.
Compiled modules are kept for a while: a thousand processes of one module load it once.

On failure: what is the module's or the process's own fault is not raised; it becomes the reason that every
message of the process gets as its error. All else is raised, and tried again.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aoray import limits
from aoray.actors.evaluation import Prepared
from aoray.actors.messages import ModuleInfo, environment_of
from aoray.actors.modules import ModuleStore, limits_of
from aoray.errors import ProcessError, TooLarge, UnknownModule, UnsupportedModule
from aoray.protocol.assignments import engine_of
from aoray.protocol.engines import Engine as Rules
from aoray.protocol.items import DataItem, parse
from aoray.protocol.tags import ao_tag
from aoray.wasm import Engine, Limits, Module

FOR_EVER = (UnknownModule, UnsupportedModule, TooLarge, ProcessError)  # faults that no retry mends


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
        return _prepared(process_id, process, loaded)

    def ready(self, process_id: str, spawned: Spawned) -> Prepared | None:
        """The same at once, if the module is loaded."""
        process, rules = parse(spawned.item), engine_of(spawned.assignment)
        loaded = self._loaded.get((ao_tag(process.tags, "Module", ""), rules.version))
        return _prepared(process_id, process, loaded) if loaded else None

    async def _load(self, module_id: str, rules: Rules) -> Loaded:
        key = module_id, rules.version
        loaded = self._loaded.get(key)
        if loaded is None:
            info, wasm = await self._modules.get(module_id)
            module = await asyncio.to_thread(self._engine.load, wasm, rules)
            loaded = self._loaded[key] = Loaded(info, module)
            while len(self._loaded) > limits.MODULES_LOADED_MAX:
                self._loaded.pop(next(iter(self._loaded)))
        return loaded


def _prepared(process_id: str, process: DataItem, loaded: Loaded) -> Prepared:
    info, module = loaded
    try:
        granted = limits_of(process.tags, info.tags, module.rules)
    except FOR_EVER as error:
        return Prepared(error.message, Limits(), b"")
    return Prepared(module, granted, environment_of(process_id, process, info))
