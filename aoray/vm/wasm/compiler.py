"""Compiles one module, in an OS process of its own: `python -m aoray.vm.wasm.compiler WASM ARTIFACT ENGINE`.

engine.py starts this process, and kills it after limits.MODULE_COMPILE_SECONDS_MAX, since fuel does not bound
a compiler. An artifact is a checksum, `ModuleFacts`, and the guest, its shim and its glue as wasmtime
serializes them. If the engine refuses the module, the exit status is `REFUSED` and the reason is on standard
output. Any other status, or a signal, is a fault of this machine.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

import wasmtime
from wasmtime import _bindings as c

from aoray.errors import UnsupportedModule
from aoray.limits import COMPILE_BYTES_MAX, COMPILER_NICE
from aoray.vm import engines
from aoray.vm.engines import Engine as Rules
from aoray.vm.wasm import imports, rewriter, shim

NEWEST = engines.ENGINES[engines.NEWEST]
REFUSED = 3
_PR_SET_PDEATHSIG = 1
# Texts in errors of the compiler that mean the same on every machine
_LIMITS = ("Implementation limit exceeded", "Code for function is too large", "Unsupported feature")
VERSION = "1"  # covers the format of artifacts and the texts of shim.py
_HEADER = struct.Struct("<32sIIII")

# The WASM proposals that wasmtime knows; those in `Engine.proposals` are switched on.
PROPOSALS = (
    "multi_value", "reference_types", "bulk_memory", "simd", "tail_call", "memory64", "exceptions",
    "threads", "relaxed_simd", "multi_memory", "function_references", "gc", "stack_switching",
    "wide_arithmetic", "custom_page_sizes", "component_model",
)  # fmt: skip

Link = tuple[str, str]  # the name of an instance, and of its export


class ModuleFacts(NamedTuple):
    """What the engine needs to know about a compiled module."""

    pointer_bytes: int
    globals: int
    host: bool
    done: bool
    links: dict[str, list[Link]]  # the imports of `guest` and `glue`, in order


class Artifact(NamedTuple):
    """A compiled module, in the form in which it is stored."""

    facts: ModuleFacts
    shim: bytes
    guest: bytes
    glue: bytes

    def packed(self) -> bytes:
        """Return the bytes of the artifact's file, which start with a checksum."""
        parts = (json.dumps(self.facts).encode(), self.shim, self.guest, self.glue)
        body = b"".join(parts)
        return _HEADER.pack(hashlib.sha256(body).digest(), *map(len, parts)) + body


def unpacked(data: bytes) -> Artifact | None:
    """Return the artifact in a file; None if the file is damaged or incomplete."""
    if len(data) < _HEADER.size:
        return None
    digest, *sizes = _HEADER.unpack_from(data)
    if hashlib.sha256(data[_HEADER.size :]).digest() != digest or sum(sizes) != len(data) - _HEADER.size:
        return None
    parts, position = [], _HEADER.size
    for size in sizes:
        parts.append(data[position : position + size])
        position += size
    return Artifact(ModuleFacts(*json.loads(parts[0])), *parts[1:])


def configured(rules: Rules = NEWEST) -> wasmtime.Engine:
    """Return wasmtime's engine for a version of the engine: deterministic, with fuel, and with memories that
    never move."""
    config = wasmtime.Config()
    config.consume_fuel = True
    for proposal in PROPOSALS:
        setattr(config, f"wasm_{proposal}", proposal in rules.proposals)
    config.max_wasm_stack = rules.wasm_stack_bytes
    c.wasmtime_config_cranelift_nan_canonicalization_set(config.ptr(), True)
    c.wasmtime_config_memory_reservation_set(config.ptr(), rules.memory_bytes_max)
    c.wasmtime_config_memory_may_move_set(config.ptr(), False)
    return wasmtime.Engine(config)


def compiled(wasm: bytes, rules: Rules = NEWEST) -> Artifact:
    """Prepare and compile a module. Raises `UnsupportedModule`."""
    engine = configured(rules)
    prepared = rewriter.prepare(wasm, rules)
    if rules.allow_list:
        _validate(engine, wasm)
    guest = _module(engine, prepared.wasm, "does not compile")
    shape = _shape(guest, prepared.globals, rules)
    texts = shim.write(shape)
    wrong = "imports or exports a function with another type than it should have"
    around, glue = (_module(engine, text, wrong) for text in (texts.shim, texts.glue))
    links: dict[str, list[Link]] = {
        "guest": [("shim", f"{i.module}.{i.name}") for i in guest.imports],
        "glue": [(i.module, str(i.name)) for i in glue.imports],
    }
    done = any(export.name == "done" for export in glue.exports)
    facts = ModuleFacts(8 if shape.pointer == "i64" else 4, len(prepared.globals), texts.host, done, links)
    return Artifact(facts, bytes(around.serialize()), bytes(guest.serialize()), bytes(glue.serialize()))


def _validate(engine: wasmtime.Engine, wasm: bytes) -> None:
    """Refuse a module that is invalid as it came, because code.py reads only valid modules correctly."""
    try:
        wasmtime.Module.validate(engine, wasm)
    except wasmtime.WasmtimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UnsupportedModule(f"The module does not compile: {reason}") from error


def _module(engine: wasmtime.Engine, wasm: bytes | str, otherwise: str) -> wasmtime.Module:
    try:
        return wasmtime.Module(engine, wasm)
    except wasmtime.WasmtimeError as error:
        reason = str(error).splitlines()[-1].strip()
        if _is_valid(engine, wasm) and not any(limit in str(error) for limit in _LIMITS):
            raise  # this machine's fault
        raise UnsupportedModule(f"The module {otherwise}: {reason}") from error


def _is_valid(engine: wasmtime.Engine, wasm: bytes | str) -> bool:
    try:
        wasmtime.Module.validate(engine, wasmtime.wat2wasm(wasm) if isinstance(wasm, str) else wasm)
    except wasmtime.WasmtimeError:
        return False
    return True


def _shape(module: wasmtime.Module, globals_: tuple[str, ...], rules: Rules) -> imports.Shape:
    exports: dict[str, Any] = {export.name: export.type for export in module.exports}
    memory, table = exports.get("memory"), exports.get("__indirect_function_table")
    if not isinstance(memory, wasmtime.MemoryType):
        raise UnsupportedModule("The module does not export a memory named memory.")
    pages = memory.limits.max or 1 << 16
    return imports.Shape(
        pointer="i64" if memory.is_64 else "i32",
        imports={(i.module, str(i.name)): _function(i.type) for i in module.imports},
        exports={
            name: _function(kind) for name, kind in exports.items() if isinstance(kind, wasmtime.FuncType)
        },
        globals=globals_,
        memory_pages_max=min(pages, rules.memory_bytes_max >> 16),
        table_elements=table.limits.min if isinstance(table, wasmtime.TableType) else 0,
        bounded=rewriter.PAGES in exports,
        rules=rules,
    )


def _function(kind: Any) -> imports.Function:
    return imports.Function(tuple(map(str, kind.params)), tuple(map(str, kind.results)))


def _die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, since only the parent stops it after its
    time."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(source: str, target: str, engine: str) -> int:
    """Compile the module in the file `source` into the file `target`, under that version of the engine;
    return the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (COMPILE_BYTES_MAX, COMPILE_BYTES_MAX))
    _die_with_parent()
    os.nice(COMPILER_NICE)  # evaluation has priority
    try:
        artifact = compiled(Path(source).read_bytes(), engines.ENGINES[int(engine)])
    except UnsupportedModule as error:
        sys.stdout.write(error.message)
        return REFUSED
    Path(target).write_bytes(artifact.packed())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
