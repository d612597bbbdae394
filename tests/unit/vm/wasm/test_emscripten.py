"""Modules of emscripten: metered ones, C++ exceptions, and messages that their stack does not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
import wasmtime
from guests import ENV, data, message, wat
from programs import AOS_FOLDER

from aoray.errors import UnsupportedModule
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmEngine, WasmInstance, compiler, rewriter, shape

ANSWER = '{\\"ok\\":true,\\"response\\":{\\"Output\\":\\"'
# What emscripten's runtime exports. `handle` says in `$trace` what happened, a letter for each step.
_MODULE = """(module
  IMPORTS
  (memory (export "memory") 2)
  (table (export "__indirect_function_table") 8 funcref)
  (global $top (mut P) (P.const 65536))
  (global $threw (mut P) (P.const 0)) (global $high (mut i32) (i32.const 0))
  (global $at (mut P) (P.const 1057))
  (global $heap (mut P) (P.const 65536))
  (data (i32.const 1024) "ANSWER")
  (func (export "emscripten_stack_init"))
  (func (export "stackSave") (result P) (global.get $top))
  (func (export "stackRestore") (param P) (global.set $top (local.get 0)))
  (func (export "stackAlloc") (param P) (result P)
    (global.set $top (P.and (P.sub (global.get $top) (local.get 0)) (P.const -16))) (global.get $top))
  (func (export "malloc") (param P) (result P)
    (global.get $heap) (global.set $heap (P.add (global.get $heap) (local.get 0))))
  (func (export "free") (param P) (global.set $heap (P.const 65536)))
  (func (export "setThrew") (param P i32)
    (if (P.eqz (global.get $threw)) (then (global.set $threw (local.get 0)))))
  (func (export "_emscripten_tempret_set") (param i32) (global.set $high (local.get 0)))
  (func $say (param i32)
    (i32.store8 (global.get $at) (local.get 0)) (global.set $at (P.add (global.get $at) (P.const 1))))
  (func $done (result P)
    (P.store (global.get $at) (P.const 0x007d7d22)) (global.set $at (P.const 1057)) (P.const 1024))
  BODY)"""


def module(imports: str, body: str, pointer: str = "i32") -> bytes:
    text = _MODULE.replace("IMPORTS", imports).replace("BODY", body).replace("ANSWER", ANSWER)
    text = (
        text.replace("P.", pointer + ".")
        .replace(" P)", f" {pointer})")
        .replace("(param P", f"(param {pointer}")
    )
    text = text.replace(" P ", f" {pointer} ").replace("(mut P)", f"(mut {pointer})")
    if pointer == "i64":
        text = text.replace('(memory (export "memory") ', '(memory (export "memory") i64 ')
        text = text.replace("(data (i32.const", "(data (i64.const")
    return wat(text)


def run(engine: WasmEngine, wasm: bytes, *messages: bytes) -> list[Outcome]:
    process = WasmInstance.boot(engine.load(wasm), Limits())
    return [process.evaluate(each, b"{}") for each in messages]


@pytest.mark.parametrize(
    "imported",
    [
        '(import "env" "metering_gasUsed" (func $used (result i32)))',
        '(import "env" "metering_gasUsed" (func $used (result i64)))',
        '(import "metering" "usegas" (func $gas (param i32)))',
        '(import "metering" "usegas" (func $gas (param i64)))',
        '(import "env" "emscripten_err" (func (param i32)))',
    ],
)
def test_metered_modules_run(engine: WasmEngine, imported: str) -> None:
    used = "(drop (call $used))" if "$used" in imported else ""
    body = f"""(func (export "handle") (param P P) (result P)
      {used} (call $say (i32.const 109)) (call $done))"""
    (outcome,) = run(engine, module(imported, body), data(""))
    assert (outcome.error, outcome.response["Output"]) == (None, "m")


# A C++ exception of type 500 at 2000 (its header before it), thrown by function 1; handlers as compilers
# write them. `$threw` is __THREW__.
CXX = """
  (import "env" "__cxa_throw" (func $throw (param P P P)))
  (import "env" "__cxa_rethrow" (func $rethrow))
  (import "env" "__resumeException" (func $resume (param P)))
  (import "env" "__cxa_begin_catch" (func $begin (param P) (result P)))
  (import "env" "__cxa_end_catch" (func $end))
  (import "env" "__cxa_uncaught_exceptions" (func $uncaught (result i32)))
  (import "env" "__cxa_find_matching_catch_2" (func $cleanup (result P)))
  (import "env" "__cxa_find_matching_catch_4" (func $find (param P P) (result P)))
  (import "env" "llvm_eh_typeid_for" (func $typeid (param P) (result i32)))
  (import "env" "invoke_v" (func $invoke (param P)))"""
EXPORTS = """
  (elem (i32.const 1) func $thrower $resumer $rethrower $nested)
  (func (export "__cxa_can_catch") (param P P P) (result i32)
    (P.store (local.get 2) (P.const 2004)) (P.eq (local.get 0) (P.const 501)))
  (func (export "__cxa_get_exception_ptr") (param P) (result P)
    (P.load (P.sub (local.get 0) (P.const 2W))))
  (func (export "__cxa_increment_exception_refcount") (param P) (call $say (i32.const 43)))
  (func (export "__cxa_decrement_exception_refcount") (param P) (call $say (i32.const 45)))
  (func $thrower
    (i32.store16 (P.const HEAD) (i32.const 0)) ;; as __cxa_allocate_exception does
    (call $throw (P.const 2000) (P.const 500) (P.const 0)) (call $say (i32.const 33)))
  (func $resumer
    (call $invoke (P.const 1)) (global.set $threw (P.const 0)) (call $say (i32.const 114))
    (call $resume (call $cleanup)) (call $say (i32.const 33)))
  (func $rethrower
    (call $invoke (P.const 1)) (global.set $threw (P.const 0))
    (drop (call $begin (call $find (P.const 500) (P.const 0)))) (call $say (i32.const 99))
    (call $rethrow) (call $say (i32.const 33)))
  (func $nested
    (call $invoke (P.const 3)) (call $say (i32.add (i32.const 48) (call $uncaught))) (call $end)
    (global.set $threw (P.const 0))
    (call $say (i32.add (i32.const 48) (call $uncaught)))
    (drop (call $begin (call $find (P.const 500) (P.const 0)))) (call $end))
  (func $try (param $what P) (param $type P) (local $exception P)
    (global.set $threw (P.const 0))
    (call $invoke (local.get $what))
    (if (P.eqz (global.get $threw)) (then (call $say (i32.const 78)) (return)))
    (global.set $threw (P.const 0))
    (local.set $exception (call $find (local.get $type) (P.const 7)))
    (call $say (i32.const 116))
    (call $say (i32.add (i32.sub (global.get $high) (i32.const 500)) (i32.const 48)))
    (if (i32.ne (global.get $high) (call $typeid (local.get $type)))
      (then (call $say (i32.const 110)) (return)))
    (call $say (i32.add (i32.const 48) (call $uncaught)))
    (call $say (i32.add (i32.const 48)
      (i32.wrap (P.sub (call $begin (local.get $exception)) (P.const 2000)))))
    (call $end)
    (call $say (i32.add (i32.const 48) (call $uncaught))))"""
# (function, type that the handler takes) → what happens, as emscripten's own JavaScript does it
CASES = [
    (1, 500, "t01+0-0"),  # the very type: selector 0, one uncaught, at 2000, counted, let go, none uncaught
    (1, 501, "t11+4-0"),  # a base of it, which lies 4 bytes further
    (1, 502, "t0n"),  # another: the selector is not that of the handler
    (2, 500, "rt01+0-0"),  # a destructor ran, and went on with __resumeException
    (3, 500, "+ct01+0-0"),
]


@pytest.mark.parametrize("pointer", ["i32", "i64"])
@pytest.mark.parametrize(("function", "kind", "trace"), CASES)
def test_cxx_exceptions_are_thrown_and_caught(
    engine: WasmEngine, function: int, kind: int, trace: str, pointer: str
) -> None:
    body = f"""(func (export "handle") (param P P) (result P)
      (call $try (P.const {function}) (P.const {kind})) (call $done))"""
    text = CXX + "@" + EXPORTS + body
    text = text.replace("2W", "16" if pointer == "i64" else "8")
    text = text.replace("HEAD", "1976" if pointer == "i64" else "1988")
    text = text.replace("(i32.wrap ", "(i32.wrap_i64 " if pointer == "i64" else "(i32.add (i32.const 0) ")
    imports, rest = text.split("@")
    outcomes = run(engine, module(imports, rest, pointer), *[data("")] * 3)
    assert [(each.error, each.response["Output"]) for each in outcomes] == [(None, trace)] * 3


def test_an_exception_that_nobody_catches_is_an_error_and_leaves_nothing(engine: WasmEngine) -> None:
    text = (
        CXX
        + "@"
        + EXPORTS.replace("2W", "8").replace("HEAD", "1988")
        + """(func (export "handle") (param P P) (result P)
      (call $say (i32.add (i32.const 48) (call $uncaught)))
      (if (i32.eq (i32.load8_u offset=9 (local.get 0)) (i32.const 120)) (then (call $thrower)))
      (call $done))"""
    )
    imports, rest = text.replace("(i32.wrap ", "(i32.add (i32.const 0) ").split("@")
    good, bad, after = run(engine, module(imports, rest), data("a"), data("x"), data("a"))
    assert bad.error == "uncaught exception"
    assert good.response == after.response
    assert good.response["Output"] == "0"


@pytest.mark.parametrize("free", [True, False])
def test_a_message_that_the_stack_does_not_hold_goes_by_malloc(engine: WasmEngine, free: bool) -> None:
    """Whether the module says how much stack it has, or not."""
    told = '(func (export "emscripten_stack_get_free") (result P) (P.sub (global.get $top) (P.const 4096)))'
    body = f"""{told if free else ""}(func (export "handle") (param P P) (result P)
      (call $say (i32.add (i32.const 48) (P.gt_u (local.get 0) (P.const 65535)))) (call $done))"""
    wasm = module("", body)
    small, large, again = run(engine, wasm, data("a"), data("a" * 60_000), data("a"))
    assert [each.response["Output"] for each in (small, large, again)] == ["0", "1", "0"]
    first = WasmInstance.boot(engine.load(wasm, ENGINES[1]), Limits()).evaluate(data("a" * 60_000), b"{}")
    assert (first.error is not None) == free, "what it was before versions stays as it was"


@pytest.mark.node
def test_a_message_of_4_mb_reaches_aos(engine: WasmEngine) -> None:
    process = WasmInstance.boot(
        engine.load((AOS_FOLDER / "aos2_0_4_32.wasm").read_bytes()), Limits(fuel=10**12)
    )
    process.evaluate(message(0, ""), ENV)
    outcome: Any = process.evaluate(message(1, f"return #[[{'x' * 4_000_000}]]"), ENV)
    assert outcome.error is None
    assert "4000000" in orjson.dumps(outcome.response).decode()


def test_an_older_engine_knows_no_more_than_it_did(engine: WasmEngine) -> None:
    body = '(func (export "handle") (param P P) (result P) (P.const 0))'
    wasm = module('(import "env" "metering_gasUsed" (func (result i32)))', body)
    with pytest.raises(UnsupportedModule, match=r"env\.metering_gasUsed, which is not known"):
        engine.load(wasm, ENGINES[1])


@pytest.mark.node
def test_what_is_read_from_outside_is_what_the_compiler_sees() -> None:
    """For a binary of aos, a C++ one, and one with 64-bit pointers."""
    for name in ("process", "aos2_0_4_32", "aos2_0_6"):
        wasm = (AOS_FOLDER / f"{name}.wasm").read_bytes()
        prepared = rewriter.prepare(wasm)
        seen = compiler._shape(
            wasmtime.Module(compiler.configured(), prepared.wasm), prepared.globals, ENGINES[NEWEST]
        )
        sections, globals_ = rewriter.outside(wasm)
        read = shape.shape_of(shape.outline(sections), globals_, ENGINES[NEWEST])
        exports = {name: kind for name, kind in seen.exports.items() if not name.startswith(rewriter.GLOBAL)}
        assert read == replace(seen, exports=exports, bounded=False)  # that comes with its preparation
        shape.refuse_before_publishing(wasm)


def test_who_publishes_a_module_learns_that_its_code_cannot_run() -> None:
    legacy = wat("(module (memory (export \"memory\") 1) (func (block (br 0)) (nop))"
                 '(func (export "handle") (param i32 i32) (result i32) (i32.const 0))'
                 '(func (export "malloc") (param i32) (result i32) (i32.const 0)))')  # fmt: skip
    legacy = legacy.replace(b"\x02\x40\x0c\x00\x0b\x01\x0b", b"\x06\x40\x01\x19\x01\x0b\x0b")
    shape.refuse_at_once(legacy)
    with pytest.raises(UnsupportedModule, match="uses try: the exceptions of before 2025"):
        shape.refuse_before_publishing(legacy)
