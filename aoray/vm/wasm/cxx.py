"""C++ exceptions as emscripten compiles them without WASM exceptions (`-fexceptions`): the functions that
emscripten's JavaScript provides to a module, as text for the shim and the glue.

A throw is the shim's `$longjmp`, which every `invoke_…` catches. The header of an exception is before it in
the guest's memory: its count, type and destructor, whether it is caught or thrown again, and its address as
the type that a handler asked for. The shim knows only during one message which exceptions are being handled
(`$last`, `$uncaught`, and a stack in a memory of its own): `prepare` clears this, so it is not state.
"""

from __future__ import annotations

from collections.abc import Mapping

from aoray.vm.wasm.imports import Function, Shape, Writer

CAUGHT_MAX = 8_000  # exceptions whose handlers are nested

SHIM = f"""
(memory $caught 1)
(global $depth (export "depth") (mut i32) (i32.const 0))
(global $last (export "last") (mut i64) (i64.const 0))
(global $uncaught (export "uncaught") (mut i32) (i32.const 0))
(func $push (export "push") (param i64)
  (if (i32.ge_u (global.get $depth) (i32.const {CAUGHT_MAX})) (then unreachable))
  (i64.store (i32.shl (global.get $depth) (i32.const 3)) (local.get 0))
  (global.set $depth (i32.add (global.get $depth) (i32.const 1))))
(func $pop (export "pop") (result i64)
  (if (i32.eqz (global.get $depth)) (then unreachable))
  (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))
  (i64.load (i32.shl (global.get $depth) (i32.const 3))))"""
GLUE = """
(import "shim" "depth" (global $depth (mut i32)))
(import "shim" "last" (global $last (mut i64)))
(import "shim" "uncaught" (global $uncaught (mut i32)))
(import "shim" "push" (func $push (param i64)))
(import "shim" "pop" (func $pop (result i64)))"""
FORGET = (
    "(global.set $depth (i32.const 0)) (global.set $last (i64.const 0)) (global.set $uncaught (i32.const 0))"
)

_COUNT = "(global.set $uncaught (i32.add (global.get $uncaught) (i32.const BY)))"
_NEW = """
(P.store (P.sub (local.get 0) (P.const 2W)) (P.const 0))
(P.store (P.sub (local.get 0) (P.const 5W)) (local.get 1))
(P.store (P.sub (local.get 0) (P.const 4W)) (local.get 2))
(global.set $last WIDE[(local.get 0)]WIDE)""" + _COUNT.replace("BY", "1")
_AGAIN = """
(local.set $at NARROW[(call $pop)]NARROW)
(if (i32.eqz (i32.load8_u offset=1 (P.sub (local.get $at) (P.const 3W)))) (then
  (call $push WIDE[(local.get $at)]WIDE)
  (i32.store8 offset=1 (P.sub (local.get $at) (P.const 3W)) (i32.const 1))
  (i32.store8 (P.sub (local.get $at) (P.const 3W)) (i32.const 0))
  COUNT))
(global.set $last WIDE[(local.get $at)]WIDE)""".replace("COUNT", _COUNT.replace("BY", "1"))
_BEGIN = """
(if (i32.eqz (i32.load8_u (P.sub (local.get 0) (P.const 3W)))) (then
  (i32.store8 (P.sub (local.get 0) (P.const 3W)) (i32.const 1))
  COUNT))
(i32.store8 offset=1 (P.sub (local.get 0) (P.const 3W)) (i32.const 0))
(call $push WIDE[(local.get 0)]WIDE)
HOLD
GIVE""".replace("COUNT", _COUNT.replace("BY", "-1"))
_END = """
(call $guest.setThrew (P.const 0) (i32.const 0))
(local.set $at NARROW[(call $pop)]NARROW)
RELEASE
(global.set $last (i64.const 0))"""
_FIND = """
(local.set $at NARROW[(global.get $last)]NARROW)
(if (P.eqz (local.get $at)) (then SELECT[(P.const 0)]SELECT (return (P.const 0))))
(P.store (P.sub (local.get $at) (P.const 2W)) (local.get $at))
(local.set $type (P.load (P.sub (local.get $at) (P.const 5W))))
(if (P.eqz (local.get $type)) (then SELECT[(P.const 0)]SELECT (return (local.get $at))))
(block $same
  TRIES)
SELECT[(local.get $type)]SELECT
(local.get $at)"""
_TRY = """
  (br_if $same (P.eqz (local.get N))) (br_if $same (P.eq (local.get N) (local.get $type)))
  (if (call $guest.__cxa_can_catch (local.get N) (local.get $type) (P.sub (local.get $at) (P.const 2W)))
    (then SELECT[(local.get N)]SELECT (return (local.get $at))))"""

CALLED = (
    "__cxa_can_catch", "__cxa_get_exception_ptr", "__cxa_is_pointer_type",
    "__cxa_increment_exception_refcount", "__cxa_decrement_exception_refcount",
)  # fmt: skip
_THROW = "(call $burn (i64.const {turns})) (throw $longjmp)"


def stub(writer: Writer, name: str, kind: Function) -> str | None:
    """Return the shim's function for an import of this name; None if the import has nothing to do with
    exceptions."""
    p, shape = writer.shape.pointer, writer.shape
    throws = _THROW.format(turns=shape.rules.slow_step_turns)
    bodies: dict[str, tuple[str, str, str]] = {  # in the glue, its locals, and what the shim does after
        "__cxa_throw": (_NEW, "", throws),
        "__cxa_rethrow": (_AGAIN, f"(local $at {p})", throws),
        "__cxa_begin_catch": (_BEGIN, "", ""),
        "__cxa_end_catch": (_END, f"(local $at {p})", ""),
        "__cxa_uncaught_exceptions": ("(global.get $uncaught)", "", ""),
        "__resumeException": (
            "(if (i64.eqz (global.get $last)) (then (global.set $last WIDE[(local.get 0)]WIDE)))", "", throws,
        ),
    }  # fmt: skip
    if name == "llvm_eh_typeid_for":
        return "(local.get 0)" if kind.params == kind.results else "(i32.wrap_i64 (local.get 0))"
    if name.startswith("__cxa_find_matching_catch_"):
        tries = "".join(_TRY.replace("N)", f"{n})") for n in range(len(kind.params)))
        bodies[name] = (_FIND.replace("TRIES", tries), f"(local $at {p}) (local $type {p})", "")
    if name not in bodies:
        return None
    writer.cxx = True
    body, locals_, after = bodies[name]
    return f"{writer.hook(name, kind, _filled(body, shape), locals_)}\n  {after}"


def _filled(text: str, shape: Shape) -> str:
    """Return a body for the guest's pointer width and exports."""
    wide = shape.pointer == "i64"
    release, hold = "__cxa_decrement_exception_refcount", "__cxa_increment_exception_refcount"
    marks: Mapping[str, str] = {
        "HOLD": f"(call $guest.{hold} (local.get 0))" if hold in shape.exports else "",
        "RELEASE": f"(call $guest.{release} (local.get $at))" if release in shape.exports else "",
        "GIVE": _given(shape),
        "SELECT[": "(call $guest._emscripten_tempret_set " if _own(shape) else "(global.set $high ",
        "]SELECT": ")",
        "WIDE[": "" if wide else "(i64.extend_i32_u ",
        "]WIDE": "" if wide else ")",
        "NARROW[": "" if wide else "(i32.wrap_i64 ",
        "]NARROW": "" if wide else ")",
        "P.": f"{shape.pointer}.",
    }
    if wide:  # a selector has 32 bits
        text = text.replace("SELECT[", "SELECT[(i32.wrap_i64 ").replace("]SELECT", ")]SELECT")
    for mark in ("HOLD", "RELEASE", "GIVE"):
        text = text.replace(mark, marks[mark])
    for mark, put in marks.items():
        text = text.replace(mark, put)
    for words in (2, 3, 4, 5):
        text = text.replace(f"{words}W", str(words * (8 if wide else 4)))
    return text


def _own(shape: Shape) -> bool:
    return "_emscripten_tempret_set" in shape.exports


def _given(shape: Shape) -> str:
    """Return the result of `__cxa_begin_catch`: the address of the exception for its handler."""
    if "__cxa_get_exception_ptr" in shape.exports:
        return "(call $guest.__cxa_get_exception_ptr (local.get 0))"
    adjusted = "(P.load (P.sub (local.get 0) (P.const 2W)))"
    given = f"(if (result {shape.pointer}) (P.eqz {adjusted}) (then (local.get 0)) (else {adjusted}))"
    if "__cxa_is_pointer_type" not in shape.exports:
        return given
    pointer = "(call $guest.__cxa_is_pointer_type (P.load (P.sub (local.get 0) (P.const 5W))))"
    return f"(if (result {shape.pointer}) {pointer} (then (P.load (local.get 0))) (else {given}))"
