"""Reads WASM code: where each instruction of a function starts, and which instructions a guest may use.

The table below is an allow-list. It has the instructions of WASM 2.0, 64-bit memories, tail calls, and
exceptions with `try_table`, except those that change tables or drop segments: such changes would be state
outside memory and globals, which no rollback or checkpoint covers. A module with any other instruction is
refused (`UnsupportedModule`), with the name of the instruction if it has one here. Immediates are read in
full. A form that is not in the table (a memory or type index of another proposal, a longer spelling of an
opcode) is refused as well, never guessed. tests/fuzz/test_scanner_fuzz.py compares all of this with another
parser on generated modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from aoray.errors import UnsupportedModule

_LEB = rb"[\x80-\xff]*[\x00-\x7f]"  # the last byte of a LEB128 number has no high bit
_VALUE_TYPE = rb"[\x7b-\x7f\x70\x6f\x69]"  # numbers, v128, funcref, externref, exnref
# The type of a block: none, one value, or an index (a positive number, so its last byte has no sign bit).
_BLOCK_TYPE = rb"(?:\x40|" + _VALUE_TYPE + rb"|[\x80-\xff]*[\x00-\x3f])"
_MEMORY_ARGUMENT = rb"[\x00-\x3f]" + _LEB  # alignment (bit 6 would mean that a memory index follows), offset
_CATCH = rb"(?:[\x00\x01]" + _LEB * 2 + rb"|[\x02\x03]" + _LEB + rb")"

# Instructions that are skipped: one pattern for each form of immediates.
_PLAIN = (
    # unreachable, nop, else, end, return, drop, select, numbers, ref.is_null
    rb"[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]"
    # br, br_if, call, return_call, locals, globals, table.get, constants, ref.func
    rb"|[\x0c\x0d\x10\x12\x20-\x25\x41\x42\xd2]" + _LEB,
    rb"[\x02-\x04]" + _BLOCK_TYPE,
    rb"[\x11\x13]" + _LEB * 2,  # call_indirect, return_call_indirect
    rb"\x3f\x00",  # memory.size
    rb"\x43.{4}|\x44.{8}",  # f32.const, f64.const
    rb"\xd0[\x70\x6f\x69]",  # ref.null
    rb"\xfc(?:[\x00-\x07]|\x10" + _LEB + rb")",  # conversions that saturate; table.size
    # SIMD: constants and shuffles, lanes, and the rest
    rb"\xfd(?:[\x0c\x0d].{16}|[\x15-\x22].|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]\x01)",
)
# Loads and stores: of numbers, of vectors, of a lane.
_ACCESS = (
    rb"[\x28-\x3e]" + _MEMORY_ARGUMENT,
    rb"\xfd(?:[\x00-\x0b\x5c\x5d]" + _MEMORY_ARGUMENT + rb"|[\x54-\x5b]" + _MEMORY_ARGUMENT + rb".)",
)
ONE = re.compile(b"|".join((*_PLAIN, *_ACCESS)), re.DOTALL)
_RUN = re.compile(b"(?:" + b"|".join((*_PLAIN, *_ACCESS)) + b")*+", re.DOTALL)
_TO_ACCESS = re.compile(b"(?:" + b"|".join(_PLAIN) + b")*+", re.DOTALL)
_ACCESS_RE = re.compile(b"|".join(_ACCESS), re.DOTALL)

_LEB_RE = re.compile(_LEB)
_CATCH_RE = re.compile(_CATCH)
_BLOCK_TYPE_RE = re.compile(_BLOCK_TYPE)
_VALUE_TYPE_RE = re.compile(_VALUE_TYPE)

_STATE = "tables and segments must stay as they are"
_OLD_EXCEPTIONS = (
    "the exceptions of before 2025; compile it with -sWASM_LEGACY_EXCEPTIONS=0 (emscripten) or -mllvm"
    " -wasm-use-legacy-eh=false (clang), or translate it with wasm-opt --translate-to-exnref"
)
_REFERENCES = "typed function references, which are not supported"
_REFUSED: Mapping[bytes, tuple[str, str]] = {
    b"\x26": ("table.set", _STATE),
    b"\xfc\x08": ("memory.init", _STATE),
    b"\xfc\x09": ("data.drop", _STATE),
    b"\xfc\x0c": ("table.init", _STATE),
    b"\xfc\x0d": ("elem.drop", _STATE),
    b"\xfc\x0e": ("table.copy", _STATE),
    b"\xfc\x0f": ("table.grow", _STATE),
    b"\xfc\x11": ("table.fill", _STATE),
    b"\x06": ("try", _OLD_EXCEPTIONS),
    b"\x07": ("catch", _OLD_EXCEPTIONS),
    b"\x09": ("rethrow", _OLD_EXCEPTIONS),
    b"\x18": ("delegate", _OLD_EXCEPTIONS),
    b"\x19": ("catch_all", _OLD_EXCEPTIONS),
    b"\x14": ("call_ref", _REFERENCES),
    b"\x15": ("return_call_ref", _REFERENCES),
    b"\xd4": ("ref.as_non_null", _REFERENCES),
    b"\xd5": ("br_on_null", _REFERENCES),
    b"\xd6": ("br_on_non_null", _REFERENCES),
}
_PROPOSALS: Mapping[int, str] = {
    0xD3: "of garbage-collected types",
    0xFB: "of garbage-collected types",
    0xFE: "of threads",
}


class Reader:
    """A reader of numbers and names from bytes. Reading past the end raises IndexError."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def byte(self) -> int:
        """Read one byte."""
        self.position += 1
        return self.data[self.position - 1]

    def number(self) -> int:
        """Read an unsigned LEB128 number."""
        value = shift = 0
        while (byte := self.byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def take(self, size: int) -> bytes:
        """Read this many bytes."""
        if self.position + size > len(self.data):
            raise IndexError
        self.position += size
        return self.data[self.position - size : self.position]

    def rest(self) -> bytes:
        """Return the bytes from the present position to the end, without moving."""
        return self.data[self.position :]

    def past(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        """Read the bytes that match a pattern. Raises `UnsupportedModule`, which names `what`, if they do not
        match."""
        match = pattern.match(self.data, self.position)
        if match is None:
            if self.position >= len(self.data):
                raise IndexError
            raise UnsupportedModule(
                f"The module has {what} of kind 0x{self.data[self.position]:02x}, which is not supported:"
                " typed references and garbage-collected types cannot be saved."
            )
        self.position = match.end()
        return match[0]

    def value_type(self) -> int:
        """Read a value type."""
        return self.past(_VALUE_TYPE_RE, "a type")[0]


def special(body: bytes) -> Iterator[int]:
    """Yield the positions, in order, of those instructions in a function's body that `_PLAIN` and `_ACCESS`
    do not match."""
    reader = Reader(body)
    _locals(reader)
    while True:
        reader.position = _RUN.match(body, reader.position).end()  # type: ignore[union-attr]
        if reader.position == len(body):
            return
        yield reader.position
        _step(reader)


def before_accesses(body: bytes, put: bytes) -> bytes:
    """Return a function's body with the code `put` inserted before each load and store."""
    reader, done = Reader(body), 0
    parts: list[bytes] = []
    _locals(reader)
    while True:
        reader.position = _TO_ACCESS.match(body, reader.position).end()  # type: ignore[union-attr]
        if reader.position == len(body):
            return b"".join((*parts, body[done:]))
        access = _ACCESS_RE.match(body, reader.position)
        if access:
            parts += body[done : access.start()], put, access[0]
            reader.position = done = access.end()
        else:
            _step(reader)


def instructions(body: bytes) -> Iterator[int]:
    """Yield the position of each instruction in a function's body."""
    reader = Reader(body)
    _locals(reader)
    while reader.position < len(body):
        yield reader.position
        step(reader)


def constant_end(code: bytes, position: int) -> int:
    """Return the end of a global's initial value, which must be a constant expression. Raises
    `UnsupportedModule`."""
    while code[position] != 0x0B:
        one = ONE.match(code, position)
        if not one:
            raise UnsupportedModule("The module has a global whose initial value is not a constant.")
        position = one.end()
    return position + 1


def _locals(reader: Reader) -> None:
    for _ in range(reader.number()):
        reader.number()
        reader.value_type()


def step(reader: Reader) -> None:
    """Move past one instruction. Raises `UnsupportedModule` if a guest may not use it."""
    match = ONE.match(reader.data, reader.position)
    if match:
        reader.position = match.end()
    else:
        _step(reader)


def _step(reader: Reader) -> None:
    """Move past one instruction that `ONE` does not match. Raises `UnsupportedModule` if a guest may not use
    it."""
    code, start = reader.data, reader.position
    operation = reader.byte()
    if operation == 0xFC and code[start + 1] in (0x0A, 0x0B):  # memory.copy, memory.fill
        reader.position += 1
        _memories(reader, 2 if code[start + 1] == 0x0A else 1)
    elif operation == 0x40:  # memory.grow
        _memories(reader, 1)
    elif operation == 0x08:  # throw
        reader.past(_LEB_RE, "a tag")
    elif operation == 0x0A:  # throw_ref
        return
    elif operation == 0x0E:  # br_table
        for _ in range(reader.number() + 1):
            reader.past(_LEB_RE, "a label")
    elif operation == 0x1C:  # select with types
        for _ in range(reader.number()):
            reader.value_type()
    elif operation == 0x1F:  # try_table
        reader.past(_BLOCK_TYPE_RE, "a block's type")
        for _ in range(reader.number()):
            reader.past(_CATCH_RE, "a catch clause")
    else:
        _refuse(code[start : start + 3])


def _memories(reader: Reader, count: int) -> None:
    if any(reader.take(count)):
        raise UnsupportedModule("The module has more than one memory.")


def _refuse(code: bytes) -> None:
    name, why = _REFUSED.get(code[:1]) or _REFUSED.get(code[:2]) or (None, None)
    if name:
        raise UnsupportedModule(f"The module's code uses {name}: {why}.")
    if code[0] in (0x02, 0x03, 0x04):
        raise UnsupportedModule(
            f"The module's code has a block of a type of kind 0x{code[1:2].hex()}, which is not supported:"
            " typed references and garbage-collected types cannot be saved."
        )
    of = _PROPOSALS.get(code[0], "")
    if code[0] == 0xFD and code[2:3] == b"\2":
        of = "of relaxed SIMD"
    elif code[0] == 0xFC and code[1:2] in b"\x13\x14\x15\x16":
        of = "of wide arithmetic"
    raise UnsupportedModule(
        f"The module's code uses instruction 0x{code[:2].hex()}{of and ' '}{of}, which is not supported."
    )
