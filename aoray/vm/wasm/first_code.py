"""The reader of WASM code of engine 1, as it was before there were versions; only processes of that engine
use it.

What these functions find and refuse, and with which texts, is part of the results of those processes. So they
must stay as they are, including their faults: they misread a block of a reference type, behind which
`table.set` can hide. Therefore no new process may have engine 1 (vm/engines.py). Later engines use code.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aoray.errors import UnsupportedModule
from aoray.vm.wasm import code

_END = 0x0B
_FORBIDDEN = {
    b"\x26": "table.set",
    b"\xfc\x08": "memory.init",
    b"\xfc\x09": "data.drop",
    b"\xfc\x0c": "table.init",
    b"\xfc\x0d": "elem.drop",
    b"\xfc\x0e": "table.copy",
    b"\xfc\x0f": "table.grow",
    b"\xfc\x11": "table.fill",
}

# Instructions with their immediates that are skipped. The last byte of a LEB128 number has no high bit.
_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_PLAIN = re.compile(
    rb"(?:[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1\xd3\xd4]"
    rb"|[\x02-\x04\x0c\x0d\x10\x12\x14\x15\x20-\x25\x3f\x41\x42\xd0\xd2\xd5\xd6]"
    + _LEB
    + rb"|[\x11\x13]"
    + _LEB * 2
    +
    # loads and stores: the alignment's bit 6 announces a memory index
    rb"|[\x28-\x3e](?:[\x00-\x3f]|[\x40-\x7f]"
    + _LEB
    + rb")"
    + _LEB
    + rb"|\x43.{4}|\x44.{8}"
    rb"|\xfc(?:[\x00-\x07]|\x10" + _LEB + rb")"
    # SIMD: memory, lane of memory, constants and shuffles, lanes, and the rest without immediates
    rb"|\xfd(?:(?:[\x00-\x0b]|[\x5c\x5d])" + _LEB * 2 + rb"|[\x54-\x5b]" + _LEB * 2 + rb".|[\x0c\x0d].{16}"
    rb"|[\x15-\x22].|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]+[\x01-\x7f]))*+",
    re.DOTALL,
)
_LEB_RE = re.compile(_LEB)


class Reader(code.Reader):
    """A reader as in code.py, which also accepts types of reference."""

    def value_type(self) -> int:
        """Read a value type, without checking it."""
        kind = self.byte()
        if kind in (0x63, 0x64):  # (ref null? heaptype)
            self.number()
        return kind


def special(body: bytes) -> Iterator[int]:
    """Yield the positions, in order, of those instructions in a function's body that `_PLAIN` does not
    match."""
    reader = Reader(body)
    for _ in range(reader.number()):
        reader.number()
        reader.value_type()
    while True:
        reader.position = _skip(body, reader.position)
        if reader.position == len(body):
            return
        _one_memory(body, reader.position)
        yield reader.position
        _step(reader)


def _skip(code: bytes, position: int) -> int:
    match = _PLAIN.match(code, position)
    return match.end() if match else position


def _step(reader: Reader) -> None:
    """Move past one instruction that `_PLAIN` does not match. Raises `UnsupportedModule` if it would escape
    fuel or rollback."""
    code, start = reader.data, reader.position
    name = _FORBIDDEN.get(code[start : start + 1]) or _FORBIDDEN.get(code[start : start + 2])
    if name:
        raise UnsupportedModule(f"The module's code uses {name}: tables and segments must stay as they are.")
    operation = reader.byte()
    if operation == 0xFC and reader.byte() in (0x0A, 0x0B):  # memory.copy, memory.fill
        reader.take(2 if code[start + 1] == 0x0A else 1)
    elif operation in (0x40, 0x08):  # memory.grow, throw
        reader.number()
    elif operation == 0x0A:  # throw_ref
        return
    elif operation == 0x0E:  # br_table
        _numbers(reader, reader.number() + 1)
    elif operation == 0x1C:  # select with types
        for _ in range(reader.number()):
            reader.value_type()
    elif operation == 0x1F:  # try_table: block type, then clauses of kind, [tag], label
        reader.number()
        for _ in range(reader.number()):
            _numbers(reader, 2 if reader.byte() < 2 else 1)
    else:
        raise UnsupportedModule(
            f"The module's code uses instruction 0x{code[start : start + 2].hex()}, unknown here."
        )


_MEMORIES = {b"\xfc\x0a": 4, b"\xfc\x0b": 3, b"\x40": 2}  # instructions that name memories, with their sizes


def _one_memory(body: bytes, position: int) -> None:
    operation = body[position : position + (2 if body[position] == 0xFC else 1)]
    if any(body[position + len(operation) : position + _MEMORIES.get(operation, 0)]):
        raise UnsupportedModule("The module has more than one memory.")


def _numbers(reader: Reader, count: int) -> None:
    for _ in range(count):
        reader.number()


def constant_end(code: bytes, position: int) -> int:
    """Return the end of a global's initial value, which must be a constant expression. Raises
    `UnsupportedModule`."""
    while True:
        if code[position] == _END:
            return position + 1
        one = re.compile(_PLAIN.pattern.removesuffix(b"*+"), re.DOTALL).match(code, position)
        if not one:
            raise UnsupportedModule("The module has a global whose initial value is not a constant.")
        position = one.end()
