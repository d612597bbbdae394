"""Writes the two small modules (WAT) that stand around a guest, so that messages hardly ever call Python.

* The **shim** is instantiated first, and is what the guest imports: `setjmp`/`longjmp` as WASM exceptions, the message's
  clock, files that are not there. What needs the guest's memory goes through the table `hooks`.
* The **glue** is instantiated last, and imports the guest: it fills `hooks`, gives the engine `prepare`/`run`/`done`/`boot`
  for a message, and reads and writes all mutable globals in one call.

Nothing here reads the host: time is the message's Timestamp, randomness follows from its Id, files do not exist.
Work that costs more than its instructions (a copy, a call of Python) first spends fuel in `burn`. A guest that imports
what is not in this file is refused (`UnsupportedModule`) when it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aoray.errors import UnsupportedModule
from aoray.wasm.binary import GLOBAL

HOST_FUEL = 10_000  # turns of `burn` (some 5 units of fuel each) for a call of Python, which takes about 20 µs
HOST_CALLS = ("strftime", "_gmtime_js", "_localtime_js", "_mktime_js", "_tzset_js")
_WASI = "wasi_snapshot_preview1"


@dataclass(frozen=True, slots=True)
class Function:
    """The type of an imported or exported function: value types as WAT writes them."""

    params: tuple[str, ...]
    results: tuple[str, ...]

    def wat(self) -> str:
        params = f"(param {' '.join(self.params)})" if self.params else ""
        return params + (f"(result {' '.join(self.results)})" if self.results else "")

    def arguments(self) -> str:
        return " ".join(f"(local.get {n})" for n in range(len(self.params)))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a guest imports and exports, as far as the shim and the glue need to know."""

    pointer: str  # i32 or i64
    imports: Mapping[tuple[str, str], Function]
    exports: Mapping[str, Function]
    globals: tuple[str, ...]  # types of the exported mutable globals
    memory_pages_max: int
    table_elements: int  # of the indirect function table; 0 if it is not exported
    random: bool = False

    @property
    def emscripten(self) -> bool:
        return _stack(self.exports, "current") is not None

    @property
    def jumps(self) -> bool:
        return any(name.startswith("invoke_") for _, name in self.imports)


@dataclass(slots=True)
class Wat:
    """The texts of both modules, and whether the shim calls Python."""

    shim: str
    glue: str
    host: bool


@dataclass(slots=True)
class _Writer:
    shape: Shape
    stubs: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)  # functions of the glue that the table holds
    host: bool = False

    def hook(self, name: str, kind: Function, body: str, locals_: str = "") -> str:
        """A stub's body that calls `body`, which lives in the glue, beside the memory."""
        index = len(self.hooks)
        self.hooks.append(f"(func $hook{index} {kind.wat()} {locals_} ;; {name}\n{body})")
        return f"(call_indirect $hooks {kind.wat()} {kind.arguments()} (i32.const {index}))"

    def export(self, export: str, kind: Function) -> str:
        """A stub's body that calls an export of the guest."""
        return self.hook(export, kind, f"(call $guest.{export} {kind.arguments()})")


def write(shape: Shape) -> Wat:
    """The shim and the glue for a guest of this shape."""
    _require(shape)
    writer = _Writer(shape)
    for (module, name), kind in shape.imports.items():
        writer.stubs.append(_stub(writer, module, name, kind))
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
        raise UnsupportedModule("The module jumps (invoke_…) without exporting its table, stack and setThrew.")


# --- what a guest may import -----------------------------------------------------------------------------------------


def _stub(writer: _Writer, module: str, name: str, kind: Function) -> str:
    body = _body(writer, module, name, kind)
    if body is None:
        raise UnsupportedModule(f"The module imports {module}.{name}, which is not known here.")
    return f'(func (export "{module}.{name}") {kind.wat()}\n  {body})'


def _body(writer: _Writer, module: str, name: str, kind: Function) -> str | None:
    if module == _WASI:
        return _hooked(writer, name, kind, _wasi_hooks(writer.shape)) or _wasi_constant(name, kind)
    if module != "env":
        return None
    if name.startswith("invoke_") and kind.params:
        return _invoke(writer, kind)
    if name in HOST_CALLS:
        return _host_call(writer, name, kind)
    return _hooked(writer, name, kind, _env_hooks(writer.shape)) or _env_constant(name, kind)


def _hooked(writer: _Writer, name: str, kind: Function, hooks: Mapping[str, tuple[str, str]]) -> str | None:
    if name not in hooks:
        return None
    body, locals_ = hooks[name]
    return writer.hook(name, kind, body, locals_)


def _constant(kind: Function, value: int) -> str:
    return " ".join(f"({result}.const {value})" for result in kind.results)


def _env_constant(name: str, kind: Function) -> str | None:
    """Functions that always answer the same, or only touch the shim's own globals. Errors are those of emscripten."""
    if name in ("exit", "_abort_js", "abort", "__assert_fail", "_emscripten_runtime_keepalive_clear"):
        return "unreachable"
    simple = {
        "_emscripten_throw_longjmp": "(throw $longjmp)",
        "emscripten_date_now": "(global.get $now)",
        "emscripten_get_now": "(global.get $now)",
        "setTempRet0": "(global.set $high (local.get 0))",
        "getTempRet0": "(global.get $high)",
        "_emscripten_get_now_is_monotonic": _constant(kind, 1),
        "emscripten_notify_memory_growth": _constant(kind, 0),
        "_emscripten_system": _constant(kind, -52),
        "_munmap_js": _constant(kind, -52),
        # WeaveDrive without a drive: no file opens, so nothing is read.
        "__asyncjs__weavedrive_open": _constant(kind, 0),
        "__asyncjs__weavedrive_read": _constant(kind, 0),
        "__asyncjs__weavedrive_close": _constant(kind, 0),
    }
    if name in simple:
        return simple[name]
    if not name.startswith("__syscall_"):
        return None
    call = name.removeprefix("__syscall_")
    of_descriptor = call in ("fcntl64", "dup3", "fstat64", "ftruncate64", "fchmod", "fchown32", "getdents64")
    error = 59 if call == "ioctl" else 8 if of_descriptor else 44  # ENOTTY, EBADF, ENOENT
    return _constant(kind, -error)


def _wasi_constant(name: str, kind: Function) -> str | None:
    if name == "proc_exit":
        return "unreachable"
    if name in ("fd_close", "fd_seek"):
        standard = 0 if name == "fd_close" else 70  # ESPIPE
        return f"(select (i32.const {standard}) (i32.const 8) (i32.le_u (local.get 0) (i32.const 2)))"
    none = ("environ_get", "args_get", "sched_yield", "fd_sync", "fd_datasync")
    error = 0 if name in none else 44 if name.startswith("path_") else 8 if name.startswith("fd_") else 52
    return _constant(kind, error)  # 0, ENOENT, EBADF, ENOSYS


def _env_hooks(shape: Shape) -> dict[str, tuple[str, str]]:
    p = shape.pointer
    copy = _template(_MEMCPY, p)
    return {
        "_emscripten_memcpy_js": (copy, f"(local $size {p})"),
        "emscripten_memcpy_big": (copy, f"(local $size {p})"),
        "emscripten_get_heap_max": (f"({p}.const {shape.memory_pages_max << 16})", ""),
        "emscripten_resize_heap": (
            _template(_RESIZE, p).replace("MAX", str(shape.memory_pages_max << 16)),
            "(local $want f64) (local $old f64) (local $new f64) (local $cut f64)",
        ),
    }


def _wasi_hooks(shape: Shape) -> dict[str, tuple[str, str]]:
    p = shape.pointer
    none = _template("(P.store (local.get 0) (P.const 0)) (P.store (local.get 1) (P.const 0)) (i32.const 0)", p)
    return {
        "fd_write": (_template(_FD_WRITE, p), f"(local $sum {p})"),
        "fd_read": (_template(_FD_READ, p), ""),
        "fd_fdstat_get": (_FD_FDSTAT, ""),
        "environ_sizes_get": (none, ""),
        "args_sizes_get": (none, ""),
        "clock_time_get": (_CLOCK, ""),
        "clock_res_get": ("(i64.store (local.get 1) (i64.const 1000000)) (i32.const 0)", ""),
        "random_get": (_template(_RANDOM, p), f"(local $at {p}) (local $x i64)"),
    }


def _template(text: str, pointer: str) -> str:
    text = text.replace("P.", f"{pointer}.").replace("WIDTH", "8" if pointer == "i64" else "4")
    wide = ("", "") if pointer == "i64" else ("(i64.extend_i32_u ", ")")
    return text.replace("WIDE[", wide[0]).replace("]WIDE", wide[1])


# Like JavaScript's copyWithin: what lies outside the memory is left out.
_MEMCPY = """
(local.set $size (P.shl (memory.size) (P.const 16)))
(if (P.gt_u (local.get 0) (local.get $size)) (then (return)))
(if (P.gt_u (local.get 1) (local.get $size)) (then (return)))
(if (P.gt_u (local.get 2) (P.sub (local.get $size) (local.get 0)))
  (then (local.set 2 (P.sub (local.get $size) (local.get 0)))))
(if (P.gt_u (local.get 2) (P.sub (local.get $size) (local.get 1)))
  (then (local.set 2 (P.sub (local.get $size) (local.get 1)))))
(call $burn (i64.shr_u WIDE[(local.get 2)]WIDE (i64.const 6)))
(memory.copy (local.get 0) (local.get 1) (local.get 2))"""

# Emscripten's growth: a fifth more than there was, at most 96 MiB more than asked; less if that fails.
_RESIZE = """
(local.set $want (f64.convert_i64_u WIDE[(local.get 0)]WIDE))
(if (f64.gt (local.get $want) (f64.const MAX)) (then (return (i32.const 0))))
(local.set $old (f64.mul (f64.convert_i64_u WIDE[(memory.size)]WIDE) (f64.const 65536)))
(local.set $cut (f64.const 1))
(loop $again
  (local.set $new (f64.mul (local.get $old)
    (f64.add (f64.const 1) (f64.div (f64.const 0.2) (local.get $cut)))))
  (local.set $new (f64.min (local.get $new) (f64.add (local.get $want) (f64.const 100663296))))
  (local.set $new (f64.ceil (f64.div (f64.max (local.get $new) (local.get $want)) (f64.const 65536))))
  (local.set $new (f64.min (f64.mul (local.get $new) (f64.const 65536)) (f64.const MAX)))
  (if (P.ne (P.const -1) (memory.grow (P.trunc_sat_f64_u
        (f64.div (f64.add (f64.sub (local.get $new) (local.get $old)) (f64.const 65535)) (f64.const 65536)))))
    (then (return (i32.const 1))))
  (local.set $cut (f64.mul (local.get $cut) (f64.const 2)))
  (br_if $again (f64.le (local.get $cut) (f64.const 4))))
(i32.const 0)"""

# Standard output and error swallow what is written.
_FD_WRITE = """
(if (i32.gt_u (i32.sub (local.get 0) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
(block $end (loop $next
  (br_if $end (P.eqz (local.get 2)))
  (local.set $sum (P.add (local.get $sum) (P.load offset=WIDTH (local.get 1))))
  (local.set 1 (P.add (local.get 1) (P.const 2_TIMES_WIDTH)))
  (local.set 2 (P.sub (local.get 2) (P.const 1)))
  (br $next)))
(P.store (local.get 3) (local.get $sum))
(i32.const 0)""".replace("(P.const 2_TIMES_WIDTH)", "(P.mul (P.const 2) (P.const WIDTH))")

_FD_READ = """
(if (local.get 0) (then (return (i32.const 8))))
(P.store (local.get 3) (P.const 0))
(i32.const 0)"""

_FD_FDSTAT = """
(if (i32.gt_u (local.get 0) (i32.const 2)) (then (return (i32.const 8))))
(i64.store (local.get 1) (i64.const 2)) ;; a character device
(i64.store offset=8 (local.get 1) (i64.const 66)) ;; that can be read and written
(i64.store offset=16 (local.get 1) (i64.const 0))
(i32.const 0)"""

_CLOCK = """
(i64.store (local.get 2) (i64.mul (i64.trunc_sat_f64_u (global.get $now)) (i64.const 1000000)))
(i32.const 0)"""

# SplitMix64, a byte of each number.
_RANDOM = """
(block $end (loop $next
  (br_if $end (P.ge_u (local.get $at) (local.get 1)))
  (global.set $seed (i64.add (global.get $seed) (i64.const 0x9e3779b97f4a7c15)))
  (local.set $x (global.get $seed))
  (local.set $x (i64.mul (i64.const 0xbf58476d1ce4e5b9)
    (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 30)))))
  (local.set $x (i64.mul (i64.const 0x94d049bb133111eb)
    (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 27)))))
  (i64.store8 (P.add (local.get 0) (local.get $at)) (i64.shr_u (local.get $x) (i64.const 56)))
  (local.set $at (P.add (local.get $at) (P.const 1)))
  (br $next)))
(i32.const 0)"""


def _invoke(writer: _Writer, kind: Function) -> str:
    """Call a function of the guest's table; a longjmp out of it restores the stack and says so by setThrew."""
    p = writer.shape.pointer
    callee = Function(kind.params[1:], kind.results)
    index = "(i32.wrap_i64 (local.get 0))" if kind.params[0] == "i64" else "(local.get 0)"
    arguments = " ".join(f"(local.get {n})" for n in range(1, len(kind.params)))
    current = writer.export(_needed(writer.shape, "current"), Function((), (p,)))
    restore = writer.export(_needed(writer.shape, "restore"), Function((p,), ()))
    threw = writer.export("setThrew", writer.shape.exports["setThrew"])
    restore = restore.replace("(local.get 0)", "(local.get $stack)")
    threw = threw.replace("(local.get 0)", f"({p}.const 1)").replace("(local.get 1)", "(i32.const 0)")
    return f"""(local $stack {p})
  (local.set $stack {current})
  (block $jumped
    (try_table (catch $longjmp $jumped)
      (call_indirect $table {callee.wat()} {arguments} {index})
      (return)))
  {restore}
  {threw}
  {_constant(kind, 0)}"""


def _host_call(writer: _Writer, name: str, kind: Function) -> str:
    """A call of Python (clock.py): operation and up to four numbers. 64-bit times come in halves from 32-bit guests."""
    writer.host = True
    values = [
        f"(local.get {n})" if param == "i64" else f"(i64.extend_i32_u (local.get {n}))"
        for n, param in enumerate(kind.params)
    ]
    halves = {"_gmtime_js": 2, "_localtime_js": 2}.get(name)
    if halves and len(values) == halves + 1:
        values[:2] = [f"(i64.or {values[0]} (i64.shl {values[1]} (i64.const 32)))"]
    values += ["(i64.const 0)"] * (4 - len(values))
    call = f"(call $ask (i32.const {HOST_CALLS.index(name)}) {' '.join(values)})"
    if not kind.results:
        return f"(drop {call})"
    if kind.results[0] == "i64":
        return call
    if name == "_mktime_js":  # a 64-bit time, its upper half by way of the guest
        return f"(local $time i64) (local.set $time {call}) {_return_high(writer)} (i32.wrap_i64 (local.get $time))"
    return f"(i32.wrap_i64 {call})"


def _return_high(writer: _Writer) -> str:
    high = "(i32.wrap_i64 (i64.shr_u (local.get $time) (i64.const 32)))"
    if "_emscripten_tempret_set" not in writer.shape.exports:
        return f"(global.set $high {high})"
    kind = Function(("i32",), ())
    return writer.export("_emscripten_tempret_set", kind).replace("(local.get 0)", high)


# --- the two modules -------------------------------------------------------------------------------------------------

_BURN = """
(func $burn (param i64)
  (block $end (loop $next
    (br_if $end (i64.eqz (local.get 0)))
    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
    (br $next))))"""

# Python answers with a number, and whether all addresses were inside the memory.
_HOST = '(import "aoray" "host" (func $host (param i32 i64 i64 i64 i64) (result i64 i32)))'
_ASK = f"""
(func $ask (param i32 i64 i64 i64 i64) (result i64)
  (call $burn (i64.const {HOST_FUEL}))
  (call $host (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))
  (if (i32.eqz) (then unreachable)))"""


def _shim(writer: _Writer) -> str:
    table = f'(table $table (export "table") {writer.shape.table_elements} funcref)' if writer.shape.jumps else ""
    return f"""(module {_HOST if writer.host else ""}
{table}
(table $hooks (export "hooks") {len(writer.hooks)} funcref)
(global $now (export "now") (mut f64) (f64.const 0))
(global $high (export "high") (mut i32) (i32.const 0))
(tag $longjmp)
{_BURN}
{_ASK if writer.host else ""}
{_lines(writer.stubs)})"""


def _glue(writer: _Writer) -> str:
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
{tables if shape.jumps else ""}
{_lines(exports)}
{_globals(shape.globals)}
(global $seed (mut i64) (i64.const 0))
{_BURN}
{start if shape.jumps else ""}
{_lines(writer.hooks)}
(elem (table $hooks) (i32.const 0) func {elements})
{_emscripten_calls(shape) if shape.emscripten else _plain_calls(shape)}
{_boot(shape)})"""


_STACK = {
    "current": ("emscripten_stack_get_current", "stackSave"),
    "restore": ("_emscripten_stack_restore", "stackRestore"),
    "alloc": ("_emscripten_stack_alloc", "stackAlloc"),
}
_BOOT = ("emscripten_stack_init", "__wasm_call_ctors", "_initialize")
_CALLED = {name for names in _STACK.values() for name in names} | {
    "handle", "malloc", "free", "setThrew", "_emscripten_tempret_set", "emscripten_stack_get_free", *_BOOT,
}  # fmt: skip


def _stack(exports: Iterable[str], which: str) -> str | None:
    return next((name for name in _STACK[which] if name in exports), None)


def _needed(shape: Shape, which: str) -> str:
    name = _stack(shape.exports, which)
    if name is None:
        raise UnsupportedModule(f"The module does not export {_STACK[which][0]}.")
    return name


def _boot(shape: Shape) -> str:
    nothing = Function((), ())
    calls = [f"(call $guest.{name})" for name in _BOOT if shape.exports.get(name) == nothing]
    return f'(func (export "boot") {" ".join(calls)})'


# `prepare(message size, env size, now, seed) -> stack, message, env`, then `run(stack, message, env) -> result`, and once
# the result is read `done(message, env)`, if that is exported. All addresses are given as i64.
_PREPARE = """
(func (export "prepare") (param $message i64) (param $env i64) (param $time f64) (param $random i64)
    (result i64 i64 i64)
  (global.set $now (local.get $time)) (global.set $seed (local.get $random)) (global.set $high (i32.const 0))
"""


def _emscripten_calls(shape: Shape) -> str:
    p = shape.pointer
    current, restore, alloc = (_needed(shape, which) for which in ("current", "restore", "alloc"))
    free = _wide(p, "(call $guest.emscripten_stack_get_free)")
    need = "(i64.add (i64.const 65536) (i64.add (local.get $message) (local.get $env)))"
    check = f"(if (i64.lt_u {free} {need}) (then unreachable))"
    return f"""{_PREPARE}
  {check if "emscripten_stack_get_free" in shape.exports else ""}
  {_wide(p, f"(call $guest.{current})")}
  {_wide(p, f"(call $guest.{alloc} {_narrow(p, '(local.get $message)')})")}
  {_wide(p, f"(call $guest.{alloc} {_narrow(p, '(local.get $env)')})")})
(func (export "run") (param $stack i64) (param $message i64) (param $env i64) (result i64)
  {_wide(p, f"(call $guest.handle {_narrow(p, '(local.get $message)')} {_narrow(p, '(local.get $env)')})")}
  (call $guest.{restore} {_narrow(p, "(local.get $stack)")}))"""


def _plain_calls(shape: Shape) -> str:
    p = shape.pointer
    message, env = _narrow(p, "(local.get $message)"), _narrow(p, "(local.get $env)")
    done = f"""
(func (export "done") (param $message i64) (param $env i64)
  (call $guest.free {message}) (call $guest.free {env}))"""
    return f"""{_PREPARE}
  (i64.const 0) {_wide(p, f"(call $guest.malloc {message})")} {_wide(p, f"(call $guest.malloc {env})")})
(func (export "run") (param $stack i64) (param $message i64) (param $env i64) (result i64)
  {_wide(p, f"(call $guest.handle {message} {env})")})
{done if shape.exports.get("free") == Function((p,), ()) else ""}"""


def _globals(types: Sequence[str]) -> str:
    """`get_globals` and `set_globals`: every mutable global of the guest, as i64 bits."""
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
