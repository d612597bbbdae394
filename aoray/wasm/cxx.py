"""C++ exceptions as emscripten compiles them without WASM exceptions (`-fexceptions`): the functions that its
JavaScript gives to a module, as WASM for the shim and the glue.

A throw is the shim's `$longjmp`, which every `invoke_…` catches. The exception's header stands before it in
the guest's memory: a count, its type, its destructor, whether it is caught, whether it is thrown again, and
where it lies as the type that a handler asked for. Which exceptions are being handled is known to the shim
(`$caught`, a stack in a memory of its own, and two globals), for one message: `prepare` clears it, so that
nothing of it is state.
"""

from __future__ import annotations

from aoray.errors import UnsupportedModule
from aoray.wasm.imports import Function, Writer

CAUGHT_MAX = 8_000  # exceptions that are handled at once, one within another
STATE = """
(memory $caught 1)
(global $depth (export "depth") (mut i32) (i32.const 0))
(global $last (export "last") (mut i64) (i64.const 0))
(global $uncaught (export "uncaught") (mut i32) (i32.const 0))
(func $push (param i64)
  (if (i32.ge_u (global.get $depth) (i32.const CAUGHT_MAX)) (then unreachable))
  (i64.store (i32.shl (global.get $depth) (i32.const 3)) (local.get 0))
  (global.set $depth (i32.add (global.get $depth) (i32.const 1))))
(func $pop (result i64)
  (if (i32.eqz (global.get $depth)) (then unreachable))
  (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))
  (i64.load (i32.shl (global.get $depth) (i32.const 3))))
""".replace("CAUGHT_MAX", str(CAUGHT_MAX))
