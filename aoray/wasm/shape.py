"""What a module imports and exports, read from its bytes: enough to say whether it can run here.

compile.py writes the shim for what this says, and `Outline.checked` lets a gateway or a command refuse in
words what no engine would run, without compiling anything. wasmtime checks all of it again.
"""

from __future__ import annotations

from typing import NamedTuple

from aoray.errors import UnsupportedModule
from aoray.wasm.code import Reader
from aoray.wasm.imports import Function

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, EXPORT = 1, 2, 3, 4, 5, 7
_NAMES = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
    0x69: "exnref",
}  # fmt: skip


class Limit(NamedTuple):
    """The size of a memory or a table."""

    least: int
    most: int | None
    wide: bool  # with 64-bit addresses


class Outline(NamedTuple):
    """A module from outside."""

    imports: dict[tuple[str, str], Function]
    functions: dict[str, Function]
    memories: dict[str, Limit]
    tables: dict[str, Limit]


def outline(sections: dict[int, bytes]) -> Outline:
    """Of a module's sections, by their kinds; what is malformed raises `UnsupportedModule` or IndexError."""
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
