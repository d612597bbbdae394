"""Bindings of wasmtime's C interface, where the Python interface is too slow: calls with prebuilt buffers (3
µs instead of 60 µs).

A `Store` is one wasmtime store with its fuel; it makes instances, finds their exports and calls them.
Arguments and results are 64-bit words in `words` (two words for each value, of which the second is unused).
Each call returns None, or a text that says why the guest stopped; this text depends only on the guest. On
failure of this machine (such as no room for a memory): `Unavailable`, never such a text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Sequence
from typing import Any

import wasmtime
from wasmtime import _bindings as c

from aoray.errors import Unavailable
from aoray.vm.engines import Engine as Rules

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)((name, c.dll))


_call = _function("wasmtime_func_call_unchecked", _POINTER, _POINTER, _POINTER, _POINTER, _SIZE, _POINTER)
_set_fuel = _function("wasmtime_context_set_fuel", _POINTER, _POINTER, ctypes.c_uint64)
_get_fuel = _function("wasmtime_context_get_fuel", _POINTER, _POINTER, _POINTER)
_data = _function("wasmtime_memory_data", _POINTER, _POINTER, _POINTER)
_data_size = _function("wasmtime_memory_data_size", _SIZE, _POINTER, _POINTER)
_grow = _function("wasmtime_memory_grow", _POINTER, _POINTER, _POINTER, ctypes.c_uint64, _POINTER)
_new = _function("wasmtime_instance_new", _POINTER, _POINTER, _POINTER, _POINTER, _SIZE, _POINTER, _POINTER)
_export = _function(
    "wasmtime_instance_export_get", ctypes.c_bool, _POINTER, _POINTER, ctypes.c_char_p, _SIZE, _POINTER
)

_start = _function(
    "wasmtime_func_call_async",
    _POINTER,
    _POINTER,
    _POINTER,
    _POINTER,
    _SIZE,
    _POINTER,
    _SIZE,
    _POINTER,
    _POINTER,
)
_type = _function("wasmtime_func_type", _POINTER, _POINTER, _POINTER)
_poll = _function("wasmtime_call_future_poll", ctypes.c_bool, _POINTER)
_cancel = _function("wasmtime_call_future_delete", None, _POINTER)
_yield_after = _function("wasmtime_context_fuel_async_yield_interval", _POINTER, _POINTER, ctypes.c_uint64)
_KINDS = {"i32": 0, "i64": 1, "f32": 2, "f64": 3}

OUT_OF_FUEL = "out of compute"
_REASONS = {
    wasmtime.TrapCode.STACK_OVERFLOW: "the call stack is exhausted",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "memory access out of bounds",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "table access out of bounds",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "call of a function that is not there",
    wasmtime.TrapCode.BAD_SIGNATURE: "call of a function of another type",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "integer overflow",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "integer division by zero",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "a number does not fit into an integer",
    wasmtime.TrapCode.UNREACHABLE: "unreachable (abort)",
    wasmtime.TrapCode.OUT_OF_FUEL: OUT_OF_FUEL,
}

# Texts in errors of wasmtime for a module that asks for more than its engine or its process may have
_OVER_BOUNDS = ("exceeds memory limits", "exceeds table limits", "resource limit exceeded")
_THROWN = "thrown Wasm exception"

Export = Any  # a wasmtime_extern_t: a kind, and a union of what that kind needs


class Store:
    """The wasmtime store of one guest, whose instances live and die together. It is used by one thread at a
    time."""

    def __init__(self, engine: wasmtime.Engine, rules: Rules, memory_bytes_max: int, values_max: int) -> None:
        self._store = wasmtime.Store(engine)
        self._store.set_limits(
            memory_size=min(memory_bytes_max, rules.memory_bytes_max),
            table_elements=rules.table_elements_max,
            tables=rules.tables_max,
            memories=2,  # the guest's, and the shim's where it handles C++ exceptions
        )
        self._context = ctypes.cast(self._store._context(), _POINTER).value
        self.words = (ctypes.c_uint64 * (2 * values_max))()
        self.floats = (ctypes.c_double * (2 * values_max)).from_buffer(self.words)
        self._words = ctypes.addressof(self.words)
        self._trap = _POINTER()
        self._trap_at = ctypes.addressof(self._trap)
        self._fuel = ctypes.c_uint64()
        self._fuel_at = ctypes.addressof(self._fuel)

    def host_function(self, kind: wasmtime.FuncType, function: Any) -> Export:
        """Return a Python function as an export that instances of this store can import. The function must
        not raise."""
        return wasmtime.Func(self._store, kind, function)._as_extern()

    def instantiate(self, module: wasmtime.Module, imports: Sequence[Export]) -> tuple[Any, str | None]:
        """Make an instance; return it, and why its start function stopped."""
        externs = (c.wasmtime_extern_t * len(imports))(*imports)
        instance = c.wasmtime_instance_t()
        error = _new(
            self._context, module.ptr(), externs, len(imports), ctypes.addressof(instance), self._trap_at
        )
        return instance, self._reason(error)

    def export(self, instance: Any, name: str) -> Export:
        """Return an export of an instance; None if there is none of this name."""
        item, encoded = c.wasmtime_extern_t(), name.encode()
        found = _export(
            self._context, ctypes.addressof(instance), encoded, len(encoded), ctypes.addressof(item)
        )
        return item if found else None

    def call(self, function: Export, words: int) -> str | None:
        """Call an exported function. `words` is the number of its arguments or results, whichever is larger;
        the values are in the attribute `words`."""
        error = _call(self._context, address(function), self._words, words, self._trap_at)
        if error is None and self._trap.value is None:
            return None
        return self._reason(error)

    def call_in_slices(self, function: Export, words: int, fuel: int) -> Generator[None, None, str | None]:
        """Call an exported function on a stack of its own. The generator yields after each `fuel` units of
        fuel.

        Results and spent fuel are those of `call`. Closing the generator ends the call where it is.
        """
        kind = wasmtime.FuncType._from_ptr(
            ctypes.cast(_type(self._context, address(function)), ctypes.POINTER(c.wasm_functype_t)), None
        )
        params, results = ([str(each) for each in side] for side in (kind.params, kind.results))
        assert max(len(params), len(results)) <= words
        given, found = (c.wasmtime_val_t * len(params))(), (c.wasmtime_val_t * len(results))()
        for n, name in enumerate(params):
            given[n].kind, given[n].of.i64 = _KINDS[name], self.words[2 * n]
        error = _POINTER()
        _yield_after(self._context, fuel)
        call = _start(
            self._context, address(function), ctypes.addressof(given), len(given), ctypes.addressof(found),
            len(found), self._trap_at, ctypes.addressof(error),
        )  # fmt: skip
        try:
            while not _poll(call):
                yield
        finally:
            _cancel(call)
        for n in range(len(found)):
            self.words[2 * n] = found[n].of.i64
        return self._reason(error.value)

    def set_fuel(self, fuel: int) -> None:
        """Set the fuel that the guest may spend."""
        _set_fuel(self._context, fuel)

    def fuel(self) -> int:
        """Return the fuel that is left."""
        _get_fuel(self._context, self._fuel_at)
        return int(self._fuel.value)

    def memory_base(self, memory: Export) -> int:
        """Return the address of a memory."""
        return int(_data(self._context, address(memory)))

    def memory_size(self, memory: Export) -> int:
        """Return the size of a memory in bytes."""
        return int(_data_size(self._context, address(memory)))

    def grow(self, memory: Export, pages: int) -> None:
        """Grow a memory by this number of 64 KiB pages, which the guest had before. Raises `Unavailable` if
        this machine can't."""
        before = ctypes.c_uint64()
        error = _grow(self._context, address(memory), pages, ctypes.addressof(before))
        if error:
            raise Unavailable(f"a memory can't grow to what it was: {self._reason(error)}")

    def close(self) -> None:
        """Release all instances and their memories."""
        self._store.close()

    def _reason(self, error: int | None) -> str | None:
        """Return the text that says why the guest stopped, and free wasmtime's error or trap."""
        if error is not None:
            pointer = ctypes.cast(error, ctypes.POINTER(c.wasmtime_error_t))
            return reason_of(str(wasmtime.WasmtimeError._from_ptr(pointer)))
        if self._trap.value is None:
            return None
        trap = wasmtime.Trap._from_ptr(ctypes.cast(self._trap, ctypes.POINTER(c.wasm_trap_t)))
        self._trap.value = None
        return _REASONS.get(trap.trap_code, "trap") if trap.trap_code else reason_of(trap.message)


def reason_of(text: str) -> str:
    """Return why the guest stopped, given an error of wasmtime that is not a trap. Raises `Unavailable`
    unless the guest caused it."""
    if _THROWN in text:
        return "uncaught exception"
    first = text.splitlines()[0] if text else "nothing was said"
    if any(bound in first for bound in _OVER_BOUNDS):
        return first
    raise Unavailable(f"WASM can't be run on this machine: {first}")


def address(export: Export) -> int:
    """Return the address of wasmtime's description of an exported function or memory."""
    return ctypes.addressof(export) + int(c.wasmtime_extern_t.of.offset)
