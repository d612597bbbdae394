"""One live copy of a module: its store and instances, and how a message goes in and an answer comes out.

A guest knows nothing of rollback (instance.py does): after an error it is whatever the error left. A
message costs two calls into WASM, `prepare` and `run` of the glue (shim.py), around two copies into the
guest's memory. Every address that the guest gives is checked against the memory's size before it is
used.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Generator
from typing import Any, NamedTuple

import orjson

from aoray.errors import UnsupportedModule
from aoray.limits import FUEL_SLICE
from aoray.wasm import memory
from aoray.wasm.clock import Calendar
from aoray.wasm.engine import Limits, Module
from aoray.wasm.native import Store


class Answer(NamedTuple):
    """What `handle` gave back: its bytes, or why there are none; and the fuel it took."""

    data: bytes
    error: str | None
    fuel: int


Handled = tuple[bytes, str | None]


class Guest:
    """A module, instantiated. Its memory is at `base`, which never moves."""

    def __init__(self, module: Module, limits: Limits) -> None:
        self.module, self.limits = module, limits
        values_max = max(_VALUES, module.facts.globals)
        self._store = Store(module.engine, module.rules, limits.memory_bytes_max, values_max)
        self._store.set_fuel(min(limits.fuel, module.rules.fuel_boot_max))
        self._instances = self._instantiate()
        export = {name: self._store.export(self._instances["glue"], name) for name in _GLUE}
        self._prepare, self._run, self._done, self._boot, self._get, self._set = export.values()
        self._memory = self._store.export(self._instances["guest"], "memory")
        self.base = self._store.memory_base(self._memory)
        self._calendar.base, self._calendar.size = self.base, _sizer(self._store, self._memory)

    def _instantiate(self) -> dict[str, Any]:
        facts = self.module.facts
        self._calendar = Calendar(facts.pointer_bytes)
        host = [self._store.host_function(self.module.host_type, self._calendar.call)] if facts.host else []
        instances: dict[str, Any] = {}
        for name, module in (
            ("shim", self.module.shim),
            ("guest", self.module.guest),
            ("glue", self.module.glue),
        ):
            links = facts.links.get(name, [])
            imports = (
                host if name == "shim" else [self._store.export(instances[of], what) for of, what in links]
            )
            instances[name], error = self._store.instantiate(module, imports)
            if error:
                raise UnsupportedModule(f"The module does not start: {error}.")
        return instances

    @property
    def size(self) -> int:
        """The memory's size in bytes."""
        return self._store.memory_size(self._memory)

    def boot(self) -> None:
        """Run the module's constructors."""
        error = self._store.call(self._boot, 1)
        if error:
            raise UnsupportedModule(f"The module does not start: {error}.")

    def answer(self, message: bytes, env: bytes, fuel: int = 0) -> Answer:
        """Hand a message to the module's `handle`, with this fuel instead of all that the process has."""
        fuel = fuel or self.limits.fuel
        self._store.set_fuel(fuel)
        calls, error = self._handled(message, env), None
        try:
            while True:
                error = self._store.call(*calls.send(error))
        except StopIteration as end:
            data, error = end.value
            return Answer(data, error, fuel - self._store.fuel())

    def answer_in_slices(self, message: bytes, env: bytes, fuel: int) -> Generator[None, None, Answer]:
        """The same, in slices of FUEL_SLICE."""
        self._store.set_fuel(fuel)
        calls, error = self._handled(message, env), None
        while True:
            try:
                call = calls.send(error)
            except StopIteration as end:
                data, error = end.value
                return Answer(data, error, fuel - self._store.fuel())
            error = yield from self._store.call_in_slices(*call, FUEL_SLICE)

    def fuel(self) -> int:
        """What is left of it."""
        return self._store.fuel()

    def _handled(self, message: bytes, env: bytes) -> Generator[tuple[Any, int], str | None, Handled]:
        """The calls to make, each with its number of words; why one failed is sent back."""
        store, words = self._store, self._store.words
        words[0], words[2] = len(message) + 1, len(env) + 1  # each ends with a NUL
        store.floats[4], words[6] = _time_and_seed(message)
        error = yield self._prepare, 4
        if error:
            return b"", error
        if not (self._write(words[2], message) and self._write(words[4], env)):
            return b"", "the module gave no room for the message"
        places = words[2], words[4]
        error = yield self._run, 3
        if error:
            return b"", error
        data, error = self._read(words[0])
        if self._done and not error:
            words[0], words[2] = places
            error = yield self._done, 2
        return data, error

    def _write(self, address: int, data: bytes) -> bool:
        size = len(data) + 1  # with the NUL that stands behind every bytes object
        if not 0 < address <= self.size - size:
            return False
        ctypes.memmove(self.base + address, data, size)
        return True

    def _read(self, address: int) -> tuple[bytes, str | None]:
        size = self.size
        if not 0 < address < size:
            return b"", "the module's answer is not in its memory"
        most = self.limits.result_bytes_max
        length = memory.find(self.base + address, 0, min(size - address, most + 1))
        if length < 0:
            return b"", f"the module's answer has no end, or is over {most} bytes"
        return ctypes.string_at(self.base + address, length), None

    def globals(self) -> tuple[int, ...]:
        """All mutable globals, as bits."""
        count = self.module.facts.globals
        self._store.set_fuel(self.limits.fuel)
        self._checked(self._store.call(self._get, count))
        return tuple(self._store.words[: 2 * count : 2])

    def set_globals(self, values: tuple[int, ...]) -> None:
        self._store.set_fuel(self.limits.fuel)
        self._store.words[: 2 * len(values) : 2] = list(values)
        self._checked(self._store.call(self._set, len(values)))

    def grow(self, size: int) -> None:
        """Make the memory as large as this."""
        self._store.grow(self._memory, (size - self.size) >> 16)

    def close(self) -> None:
        self._store.close()

    @staticmethod
    def _checked(error: str | None) -> None:
        if error:
            raise AssertionError(f"The glue failed: {error}")


_VALUES = 4  # the most that a call of the glue takes, but for the globals
_GLUE = ("prepare", "run", "done", "boot", "get_globals", "set_globals")


def _sizer(store: Store, memory: Any) -> Any:
    """The size of a memory, for the calendar, which must not hold the guest that holds it."""
    return lambda: store.memory_size(memory)


def _time_and_seed(message: bytes) -> tuple[float, int]:
    """The clock and the randomness of a message: its Timestamp in ms, and a hash of its Id."""
    try:
        fields = orjson.loads(message)
        time, identity = fields.get("Timestamp"), str(fields.get("Id"))
    except (orjson.JSONDecodeError, AttributeError):  # not ours to judge: the module gets it as it is
        return 0.0, 0
    seed = int.from_bytes(hashlib.sha256(identity.encode(errors="replace")).digest()[:8], "little")
    try:
        return float(int(time)), seed
    except (TypeError, ValueError, OverflowError):
        return 0.0, seed
