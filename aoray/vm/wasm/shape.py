"""What a module imports and exports, read from its bytes without compiling: whether it can run here.

At a spawn, a gateway refuses a module that could run no message, and says why (`refuse_at_once`); before a
module is published, all of its code is checked as well (`refuse_before_publishing`). Security does not rely
on these checks: whoever runs a module makes all of them again (compiler.py).
"""

from __future__ import annotations

from typing import NamedTuple

from aoray.errors import TooLarge, UnsupportedModule
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.engines import Engine as Rules
from aoray.vm.wasm import rewriter, shim
from aoray.vm.wasm.code import Reader
from aoray.vm.wasm.imports import Function, Shape

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, EXPORT = 1, 2, 3, 4, 5, 7
_NAMES = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
    0x69: "exnref",
}  # fmt: skip


class Limit(NamedTuple):
    """The least and the greatest size of a memory (in pages of 64 KiB) or a table (in elements)."""

    least: int
    most: int | None
    wide: bool  # whether addresses have 64 bits


class Outline(NamedTuple):
    """The imports and exports of a module."""

    imports: dict[tuple[str, str], Function]
    functions: dict[str, Function]
    memories: dict[str, Limit]
    tables: dict[str, Limit]


def outline(sections: dict[int, bytes]) -> Outline:
    """Return the outline of a module, given its sections by kind. Raises `UnsupportedModule`, or IndexError
    if the sections are malformed."""
    types = _types(Reader(sections.get(TYPE, b"\0")))
    imports = {
        (module, name): types[index] for module, name, index in _imports(Reader(sections.get(IMPORT, b"\0")))
    }
    own = Reader(sections.get(FUNCTION, b"\0"))
    functions = [*imports.values(), *(types[own.number()] for _ in range(own.number()))]
    memories = _limits(Reader(sections.get(MEMORY, b"\0")))
    tables = _limits(Reader(sections.get(TABLE, b"\0")), typed=True)
    found = Outline(imports, {}, {}, {})
    exports = Reader(sections.get(EXPORT, b"\0"))
    for _ in range(exports.number()):
        name, kind, index = _name(exports), exports.byte(), exports.number()
        if kind == 0:
            found.functions[name] = functions[index]
        elif kind == 1:
            found.tables[name] = tables[index]
        elif kind == 2:
            found.memories[name] = memories[index]
    return found


def refuse_at_once(wasm: bytes, rules: Rules = ENGINES[NEWEST]) -> None:
    """Raise `UnsupportedModule` (or `TooLarge`) if imports, exports, or sections other than the code can't
    run on any engine here. Takes milliseconds."""
    if len(wasm) > rules.module_bytes_max:
        raise TooLarge(f"The module has {len(wasm)} bytes; {rules.module_bytes_max} are allowed.")
    sections, globals_ = rewriter.outside(wasm, rules)
    try:
        found = outline(sections)
    except (IndexError, KeyError) as error:
        raise UnsupportedModule("The module's imports or exports cannot be read.") from error
    shim.write(shape_of(found, globals_, rules))


def refuse_before_publishing(wasm: bytes, rules: Rules = ENGINES[NEWEST]) -> None:
    """Raise what `refuse_at_once` raises, and `UnsupportedModule` for the module's code. A module of some MB
    takes a second."""
    refuse_at_once(wasm, rules)
    rewriter.prepare(wasm, rules)


def shape_of(found: Outline, globals_: tuple[str, ...], rules: Rules) -> Shape:
    """Return the shape for which the shim is written. Raises `UnsupportedModule` for a missing or too large
    memory."""
    memory, table = found.memories.get("memory"), found.tables.get("__indirect_function_table")
    if memory is None:
        raise UnsupportedModule("The module does not export a memory named memory.")
    if memory.least << 16 > rules.memory_bytes_max:
        most = rules.memory_bytes_max
        raise UnsupportedModule(
            f"The module's memory has {memory.least << 16} bytes; at most {most} are granted."
        )
    return Shape(
        pointer="i64" if memory.wide else "i32",
        imports=found.imports,
        exports=found.functions,
        globals=globals_,
        memory_pages_max=min(memory.most or 1 << 16, rules.memory_bytes_max >> 16),
        table_elements=table.least if table else 0,
        bounded=False,  # only a rewritten module has the bound
        rules=rules,
    )


def _name(reader: Reader) -> str:
    return reader.take(reader.number()).decode(errors="replace")


def _types(reader: Reader) -> list[Function]:
    found = []
    for _ in range(reader.number()):
        if reader.byte() != 0x60:
            raise UnsupportedModule("The module has garbage-collected types, whose values cannot be saved.")
        params, results = (
            tuple(_NAMES[reader.value_type()] for _ in range(reader.number())) for _ in range(2)
        )
        found.append(Function(params, results))
    return found


def _imports(reader: Reader) -> list[tuple[str, str, int]]:
    found = []
    for _ in range(reader.number()):
        module, name = _name(reader), _name(reader)
        if reader.byte() != 0:
            raise UnsupportedModule(f"The module imports {module}.{name}, which is not a function.")
        found.append((module, name, reader.number()))
    return found


def _limits(reader: Reader, *, typed: bool = False) -> list[Limit]:
    found = []
    for _ in range(reader.number()):
        if typed:
            reader.value_type()
        flags = reader.byte()
        least = reader.number()
        found.append(Limit(least, reader.number() if flags & 1 else None, bool(flags & 4)))
    return found
