"""Writes the two small WAT modules around a guest, with which messages hardly ever call Python.

* The **shim** is instantiated first, and is what the guest imports (imports.py): `setjmp`/`longjmp` as WASM
  exceptions, the message's clock, files that do not exist.
* The **glue** is instantiated last, and imports the guest. It fills the table of hooks that the shim calls,
  gives the engine `prepare`/`run`/`done`/`boot`, and reads and writes all mutable globals in one call.

A guest without the exports that a message needs is refused (`UnsupportedModule`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aoray.errors import UnsupportedModule
from aoray.vm.engines import Engine as Rules
from aoray.vm.wasm import cxx
from aoray.vm.wasm.imports import STACK, Function, Shape, Writer, needed, stub
from aoray.vm.wasm.rewriter import GLOBAL, PAGES


@dataclass(slots=True)
class Wat:
    """The texts of both modules, and whether the shim calls Python."""

    shim: str
    glue: str
    host: bool


def write(shape: Shape) -> Wat:
    """Write the shim and the glue for a guest of this shape. Raises `UnsupportedModule`."""
    _require(shape)
    writer = Writer(shape)
    for (module, name), kind in shape.imports.items():
        writer.stubs.append(stub(writer, module, name, kind))
    return Wat(_shim(writer), _glue(writer), writer.host)


def _require(shape: Shape) -> None:
    pointer = shape.pointer
    wanted = {"handle": Function((pointer, pointer), (pointer,))}
    if not shape.emscripten:
        wanted["malloc"] = Function((pointer,), (pointer,))
    for name, kind in wanted.items():
        if name not in shape.exports:
            raise UnsupportedModule(f"The module does not export the function {name}.")
        if shape.exports[name] != kind:
            raise UnsupportedModule(f"The module's {name} is {shape.exports[name].wat()}, not {kind.wat()}.")
    if shape.jumps and not (shape.table_elements and shape.emscripten and "setThrew" in shape.exports):
        raise UnsupportedModule(
            "The module jumps (invoke_…) without exporting its table, stack and setThrew."
        )


_BURN = """
(func $burn (param i64)
  (block $end (loop $next
    (br_if $end (i64.eqz (local.get 0)))
    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
    (br $next))))"""

# Python returns a number, and how much work it was, or 0 if an address was outside the memory.
_HOST = '(import "aoray" "host" (func $host (param i32 i64 i64 i64 i64) (result i64 i32)))'
_ASK = """
(func $ask (param i32 i64 i64 i64 i64) (result i64)
  (call $burn (i64.const HOST_CALL_TURNS))
  (call $host (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))
  (if (i32.eqz) (then unreachable)))"""
_ASK_BY_WORK = """
(func $ask (param i32 i64 i64 i64 i64) (result i64) (local $work i32)
  (call $burn (i64.const HOST_CALL_TURNS))
  (call $host (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))
  (local.set $work)
  (if (i32.eqz (local.get $work)) (then unreachable))
  (call $burn (i64.mul (i64.const HOST_CALL_TURNS)
    (i64.extend_i32_u (i32.sub (local.get $work) (i32.const 1))))))"""


def _shim(writer: Writer) -> str:
    table = (
        f'(table $table (export "table") {writer.shape.table_elements} funcref)' if writer.shape.jumps else ""
    )
    return f"""(module {_HOST if writer.host else ""}
{table}
(table $hooks (export "hooks") {len(writer.hooks)} funcref)
(global $now (export "now") (mut f64) (f64.const 0))
(global $high (export "high") (mut i32) (i32.const 0))
{cxx.SHIM if writer.cxx else ""}
(tag $longjmp)
{_BURN}
{_ask(writer.shape.rules) if writer.host else ""}
{_lines(writer.stubs)})"""


def _ask(rules: Rules) -> str:
    text = _ASK_BY_WORK if rules.host_work_counts else _ASK
    return text.replace("HOST_CALL_TURNS", str(rules.host_call_turns))


def _glue(writer: Writer) -> str:
    shape = writer.shape
    exports = [
        f'(import "guest" "{name}" (func $guest.{name} {kind.wat()}))'
        for name, kind in shape.exports.items()
        if name in _CALLED
    ]
    wide = "i64 " if shape.pointer == "i64" else ""
    tables = f"""(import "shim" "table" (table $table {shape.table_elements} funcref))
(import "guest" "__indirect_function_table" (table $origin {shape.table_elements} funcref))"""
    size = f"(i32.const {shape.table_elements})"
    start = f"(func $link (table.copy $table $origin (i32.const 0) (i32.const 0) {size})) (start $link)"
    elements = " ".join(f"$hook{n}" for n in range(len(writer.hooks)))
    return f"""(module
(import "guest" "memory" (memory {wide}0))
(import "shim" "hooks" (table $hooks {len(writer.hooks)} funcref))
(import "shim" "now" (global $now (mut f64)))
(import "shim" "high" (global $high (mut i32)))
{cxx.GLUE if writer.cxx else ""}
{tables if shape.jumps else ""}
{_lines(exports)}
{_PAGES if shape.bounded else ""}
{_globals(shape.globals)}
{_BOUND if shape.bounded else ""}
(global $seed (mut i64) (i64.const 0))
{_BURN}
{start if shape.jumps else ""}
{_lines(writer.hooks)}
(elem (table $hooks) (i32.const 0) func {elements})
{_calls(writer)}
{_boot(shape)})"""


_PAGES = f'(import "guest" "{PAGES}" (global $pages (mut i64)))'
# Lowers the bound of the memory to this many pages, and returns the bound.
_BOUND = """
(func (export "bound") (param i64) (result i64)
  (if (i64.lt_u (local.get 0) (global.get $pages)) (then (global.set $pages (local.get 0))))
  (global.get $pages))"""


_BOOT = ("emscripten_stack_init", "__wasm_call_ctors", "_initialize")
_CALLED = {name for names in STACK.values() for name in names} | {
    "handle", "malloc", "free", "setThrew", "_emscripten_tempret_set", "emscripten_stack_get_free",
    *_BOOT, *cxx.CALLED,
}  # fmt: skip


def _boot(shape: Shape) -> str:
    nothing = Function((), ())
    calls = [f"(call $guest.{name})" for name in _BOOT if shape.exports.get(name) == nothing]
    return f'(func (export "boot") {" ".join(calls)})'


# The order of calls: `prepare(message size, env size, now, seed) -> stack, message, env`, then
# `run(stack, message, env) -> result`, and once the result is read `done(message, env)`, if it is exported.
# All addresses are passed as i64.
_PREPARE = """
(func (export "prepare") (param $message i64) (param $env i64) (param $time f64) (param $random i64)
    (result i64 i64 i64)
  (global.set $now (local.get $time)) (global.set $seed (local.get $random)) (global.set $high (i32.const 0))
"""


def _calls(writer: Writer) -> str:
    shape = writer.shape
    calls = _emscripten_calls(shape) if shape.emscripten else _plain_calls(shape)
    return calls.replace(_PREPARE, _PREPARE + cxx.FORGET) if writer.cxx else calls


def _emscripten_calls(shape: Shape) -> str:
    """Return calls that put messages on the stack, as other loaders do, or, if they do not fit there, into
    memory from malloc."""
    p = shape.pointer
    message, env = _narrow(p, "(local.get $message)"), _narrow(p, "(local.get $env)")
    current, restore, alloc = (needed(shape, which) for which in ("current", "restore", "alloc"))
    current, alloc = f"(call $guest.{current})", f"call $guest.{alloc}"
    malloc = shape.rules.large_by_malloc and shape.exports.get("malloc") == Function((p,), (p,))
    instead = f"""
    (global.set $large (i32.const 1))
    (return {_wide(p, current)} {_wide(p, f"(call $guest.malloc {message})")}
      {_wide(p, f"(call $guest.malloc {env})")})"""
    return f"""(global $large (mut i32) (i32.const 0))
{_PREPARE} (global.set $large (i32.const 0))
  {_if_large(shape, instead if malloc else "unreachable")}
  {_wide(p, current)} {_wide(p, f"({alloc} {message})")} {_wide(p, f"({alloc} {env})")})
(func (export "run") (param $stack i64) (param $message i64) (param $env i64) (result i64)
  {_wide(p, f"(call $guest.handle {message} {env})")}
  (call $guest.{restore} {_narrow(p, "(local.get $stack)")}))
{_done(shape, "(if (i32.eqz (global.get $large)) (then (return)))") if malloc else ""}"""


def _if_large(shape: Shape, then: str) -> str:
    """Return code that does `then` with a message that does not fit on the stack, if that can be known."""
    size = "(i64.add (local.get $message) (local.get $env))"
    if "emscripten_stack_get_free" in shape.exports:
        free = _wide(shape.pointer, "(call $guest.emscripten_stack_get_free)")
        margin = f"(i64.const {shape.rules.stack_margin_bytes})"
        return f"(if (i64.lt_u {free} (i64.add {margin} {size})) (then {then}))"
    if shape.rules.large_by_malloc and then != "unreachable":
        return f"(if (i64.gt_u {size} (i64.const {shape.rules.stack_bytes_sure})) (then {then}))"
    return ""


def _done(shape: Shape, first: str = "") -> str:
    """Return `done`, if the guest exports `free`."""
    if shape.exports.get("free") != Function((shape.pointer,), ()):
        return ""
    frees = (
        f"(call $guest.free {_narrow(shape.pointer, f'(local.get ${what})')})" for what in ("message", "env")
    )
    return f"""(func (export "done") (param $message i64) (param $env i64)
  {first} {" ".join(frees)})"""


def _plain_calls(shape: Shape) -> str:
    p = shape.pointer
    message, env = _narrow(p, "(local.get $message)"), _narrow(p, "(local.get $env)")
    return f"""{_PREPARE}
  (i64.const 0) {_wide(p, f"(call $guest.malloc {message})")} {_wide(p, f"(call $guest.malloc {env})")})
(func (export "run") (param $stack i64) (param $message i64) (param $env i64) (result i64)
  {_wide(p, f"(call $guest.handle {message} {env})")})
{_done(shape)}"""


def _globals(types: Sequence[str]) -> str:
    """Return `get_globals` and `set_globals`, which pass every mutable global of the guest as i64 bits."""
    imports = [f'(import "guest" "{GLOBAL}{n}" (global $g{n} (mut {t})))' for n, t in enumerate(types)]
    gets = [_to_bits(t, f"(global.get $g{n})") for n, t in enumerate(types)]
    sets = [f"(global.set $g{n} {_from_bits(t, f'(local.get {n})')})" for n, t in enumerate(types)]
    bits = Function(("i64",) * len(types), ())
    return f"""{_lines(imports)}
(func (export "get_globals") {Function((), bits.params).wat()} {" ".join(gets)})
(func (export "set_globals") {bits.wat()} {" ".join(sets)})"""


def _to_bits(kind: str, value: str) -> str:
    if kind in ("i32", "i64"):
        return _wide(kind, value)
    integer = "i" + kind[1:]
    return _wide(integer, f"({integer}.reinterpret_{kind} {value})")


def _from_bits(kind: str, value: str) -> str:
    narrow = _narrow("i" + kind[1:], value)
    return narrow if kind[0] == "i" else f"({kind}.reinterpret_i{kind[1:]} {narrow})"


def _wide(kind: str, value: str) -> str:
    return value if kind == "i64" else f"(i64.extend_i32_u {value})"


def _narrow(kind: str, value: str) -> str:
    return value if kind == "i64" else f"(i32.wrap_i64 {value})"


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)
