"""Rewrites a WASM binary so that all of its state can be saved, and all of its work costs fuel.

Before a module is compiled (compiler.py), `prepare` makes changes that the module's code can't notice:

* Every mutable global is exported as `aoray:global:<n>`, so that a rollback can set it.
* `memory.copy` and `memory.fill` become calls of two functions added at the end, which first spend fuel for
  the bytes (wasmtime charges one unit for either, whatever its length). Instructions without effect are put
  before each load and store: the compiler drops them, but wasmtime counts their fuel.

It refuses modules with state outside memory and globals, or with work outside fuel: code that changes its
tables or drops its segments, mutable globals that are not numbers, more than one memory, imports that are not
functions. code.py has the list of instructions that a guest may use. Whatever can't be read is refused too
(`UnsupportedModule`). wasmtime validates the module both as it came and after the rewriting, with all other
proposals switched off, so safety does not depend on this module alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aoray.errors import UnsupportedModule
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.engines import Engine as Rules
from aoray.vm.wasm import code, first_code, weight

GLOBAL = "aoray:global:"
PAGES = "aoray:pages"  # a global: how many pages the memory may have; -1 once the machine refused a page
_UNBOUNDED = 1 << 48

TYPE, IMPORT, FUNCTION, MEMORY, GLOBALS, EXPORT, CODE = 1, 2, 3, 5, 6, 7, 10
_ORDER = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)
_FUNC = 0x60
_MAGIC = b"\0asm\x01\0\0\0"
_I32, _I64 = 0x7F, 0x7E
_NUMBERS = {_I32: "i32", _I64: "i64", 0x7D: "f32", 0x7C: "f64"}


@dataclass(frozen=True, slots=True)
class RewrittenModule:
    """The rewritten binary, and the types of the mutable globals that it now exports, in order."""

    wasm: bytes
    globals: tuple[str, ...]


def prepare(wasm: bytes, rules: Rules = ENGINES[NEWEST]) -> RewrittenModule:
    """Return the module with its state reachable and its work charged. Raises `UnsupportedModule`."""
    if wasm[:8] != _MAGIC:
        raise UnsupportedModule("The module is not WASM: it does not begin with \\0asm and version 1.")
    try:
        return _Rewriter(wasm, rules).prepared()
    except IndexError as error:
        raise UnsupportedModule("The module is cut short.") from error


def outside(wasm: bytes, rules: Rules = ENGINES[NEWEST]) -> tuple[dict[int, bytes], tuple[str, ...]]:
    """Return the sections of a module by kind, and the types of its mutable globals, without reading its
    code. Raises `UnsupportedModule`."""
    if wasm[:8] != _MAGIC:
        raise UnsupportedModule("The module is not WASM: it does not begin with \\0asm and version 1.")
    try:
        rewriter = _Rewriter(wasm, rules)
        return rewriter.sections, tuple(rewriter.checked()[1])
    except IndexError as error:
        raise UnsupportedModule("The module is cut short.") from error


def unsigned(value: int) -> bytes:
    """Return a number as unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Rewriter:
    def __init__(self, wasm: bytes, rules: Rules) -> None:
        self._rules = rules
        way = code if rules.allow_list else first_code
        self._reader: type[code.Reader] = way.Reader
        self._constant_end: Callable[[bytes, int], int] = way.constant_end
        self._special: Callable[[bytes], Iterator[int]] = way.special
        self.sections: dict[int, bytes] = {}
        reader = self._reader(wasm, 8)
        while reader.position < len(wasm):
            kind = reader.byte()
            body = reader.take(reader.number())
            if kind and kind in self.sections:
                raise UnsupportedModule(f"The module has section {kind} twice.")
            if kind:  # custom sections (names, debugging) are dropped
                self.sections[kind] = body

    def checked(self) -> tuple[list[int], list[str]]:
        """Check everything except the code; return the indices of the mutable globals, and their types."""
        self._check_types()
        self._check_imports()
        unknown = set(self.sections) - set(_ORDER)
        if unknown:
            raise UnsupportedModule(f"The module has sections of unknown kinds: {sorted(unknown)}.")
        return self._mutable_globals()

    def _weigh(self) -> None:
        """Refuse a module that would take a compiler too long. A module that can't be read here is refused
        later, with the reason."""
        with contextlib.suppress(IndexError):
            weight.check(self.sections, self._rules)

    def prepared(self) -> RewrittenModule:
        indices, types = self.checked()
        functions = self._check_imports() + self._count(FUNCTION)
        if self._rules.function_weight_max:
            self._weigh()
        self._append(EXPORT, [_export(f"{GLOBAL}{n}", index) for n, index in enumerate(indices)])
        self._charge(functions)
        body = b"".join(
            bytes([kind]) + unsigned(len(section)) + section
            for kind in _ORDER
            if (section := self.sections.get(kind)) is not None
        )
        return RewrittenModule(_MAGIC + body, tuple(types))

    def _count(self, kind: int) -> int:
        return self._reader(self.sections[kind]).number() if kind in self.sections else 0

    def _append(self, kind: int, entries: list[bytes]) -> None:
        reader = self._reader(self.sections.get(kind, b"\0"))
        count = reader.number() + len(entries)
        self.sections[kind] = unsigned(count) + reader.rest() + b"".join(entries)

    def _check_types(self) -> None:
        reader = self._reader(self.sections.get(TYPE, b"\0"))
        for _ in range(reader.number()):
            if reader.byte() != _FUNC:
                raise UnsupportedModule(
                    "The module has garbage-collected types, whose values cannot be saved."
                )
            for _ in range(2):
                for _ in range(reader.number()):
                    reader.value_type()

    def _check_imports(self) -> int:
        reader = self._reader(self.sections.get(IMPORT, b"\0"))
        count = reader.number()
        for _ in range(count):
            names = b".".join(reader.take(reader.number()) for _ in range(2)).decode(errors="replace")
            if reader.byte() != 0:
                raise UnsupportedModule(f"The module imports {names}, which is not a function.")
            reader.number()
        return count

    def _mutable_globals(self) -> tuple[list[int], list[str]]:
        reader = self._reader(self.sections.get(GLOBALS, b"\0"))
        indices, types = [], []
        for index in range(reader.number()):
            kind, mutable = reader.value_type(), reader.byte()
            reader.position = self._constant_end(reader.data, reader.position)
            if mutable and kind not in _NUMBERS:
                raise UnsupportedModule("The module has a mutable global that is not a number.")
            if mutable:
                indices.append(index)
                types.append(_NUMBERS[kind])
        most = self._rules.module_globals_max
        if len(types) > most:
            raise UnsupportedModule(f"The module has over {most} mutable globals.")
        return indices, types

    def _charge(self, functions: int) -> None:
        if CODE not in self.sections or MEMORY not in self.sections:
            return
        memory = self._reader(self.sections[MEMORY])
        if memory.number() != 1:
            raise UnsupportedModule("The module has more than one memory.")
        flags, _ = memory.byte(), memory.number()
        pointer = _I64 if flags & 4 else _I32  # memory64 flag
        grow = b"\x20\x00\x40\0"
        if self._rules.growth_is_checked:
            grow = self._checked_growth(pointer, memory.number() if flags & 1 else _UNBOUNDED)
        charges = _charges(pointer, self._rules, grow)
        reader = self._reader(self.sections[CODE])
        bodies = [self._charged(reader.take(reader.number()), functions) for _ in range(reader.number())]
        types = self._count(TYPE)
        self._append(TYPE, [kind for kind, _ in charges])
        self._append(FUNCTION, [unsigned(types + n) for n in range(len(charges))])
        bodies += [body for _, body in charges]
        self.sections[CODE] = unsigned(len(bodies)) + b"".join(unsigned(len(b)) + b for b in bodies)

    def _checked_growth(self, pointer: int, pages_max: int) -> bytes:
        """Return code that grows the memory, and if that fails within the bound PAGES, sets PAGES to -1 and
        traps.

        The host sets PAGES to what the process may have before anything runs.
        """
        place = self._count(GLOBALS)
        self._append(GLOBALS, [bytes([_I64, 1]) + _i64_const(min(pages_max, _UNBOUNDED)) + b"\x0b"])
        self._append(EXPORT, [_export(PAGES, place)])
        pages, wide = unsigned(place), b"" if pointer == _I64 else b"\xad"  # i64.extend_i32_u
        minus, equal = (b"\x42\x7f", b"\x51") if pointer == _I64 else (b"\x41\x7f", b"\x46")
        more, bound = b"\x20\x00" + wide, b"\x23" + pages
        fits = more + bound + b"\x58" + b"\x3f\x00" + wide + more + b"\x7c" + bound + b"\x58\x71"
        failed = b"\x42\x7f\x24" + pages + b"\x00"
        return (
            b"\x20\x00\x40\x00\x22\x01" + minus + equal + b"\x04\x40"
            + fits + b"\x04\x40" + failed + b"\x0b\x0b\x20\x01"
        )  # fmt: skip

    def _charged(self, body: bytes, functions: int) -> bytes:
        """Return a function's body with a call at each instruction that costs more than one unit."""
        out, done = bytearray(), 0
        for position in self._special(body):
            operation = body[position : position + (2 if body[position] == 0xFC else 1)]
            if operation not in _CHARGED:
                continue
            function, size = _CHARGED[operation]
            out += body[done:position] + b"\x10" + unsigned(functions + function)
            done = position + size
        out += body[done:]
        units = self._rules.access_fuel - 1
        return code.before_accesses(bytes(out), _units(units)) if units else bytes(out)


def _units(count: int) -> bytes:
    """Return code that does nothing for this many units of fuel: i32.const 0, several i32.clz, and drop
    (which costs nothing). The compiler removes it but counts its fuel."""
    return b"\x41\x00" + b"\x67" * (count - 1) + b"\x1a"


def _export(name: str, index: int) -> bytes:
    return unsigned(len(name)) + name.encode() + b"\x03" + unsigned(index)


# Which of the added functions charges for an instruction, and how many of its bytes the call replaces (0: the
# call comes before it): memory.copy, memory.fill, memory.grow, throw and throw_ref.
_CHARGED = {b"\xfc\x0a": (0, 4), b"\xfc\x0b": (1, 3), b"\x40": (2, 2), b"\x08": (3, 0), b"\x0a": (3, 0)}


def _charges(pointer: int, rules: Rules, grow: bytes) -> list[tuple[bytes, bytes]]:
    """Return types and bodies of the functions that charge turns for a number of bytes, or for a slow
    step."""
    wide = pointer == _I64
    constant, shift = (b"\x42", b"\x88") if wide else (b"\x41", b"\x76")
    bulk = b"\x20\x02" + constant + unsigned(rules.bulk_bytes_per_turn_bits) + shift  # size >> bits
    if rules.bulk_base_turns:
        bulk += constant + unsigned(rules.bulk_base_turns) + (b"\x7c" if wide else b"\x6a")
    slow = constant + unsigned(rules.slow_step_turns)
    operands = b"\x20\x00\x20\x01\x20\x02"
    return [
        (_type([pointer, pointer, pointer], []), _body(pointer, 3, bulk, operands + b"\xfc\x0a\0\0")),
        (_type([pointer, _I32, pointer], []), _body(pointer, 3, bulk, operands + b"\xfc\x0b\0")),
        (_type([pointer], [pointer]), _body(pointer, 1, slow, grow)),
        (_type([], []), _body(pointer, 0, slow, b"")),
    ]


def _i64_const(value: int) -> bytes:
    """Return code for an i64 constant that is not negative; signed LEB128 needs a free sign bit."""
    number = bytearray(unsigned(value))
    if number[-1] & 0x40:
        number[-1] |= 0x80
        number.append(0)
    return b"\x42" + bytes(number)


def _type(params: list[int], results: list[int]) -> bytes:
    return bytes([_FUNC, len(params), *params, len(results), *results])


def _body(pointer: int, local: int, turns: bytes, then: bytes) -> bytes:
    """Return a function whose first own local counts this many turns of a loop down to zero."""
    wide = pointer == _I64
    zero, minus = (b"\x50", b"\x42\x01\x7d") if wide else (b"\x45", b"\x41\x01\x6b")
    get, put = bytes([0x20, local]), bytes([0x21, local])
    loop = b"\x02\x40\x03\x40" + get + zero + b"\x0d\x01" + get + minus + put + b"\x0c\x00\x0b\x0b"
    return bytes([1, 1, pointer]) + turns + put + loop + then + b"\x0b"
