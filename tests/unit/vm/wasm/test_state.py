"""A guest's state is its memory and its number globals: whatever else could hold some is refused at load."""

from __future__ import annotations

import pytest
import wasmtime
from guests import wat

from aoray.errors import UnsupportedModule
from aoray.vm.wasm import compiler, rewriter
from aoray.vm.wasm.code import Reader

HANDLE = '(func (export "handle") (param i32 i32) (result i32) (i32.const 0))'
MALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
WHOLE = '(memory (export "memory") 1)' + HANDLE + MALLOC
# Function and global 32 are functions without arguments, so that a reference to type 32 is spelled with the
# byte of `local.get`: who reads it as an instruction swallows the one that follows.
TYPES = "".join(f"(type $t{n} (func (param {'i32 ' * n})))" for n in range(33))
HIDDEN = {
    "block": "(block (result (ref null 32)) {deed} (ref.null 32)) drop",
    "loop": "(loop (result (ref null 32)) {deed} (ref.null 32)) drop",
    "if": "(if (result (ref null 32)) (i32.const 1) (then {deed} (ref.null 32)) (else (ref.null 32))) drop",
    "try_table": "(try_table (result (ref null 32)) {deed} (ref.null 32)) drop",
    "select": "{deed} (select (result (ref null 32)) (ref.null 32) (ref.null 32) (i32.const 1)) drop",
    "non-null": "(block (result (ref 32)) {deed} (ref.func $f)) drop",
    "abstract": "(block (result anyref) {deed} (ref.null any)) drop",
    "shared": "(block (result (ref func)) {deed} (ref.func $f)) drop",
}
DEEDS = {
    "table.set": "(table.set $t (i32.const 0) (ref.null func))",
    "table.grow": "(drop (table.grow $t (ref.null func) (i32.const 1)))",
    "table.fill": "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))",
    "table.copy": "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1))",
    "table.init": "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))",
    "elem.drop": "(elem.drop $e)",
    "data.drop": "(data.drop $d)",
    "memory.init": "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))",
}
PLACES = '(table $t 9 funcref) (elem $e func $f) (data $d "x") (elem declare func $f)'


def module(body: str, extra: str = "") -> bytes:
    return wat(f"(module {TYPES} {extra} {PLACES} (func $f (type 32)) (func {body}) {WHOLE})")


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("place", ["", *HIDDEN])
def test_no_code_changes_tables_or_segments_however_it_is_hidden(place: str, deed: str) -> None:
    body = HIDDEN[place].format(deed=DEEDS[deed]) if place else DEEDS[deed]
    wasm = module(body)
    for refuse in (rewriter.prepare, compiler.compiled):
        with pytest.raises(UnsupportedModule, match=f"uses {deed}|not supported"):
            refuse(wasm)


OTHER_STATE = {
    "mutable global that is not a number": [
        "(global (mut v128) (v128.const i64x2 0 0))",
        "(global (mut funcref) (ref.null func))",
        "(global (mut externref) (ref.null extern))",
        "(global (mut exnref) (ref.null exn))",
    ],
    "which is not a function": [
        '(import "env" "global" (global (mut i32)))',
        '(import "env" "__indirect_function_table" (table 1 funcref))',
        '(import "env" "__cpp_exception" (tag))',
        '(import "env" "memory" (memory 1))',
    ],
    "more than one memory": ["(memory 1)"],
    "is not supported": [
        "(func (param (ref null 32)))",
        "(func (local (ref null 32)))",
        "(func (local anyref))",
        "(global (ref null 32) (ref.null 32))",
        "(func (drop (ref.eq (ref.null eq) (ref.null eq))))",
        "(func (call_ref 0 (ref.null 0)))",
        "(func (drop (ref.i31 (i32.const 1))))",
        "(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0))))",
        "(func (drop (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1))) drop)",
        "(func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))",
    ],
    "garbage-collected types": ["(rec (type (func)) (type (struct)))", "(type (array (mut i32)))"],
    "does not compile": [
        "(table 1 (ref null 32))",
        "(table 1 anyref)",
        "(elem (ref null 32) (ref.null 32))",
        "(memory 1 1 shared)",
    ],
}


@pytest.mark.parametrize(
    ("reason", "text"), [(reason, text) for reason, texts in OTHER_STATE.items() for text in texts]
)
def test_whatever_cannot_be_saved_is_refused_in_words(reason: str, text: str) -> None:
    whole = WHOLE.replace('(memory (export "memory") 1)', "") + '(export "memory" (memory 0))'
    memory = (
        ""
        if "memory 1" in text and "shared" not in text and reason != "more than one memory"
        else "(memory 1)"
    )
    if "shared" in text:
        memory = ""
    first, rest = (text, "") if text.startswith("(import") else ("", text)
    with pytest.raises(UnsupportedModule, match=reason):
        compiler.compiled(wat(f"(module {TYPES} {first} {memory} {rest} {whole})"))


def test_exceptions_of_before_2025_are_refused_by_their_name() -> None:
    begins = wat(f"(module {WHOLE} (func (block (br 0)) (nop)))")
    legacy = begins.replace(b"\x02\x40\x0c\x00\x0b\x01\x0b", b"\x06\x40\x01\x19\x01\x0b\x0b")
    assert legacy != begins
    with pytest.raises(UnsupportedModule, match="uses try: the exceptions of before 2025; compile it with"):
        compiler.compiled(legacy)


def test_a_block_of_a_type_that_is_a_reference_is_refused_by_what_it_is() -> None:
    """Even where its byte is no index of a type that there is."""
    hidden = wat(f"(module {WHOLE} (type $t (func)) (func (block (result (ref null 0)) unreachable) drop))")
    far = hidden.replace(b"\x02\x63\x00", b"\x02\x63\x2a")
    assert far != hidden
    with pytest.raises(UnsupportedModule, match="a block of a type of kind 0x63, which is not supported"):
        rewriter.prepare(far)


def test_sections_stand_in_their_order() -> None:
    """What is put in order before it is compiled would be read otherwise than by other loaders."""
    wasm = wat(f"(module {WHOLE})")
    reader = Reader(wasm, 8)
    sections = []
    while reader.position < len(wasm):
        start = reader.position
        reader.byte()
        reader.take(reader.number())
        sections.append(wasm[start : reader.position])
    sections[0], sections[1] = sections[1], sections[0]
    with pytest.raises(UnsupportedModule, match="does not compile"):
        compiler.compiled(wasm[:8] + b"".join(sections))


def test_what_is_meant_is_taken() -> None:
    """Tail calls, exceptions, SIMD, passive segments that nobody uses, tables that are only read."""
    text = f"""(module {WHOLE} (tag $e (param i32)) (table 2 funcref) (table 1 externref)
      (elem funcref (ref.null func)) (data "passive")
      (func $f (param i32) (result i32)
        (return_call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))
      (func (result i32) (return_call $f (i32.const 1)))
      (func (param funcref externref exnref) (result i32)
        (i32.add (table.size 0) (ref.is_null (table.get 1 (i32.const 0)))))
      (func (result i32)
        (block $h (result i32) (try_table (catch $e $h) (throw $e (i32.const 3))) (i32.const 4)))
      (func (result v128) (i32x4.add (v128.load (i32.const 0)) (v128.const i32x4 1 2 3 4))))"""
    assert wasmtime.Module.validate(compiler.configured(), compiler.rewriter.prepare(wat(text)).wasm) is None
    compiler.compiled(wat(text))
