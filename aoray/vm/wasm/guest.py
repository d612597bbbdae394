"""A guest: one live copy of a module, with its store and instances; how a message is passed in and an answer
read.

A guest does not roll back (instance.py does): after an error its memory is whatever the error left. A message
costs two calls into WASM, `prepare` and `run` of the glue (shim.py), and copies into and out of the guest's
memory. Every address that the guest gives is checked against the size of the memory before it is used. A
fault of this machine is raised (`Unavailable`), and never becomes an error of the guest.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from aoray.errors import Unavailable, UnsupportedModule
from aoray.limits import FUEL_SLICE
from aoray.vm.interface import Limits
from aoray.vm.wasm import memory
from aoray.vm.wasm.calendar import Calendar
from aoray.vm.wasm.native import Store

if TYPE_CHECKING:
    from aoray.vm.wasm.engine import WasmModule


class GuestAnswer(NamedTuple):
    """The answer of `handle`: its bytes, or the error why there are none, and the fuel that it took."""

    data: bytes
    error: str | None
    fuel: int


Handled = tuple[bytes, str | None]


class Guest:
    """An instance of a module. Its memory is at the address `base`, which never changes."""

    def __init__(self, module: WasmModule, limits: Limits) -> None:
        self.module, self.limits = module, limits
        values_max = max(_VALUES, module.facts.globals)
        self._store = Store(module.engine, module.rules, limits.memory_bytes_max, values_max)
        self._store.set_fuel(min(limits.fuel, module.rules.fuel_boot_max))
        self._instances = self._instantiate()
        export = {name: self._store.export(self._instances["glue"], name) for name in _GLUE}
        self._prepare, self._run, self._done, self._boot, self._get, self._set, self._bound = export.values()
        self._memory = self._store.export(self._instances["guest"], "memory")
        self.base = self._store.memory_base(self._memory)
        self._calendar.base, self._calendar.size = self.base, _sizer(self._store, self._memory)
        self._bounded(limits.memory_bytes_max >> 16)

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
        """The size of the memory in bytes."""
        return self._store.memory_size(self._memory)

    def boot(self) -> None:
        """Run the module's constructors. Raises `UnsupportedModule` if they fail."""
        error = self._store.call(self._boot, 1)
        if error:
            self._check_machine()
            raise UnsupportedModule(f"The module does not start: {error}.")

    def answer(self, message: bytes, env: bytes, fuel: int = 0) -> GuestAnswer:
        """Pass a message to the module's `handle`, with this fuel, or with all that the process may use if
        `fuel` is 0."""
        fuel = fuel or self.limits.fuel
        self._store.set_fuel(fuel)
        calls, error = self._handled(message, env), None
        try:
            while True:
                error = self._store.call(*calls.send(error))
        except StopIteration as end:
            return self._answer(end.value, fuel)

    def _answer(self, handled: Handled, fuel: int) -> GuestAnswer:
        """Return the answer to a message that had this fuel. Raises `Unavailable` if this machine failed."""
        data, error = handled
        answer = GuestAnswer(data, error, fuel - self._store.fuel())
        if error:
            self._check_machine()
        return answer

    def _check_machine(self) -> None:
        """Raise `Unavailable` if this machine caused the last error, and not the guest."""
        if self._calendar.fault is not None:
            fault, self._calendar.fault = self._calendar.fault, None
            raise Unavailable(f"the calendar failed: {fault!r}") from fault
        if self._bounded(_REFUSED) == _REFUSED:
            raise Unavailable("a memory can't grow, though its process may have more")

    def _bounded(self, pages: int) -> int:
        """Lower the bound of the memory to this number of pages; return the bound, or _REFUSED if this
        machine let the memory not grow."""
        if not self._bound:
            return 0
        fuel = self._store.fuel()
        self._store.set_fuel(_OWN_FUEL)
        self._store.words[0] = pages
        self._checked(self._store.call(self._bound, 1))
        self._store.set_fuel(fuel)
        return self._store.words[0]

    def answer_in_slices(self, message: bytes, env: bytes, fuel: int) -> Generator[None, None, GuestAnswer]:
        """Run `answer` in slices of FUEL_SLICE: yield after each slice, and return the answer."""
        self._store.set_fuel(fuel)
        calls, error = self._handled(message, env), None
        while True:
            try:
                call = calls.send(error)
            except StopIteration as end:
                return self._answer(end.value, fuel)
            error = yield from self._store.call_in_slices(*call, FUEL_SLICE)

    def fuel(self) -> int:
        """Return the fuel that is left."""
        return self._store.fuel()

    def _handled(self, message: bytes, env: bytes) -> Generator[tuple[Any, int], str | None, Handled]:
        """Yield the calls to make, each with its number of words; the error of each call, or None, is sent
        back."""
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
        """Return all mutable globals, as bits."""
        count = self.module.facts.globals
        self._store.set_fuel(_OWN_FUEL)
        self._checked(self._store.call(self._get, count))
        return tuple(self._store.words[: 2 * count : 2])

    def set_globals(self, values: tuple[int, ...]) -> None:
        """Set all mutable globals, given as bits."""
        self._store.set_fuel(_OWN_FUEL)
        self._store.words[: 2 * len(values) : 2] = list(values)
        self._checked(self._store.call(self._set, len(values)))

    def grow(self, size: int) -> None:
        """Grow the memory to this size in bytes. Raises `Unavailable` if this machine can't."""
        self._store.grow(self._memory, (size - self.size) >> 16)

    def close(self) -> None:
        """Release the instances and their memory."""
        self._store.close()

    @staticmethod
    def _checked(error: str | None) -> None:
        if error:
            raise AssertionError(f"The glue failed: {error}")


_VALUES = 4  # the most values that a call of the glue takes, except for globals
_GLUE = ("prepare", "run", "done", "boot", "get_globals", "set_globals", "bound")
_REFUSED = 2**64 - 1  # the bound of a memory that this machine did not let grow (rewriter.PAGES)
_OWN_FUEL = 1_000_000  # for calls of the glue outside of a message


def _sizer(store: Store, memory: Any) -> Any:
    """Return a function that gives the size of a memory. It does not refer to the guest, since the guest
    refers to it."""
    return lambda: store.memory_size(memory)


def _time_and_seed(message: bytes) -> tuple[float, int]:
    """Return the clock and the seed of randomness for a message: its Timestamp in ms, and a hash of its
    Id."""
    try:
        fields = orjson.loads(message)
        time, identity = fields.get("Timestamp"), str(fields.get("Id"))
    except (orjson.JSONDecodeError, AttributeError):  # the module decides what to do with such a message
        return 0.0, 0
    seed = int.from_bytes(hashlib.sha256(identity.encode(errors="replace")).digest()[:8], "little")
    try:
        return float(int(time)), seed
    except (TypeError, ValueError, OverflowError):
        return 0.0, seed
