"""What a module imports and exports, read from its bytes: enough to say whether it can run here.

With it a gateway refuses in words, at the spawn, what no message could run (`refuse_at_once`), and who
publishes a module learns the same of its code (`refuse_before_publishing`). Neither compiles anything, and
nothing relies on them: whoever runs a module checks all of it again (compiler.py).
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
    """Return the outline of a module's sections, by their kinds. Raises `UnsupportedModule` or IndexError
    for what is malformed."""
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
    """Raises `UnsupportedModule` if what the module imports or exports, or a section besides its code, is
    nothing that an engine here runs. Takes milliseconds."""
    if len(wasm) > rules.module_bytes_max:
        raise TooLarge(f"The module has {len(wasm)} bytes; {rules.module_bytes_max} are allowed.")
    sections, globals_ = rewriter.outside(wasm, rules)
    try:
        found = outline(sections)
    except (IndexError, KeyError) as error:
        raise UnsupportedModule("The module's imports or exports cannot be read.") from error
    shim.write(shape_of(found, globals_, rules))


def refuse_before_publishing(wasm: bytes, rules: Rules = ENGINES[NEWEST]) -> None:
    """Refuse what `refuse_at_once` refuses, after a look at all of the code as well. A module of some MB
    takes a second."""
    refuse_at_once(wasm, rules)
    rewriter.prepare(wasm, rules)


def shape_of(found: Outline, globals_: tuple[str, ...], rules: Rules) -> Shape:
    """Return the shape that the shim is written for."""
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
        bounded=False,  # that comes with its preparation
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
