"""How a process's data item becomes what its instance is made of: module, limits, environment.

The first part of an activation, off the evaluating thread, since fetching and compiling take their time.
Compiled modules are kept for a while: a thousand processes of one module load it once. The modules of one
owner are loaded one after another, so that somebody with many heavy ones does not hold up the others'; what
is refused is remembered, and costs once.

On failure: what the bytes of the module and of the process decide is not raised; it becomes the reason that
every message of the process gets as its error, on every machine. All else is raised, and tried again: also
that no virtual machine for the module is installed here (`UnknownFormat`).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from weakref import WeakValueDictionary

from aoray import limits
from aoray.errors import ProcessError, TooLarge, UnsupportedModule
from aoray.execution.asked_limits import Asked, asked_for
from aoray.execution.guest_input import environment_of
from aoray.protocol.assignments import LogEntry, engine_of
from aoray.protocol.modules import ModuleInfo
from aoray.protocol.signed import ANS104, SignedMessage, parse
from aoray.protocol.tags import Tags, ao_tag
from aoray.storage.modules import ModuleStore, StoredModule
from aoray.util.bounded_dict import BoundedDict
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.engines import Engine as Rules
from aoray.vm.interface import Limits, Program
from aoray.vm.registry import PreparedProgram, VirtualMachines

FINAL_ERRORS = (UnsupportedModule, TooLarge, ProcessError)  # what the bytes of module and process decide


class SpawnedProcess(NamedTuple):
    """Nonce 0 of a process: its own item and its assignment, raw."""

    item: bytes
    assignment: bytes
    envelope: str = ANS104  # of the item

    @property
    def message(self) -> SignedMessage:
        """The item, parsed."""
        return parse(self.item, self.envelope)


def spawned_process(first: LogEntry | None) -> SpawnedProcess | None:
    """Return the process of that first entry."""
    return SpawnedProcess(first.item, first.assignment, first.envelope) if first else None


class Loaded(NamedTuple):
    """A module, ready to boot."""

    info: ModuleInfo
    program: Program


class Loader:
    """The loader of modules, as instances need them. For one event loop."""

    def __init__(self, modules: ModuleStore, machines: VirtualMachines) -> None:
        self._modules = modules
        self._machines = machines
        self._loaded: dict[tuple[str, int], Loaded] = {}  # by module and version of the engine
        self._kept: Program | None = None
        self._refused: BoundedDict[tuple[str, int], str] = BoundedDict(limits.MODULES_REFUSED_MAX)
        self._fetches = asyncio.Semaphore(limits.ACTIVATIONS_IN_FLIGHT_MAX)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by owner
        self._threads = ThreadPoolExecutor(limits.LOADS_MAX, thread_name_prefix="loading")

    def load(self, wasm: bytes) -> Program:
        """Return a module, compiled now or before; it stays loaded."""
        program = self._kept = self._machines.load(wasm)
        return program

    async def prepared(self, process_id: str, spawned: SpawnedProcess) -> PreparedProgram:
        """Return what the process's instance is made of, or why it can't be made."""
        process, rules = spawned.message, engine_of(spawned.assignment)
        try:
            loaded = await self._load(ao_tag(process.tags, "Module", ""), rules)
        except FINAL_ERRORS as error:
            return PreparedProgram(error.message, Limits(), b"")
        return await self._booted(_prepared(process_id, process, loaded, rules), loaded.info.owner)

    async def _booted(self, prepared: PreparedProgram, owner: str) -> PreparedProgram:
        """With the module's boot at hand. It may take as long as a message: not in the evaluating thread."""
        program = prepared.module
        if isinstance(program, str) or program.is_prepared(prepared.limits):
            return prepared
        loop = asyncio.get_running_loop()
        async with self._turn(owner):
            try:
                await loop.run_in_executor(self._threads, program.prepare, prepared.limits)
            except UnsupportedModule as error:
                return prepared._replace(module=error.message)
        return prepared

    def _turn(self, owner: str) -> asyncio.Lock:
        return self._turns.setdefault(owner, asyncio.Lock())

    def ready(self, process_id: str, spawned: SpawnedProcess) -> PreparedProgram | None:
        """Return what the process's instance is made of, if the module is loaded already; else None."""
        process, rules = spawned.message, engine_of(spawned.assignment)
        loaded = self._loaded.get((ao_tag(process.tags, "Module", ""), rules.version))
        if loaded is None:
            return None
        prepared = _prepared(process_id, process, loaded, rules)
        at_hand = isinstance(prepared.module, str) or prepared.module.is_prepared(prepared.limits)
        return prepared if at_hand else None

    async def _load(self, module_id: str, rules: Rules) -> Loaded:
        key = module_id, rules.version
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        info, data = await self._get(key)
        turn = self._turn(info.owner)
        if turn.locked():  # to be read again: what waits holds no memory
            data = b""
        async with turn:
            loaded = self._loaded.get(key)
            if loaded is None:
                data = data or (await self._get(key)).data
                loaded = Loaded(info, await self._compiled(key, StoredModule(info, data), rules))
                self._keep(key, loaded)
        return loaded

    async def _get(self, key: tuple[str, int]) -> StoredModule:
        """A module as it was published, unless it is known to be refused."""
        if (reason := self._refused.get(key)) is not None:
            raise UnsupportedModule(reason, module_id=key[0])
        async with self._fetches:
            return await self._modules.get(key[0])

    async def _compiled(self, key: tuple[str, int], module: StoredModule, rules: Rules) -> Program:
        loop = asyncio.get_running_loop()
        info = module.info
        asked = module.data, ao_tag(info.tags, "Module-Format", ""), rules, info.owner
        try:
            return await loop.run_in_executor(self._threads, self._machines.load, *asked)
        except (UnsupportedModule, TooLarge) as error:  # so it is for the next process too
            self._refused[key] = error.message
            raise

    def _keep(self, key: tuple[str, int], loaded: Loaded) -> None:
        """Keep it for the next process of it; the oldest go when they are too many or too large."""
        self._loaded[key] = loaded
        count, size = limits.MODULES_LOADED_MAX, limits.MODULES_LOADED_BYTES_MAX
        while len(self._loaded) > 1 and (
            len(self._loaded) > count or sum(each.program.held() for each in self._loaded.values()) > size
        ):
            self._loaded.pop(next(iter(self._loaded)))


def _prepared(process_id: str, process: SignedMessage, loaded: Loaded, rules: Rules) -> PreparedProgram:
    info, program = loaded
    try:
        granted = limits_of(process.tags, info.tags, rules)
    except FINAL_ERRORS as error:
        return PreparedProgram(error.message, Limits(), b"")
    return PreparedProgram(program, granted, environment_of(process_id, process, info))


def limits_of(process: Tags, module: Tags, rules: Rules = ENGINES[NEWEST]) -> Limits:
    """Return the limits of a process under its engine: its own tags win over its module's.

    Under engine 1 a Compute-Limit is accepted up to `fuel_stated_max`, yet no message gets more than
    `fuel_max`. `ProcessError` for one that can't be granted.
    """
    memory, compute = asked_for(process, module, rules)
    if not 0 < memory.value <= rules.memory_bytes_max:
        raise _not_supported(memory, rules.memory_bytes_max)
    if not 0 < compute.value <= rules.fuel_stated_max:
        raise _not_supported(compute, rules.fuel_stated_max)
    return Limits(memory.value, min(compute.value, rules.fuel_max), rules.result_bytes_max)


def _not_supported(asked: Asked, highest: int) -> ProcessError:
    return ProcessError(
        f"{asked.name} {asked.text[:60]!r} is not supported", hint=f"At most {highest}, as in 500-mb."
    )
