"""What would hold a compiler for long is refused by its bytes: everywhere, and before it is compiled."""

from __future__ import annotations

import time

import pytest
from guests import wat
from programs import AOS_FOLDER

from aoray.errors import UnsupportedModule
from aoray.modules.lua import LUA_WASM
from aoray.vm.engines import ENGINES
from aoray.vm.wasm import rewriter, weight

ENDS = '(memory (export "memory") 1) (func (export "handle") (param i32 i32) (result i32) (i32.const 0))'


def module(function: str, types: str = "") -> bytes:
    return wat(
        f"(module {types} {ENDS} (func $other (param i32) (result i32) (local.get 0)) (func {function}))"
    )


def loops(locals_: int, count: int) -> bytes:
    """Loops one after another, each of which sets another local: 10 s and 1 GB for 3,000 and 6,000."""
    each = [
        f"(loop (local.set {n * 7919 % locals_} (i32.add (local.get {n * 104729 % locals_}) (i32.const 1)))"
        f" (br_if 0 (local.get {n * 7919 % locals_})))"
        for n in range(count)
    ]
    return module(f"(local {'i32 ' * locals_}) {' '.join(each)}")


def nested(locals_: int, depth: int) -> bytes:
    opened = [f"(loop (local.set {n % locals_} (i32.const {n}))" for n in range(depth)]
    return module(f"(local {'i32 ' * locals_}) {' '.join(opened)} {'(br_if 0 (local.get 0)))' * depth}")


HEAVY = {
    "many locals in many loops": lambda: loops(3000, 6000),
    "many loops": lambda: loops(1, 12_000),
    "loops in loops": lambda: nested(1000, 1000),
    "values across many calls": lambda: module("i32.const 1 call $other " * 20_000 + "drop " * 20_000),
}


def refusal(wasm: bytes) -> str:
    started = time.process_time()
    with pytest.raises(UnsupportedModule) as refused:
        rewriter.prepare(wasm)
    assert time.process_time() - started < 5, "it is weighed, not compiled"
    return refused.value.message


@pytest.mark.parametrize("what", HEAVY)
def test_a_function_that_would_hold_the_compiler_is_refused_in_words(what: str) -> None:
    message = refusal(HEAVY[what]())
    assert "function 2 is too heavy to compile" in message
    assert "split it" in message


def test_a_module_of_many_heavy_functions_is_refused() -> None:
    each = " ".join(
        f"(loop (local.set {n % 800} (i32.const {n})) (br_if 0 (local.get {n * 31 % 800})))"
        for n in range(3000)
    )
    functions = f"(func (local {'i32 ' * 800}) {each})" * 14
    assert "The module is too heavy" in refusal(wat(f"(module {ENDS} {functions})"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"(module {ENDS} (func (result {'i32 ' * 17}) unreachable))", "17 results"),
        (
            f"(module (type $wide (func (param {'i32 ' * 9}) (result {'i32 ' * 9}))) {ENDS}"
            f" (func {'(i32.const 1) ' * 9} block (type $wide) end unreachable))",
            "a block of 18 values",
        ),
    ],
)
def test_values_that_few_bytes_carry_are_few(text: str, words: str) -> None:
    assert words in refusal(wat(text))


@pytest.mark.node
def test_public_modules_are_far_from_the_bounds() -> None:
    for path in (*AOS_FOLDER.glob("*.wasm"), LUA_WASM):
        rewriter.prepare(path.read_bytes())


def test_under_engine_1_nothing_is_weighed() -> None:
    assert rewriter.prepare(loops(300, 12_000), ENGINES[1]).wasm


def test_the_weight_of_a_function_is_what_it_has() -> None:
    sections = {}
    reader = weight.Reader(loops(100, 200), 8)
    while reader.position < len(reader.data):
        kind = reader.byte()
        sections[kind] = reader.take(reader.number())
    code = weight.Reader(sections[10])
    bodies = [code.take(code.number()) for _ in range(code.number())]
    types = [weight.Arity(2, 1), weight.Arity(1, 1), weight.Arity(0, 0)]
    assert [weight.weight_of(body, 0, types, [0, 1, 2]) for body in bodies] == [0, 0, 100 * 200 // 2000 + 1]
