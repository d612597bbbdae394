"""The weight of a module for the compiler, read from its code; a module that is too heavy is refused
everywhere.

The time and memory of a compiler grow with the square of some numbers that a few bytes can make large: locals
times the places where control flow joins, loops, and values that are carried into blocks or live across
calls. These are counted before anything validates or compiles a module, and have bounds in its engine. So
what is refused does not depend on the speed or the memory of the machine that compiles.

A unit of weight is about a millisecond of a 2.5 GHz core. Measured: the heaviest function of public AO
modules (llama's) weighs some 1,700, those of aos 15; a function with 3,000 locals and 6,000 loops (100 KB, 10
s and 1 GB) weighs 10,600.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aoray.errors import UnsupportedModule
from aoray.vm.engines import Engine as Rules
from aoray.vm.wasm import code
from aoray.vm.wasm.code import Reader

VALUES_MAX = 16  # results of a function or values of a block; also the values of a call that weigh nothing
NESTED_LOOP = 10  # the weight of a loop within another, in blocks
MERGES_A_UNIT = 2_000  # instructions that set locals, times blocks
LOOPS_A_UNIT = 22_000  # the square of their number, as in the next two
CALLS_A_UNIT = 70_000
CARRIED_A_UNIT = 2_500_000

_TYPE, _IMPORT, _FUNCTION, _CODE = 1, 2, 3, 10
_LOOP, _END, _CALLS, _CALLS_INDIRECT = 0x03, 0x0B, b"\x10\x12", b"\x11\x13"
_BLOCKS = b"\x02\x03\x04\x1f"
# A run of instructions of which none is counted
_RUN = re.compile(b"(?:(?![\x02-\x04\x0b\x10-\x13])(?:" + code.ONE.pattern + b"))*+", re.DOTALL)
_SETS = re.compile(rb"[\x21\x22]")


class Arity(NamedTuple):
    """How many values a function or a block takes and returns."""

    params: int
    results: int


def check(sections: Mapping[int, bytes], rules: Rules) -> None:
    """Raise `UnsupportedModule` if one function or the whole module weighs more than the engine allows."""
    types = _types(Reader(sections.get(_TYPE, b"\0")))
    own = Reader(sections.get(_FUNCTION, b"\0"))
    imported = _imported(Reader(sections.get(_IMPORT, b"\0")))
    functions = imported + [own.number() for _ in range(own.number())]
    reader = Reader(sections.get(_CODE, b"\0"))
    whole = 0
    for index in range(len(imported), len(imported) + reader.number()):
        weight = weight_of(reader.take(reader.number()), types[functions[index]].params, types, functions)
        whole += weight
        if weight > rules.function_weight_max:
            raise UnsupportedModule(
                f"The module's function {index} is too heavy to compile ({weight}; at most"
                f" {rules.function_weight_max}): too many loops, blocks, locals or calls are in one."
                " Have the compiler inline less, or split it."
            )
        if whole > rules.module_weight_max:
            raise UnsupportedModule(
                f"The module is too heavy to compile (over {rules.module_weight_max}): too many of its"
                " functions have very many loops, blocks, locals or calls."
            )


def weight_of(body: bytes, params: int, types: Sequence[Arity], functions: Sequence[int]) -> int:
    """Return the weight of a function's body; `functions` are the types of all functions, by index."""
    reader, declared = Reader(body), params
    for _ in range(reader.number()):
        declared += reader.number()
        reader.value_type()
    # Bytes of numbers can look like local.set too, so this is an upper bound.
    places = min(declared, len(_SETS.findall(body, reader.position)))
    loops = calls = blocks = carried = depth = 0
    open_loops: list[bool] = []
    while reader.position < len(body):
        reader.position = _RUN.match(body, reader.position).end()  # type: ignore[union-attr]
        if reader.position == len(body):
            break
        operation = body[reader.position]
        if operation == _END:
            depth -= bool(open_loops and open_loops.pop())
        elif operation in _BLOCKS:
            is_loop = operation == _LOOP
            blocks += NESTED_LOOP if is_loop and depth else 1
            loops, depth = loops + is_loop, depth + is_loop
            open_loops.append(is_loop)
            carried += _carried(body, reader.position + 1, types)
        elif operation in _CALLS or operation in _CALLS_INDIRECT:
            calls += 1
            index = Reader(body, reader.position + 1).number()
            kind = types[functions[index] if operation in _CALLS else index]
            carried += max(0, sum(kind) - VALUES_MAX)
        code.step(reader)
    squares = loops**2 // LOOPS_A_UNIT + calls**2 // CALLS_A_UNIT + carried**2 // CARRIED_A_UNIT
    return places * blocks // MERGES_A_UNIT + squares


def _carried(body: bytes, position: int, types: Sequence[Arity]) -> int:
    """Return how many values a block takes and returns, if its type is an index, else 0."""
    if body[position] in b"\x40\x7b\x7c\x7d\x7e\x7f\x70\x6f\x69":
        return 0
    values = sum(types[Reader(body, position).number()])
    if values > VALUES_MAX:
        raise UnsupportedModule(f"The module's code has a block of {values} values; at most {VALUES_MAX}.")
    return values


def _types(reader: Reader) -> list[Arity]:
    types = []
    for _ in range(reader.number()):
        reader.byte()
        counts = []
        for _ in range(2):
            counts.append(reader.number())
            for _ in range(counts[-1]):
                reader.value_type()
        if counts[1] > VALUES_MAX:
            raise UnsupportedModule(
                f"The module has a function of {counts[1]} results; at most {VALUES_MAX}."
            )
        types.append(Arity(*counts))
    return types


def _imported(reader: Reader) -> list[int]:
    """Return the types of the imported functions; nothing else can be imported."""
    types = []
    for _ in range(reader.number()):
        for _ in range(2):
            reader.take(reader.number())
        reader.byte()
        types.append(reader.number())
    return types
