"""What a guest may import, and what it gets: WASM text for the shim and the glue (shim.py).

Nothing here reads the host: the time is the message's Timestamp, randomness follows from its Id, and there
are no files. An import becomes a **stub** of the shim. A stub that needs the guest's memory or exports calls
a **hook**, a function of the glue, through a table. Only the calendar is Python (calendar.py). Work that
takes longer than its instructions (a copy, a call of Python) first spends fuel in `$burn`. Other imports are
refused (`UnsupportedModule`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aoray.errors import UnsupportedModule
from aoray.vm.engines import Engine as Rules

HOST_CALLS = ("strftime", "_gmtime_js", "_localtime_js", "_mktime_js", "_tzset_js")
_WASI = "wasi_snapshot_preview1"


@dataclass(frozen=True, slots=True)
class Function:
    """The type of an imported or exported function: value types as WAT writes them."""

    params: tuple[str, ...]
    results: tuple[str, ...]

    def wat(self) -> str:
        """Return the type as WAT."""
        params = f"(param {' '.join(self.params)})" if self.params else ""
        return params + (f"(result {' '.join(self.results)})" if self.results else "")

    def arguments(self) -> str:
        """Return WAT that pushes all parameters."""
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
    bounded: bool  # whether it exports rewriter.PAGES
    rules: Rules

    @property
    def emscripten(self) -> bool:
        """Whether emscripten built the module, which then exports its stack."""
        return stack_export(self.exports, "current") is not None

    @property
    def jumps(self) -> bool:
        """Whether the module uses `setjmp` and `longjmp`, or C++ exceptions, by imports `invoke_…`."""
        return any(name.startswith("invoke_") for _, name in self.imports)


STACK = {
    "current": ("emscripten_stack_get_current", "stackSave"),
    "restore": ("_emscripten_stack_restore", "stackRestore"),
    "alloc": ("_emscripten_stack_alloc", "stackAlloc"),
}


@dataclass(slots=True)
class Writer:
    """The text of the shim and the glue of one module, while it is written."""

    shape: Shape
    stubs: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)  # functions of the glue in the table
    host: bool = False
    cxx: bool = False  # whether there are C++ exceptions (cxx.py)

    def hook(self, name: str, kind: Function, body: str, locals_: str = "") -> str:
        """Add the function `body` to the glue, where the guest's memory can be used; return the body of a
        stub that calls it."""
        index = len(self.hooks)
        self.hooks.append(f"(func $hook{index} {kind.wat()} {locals_} ;; {name}\n{body})")
        return f"(call_indirect $hooks {kind.wat()} {kind.arguments()} (i32.const {index}))"

    def export(self, export: str, kind: Function) -> str:
        """Return the body of a stub that calls an export of the guest."""
        return self.hook(export, kind, f"(call $guest.{export} {kind.arguments()})")


def stack_export(exports: Iterable[str], which: str) -> str | None:
    """Return the name under which a module exports a function of its stack (a key of STACK); None if it does
    not."""
    return next((name for name in STACK[which] if name in exports), None)


def needed(shape: Shape, which: str) -> str:
    """Return the name under which a module exports a function of its stack. Raises `UnsupportedModule` if it
    does not."""
    name = stack_export(shape.exports, which)
    if name is None:
        raise UnsupportedModule(f"The module does not export {STACK[which][0]}.")
    return name


def stub(writer: Writer, module: str, name: str, kind: Function) -> str:
    """Return the shim's function for an import. Raises `UnsupportedModule` if the import is not known."""
    if not (name.isascii() and name.isidentifier()):  # the name becomes part of the text
        raise UnsupportedModule(f"The module imports {name!r} from {module!r}, which is not known here.")
    body = _body(writer, module, name, kind)
    if body is None:
        raise UnsupportedModule(f"The module imports {module}.{name}, which is not known here.")
    return f'(func (export "{module}.{name}") {kind.wat()}\n  {body})'


def _body(writer: Writer, module: str, name: str, kind: Function) -> str | None:
    if writer.shape.rules.more_imports:
        body = _added(writer, module, name, kind)
        if body is not None:
            return body
    if module == _WASI:
        return _hooked(writer, name, kind, _wasi_hooks(writer.shape)) or _wasi_constant(name, kind)
    if module != "env":
        return None
    if name.startswith("invoke_") and kind.params:
        return _invoke(writer, kind)
    if name in HOST_CALLS:
        return _host_call(writer, name, kind)
    return _hooked(writer, name, kind, _env_hooks(writer.shape)) or _env_constant(
        name, kind, writer.shape.rules
    )


def _added(writer: Writer, module: str, name: str, kind: Function) -> str | None:
    """Return the body of a stub for imports that engine 1 does not know."""
    from aoray.vm.wasm import cxx

    if (module, name) == ("metering", "usegas") or name in _SILENT:
        return _constant(kind, 0)
    if module != "env":
        return None
    if name == "strftime_l":  # there is one locale
        return _host_call(writer, "strftime", kind)
    return cxx.stub(writer, name, kind)


# Fuel replaces the module's own counter of gas; printed text is dropped.
_SILENT = (
    "metering_gasUsed", "emscripten_err", "emscripten_out", "emscripten_dbg", "emscripten_console_log",
    "emscripten_console_warn", "emscripten_console_error",
)  # fmt: skip


def _hooked(writer: Writer, name: str, kind: Function, hooks: Mapping[str, tuple[str, str]]) -> str | None:
    if name not in hooks:
        return None
    body, locals_ = hooks[name]
    return writer.hook(name, kind, body, locals_)


def _constant(kind: Function, value: int) -> str:
    return " ".join(f"({result}.const {value})" for result in kind.results)


def _env_constant(name: str, kind: Function, rules: Rules) -> str | None:
    """Return the body of a stub that always answers the same, or uses only the shim's globals; error numbers
    as in emscripten."""
    if name in ("exit", "_abort_js", "abort", "__assert_fail", "_emscripten_runtime_keepalive_clear"):
        return "unreachable"
    simple = {
        "_emscripten_throw_longjmp": f"(call $burn (i64.const {rules.slow_step_turns})) (throw $longjmp)",
        "emscripten_date_now": "(global.get $now)",
        "emscripten_get_now": "(global.get $now)",
        "setTempRet0": "(global.set $high (local.get 0))",
        "getTempRet0": "(global.get $high)",
        "_emscripten_get_now_is_monotonic": _constant(kind, 1),
        "emscripten_notify_memory_growth": _constant(kind, 0),
        "_munmap_js": _constant(kind, -52),
        # WeaveDrive without a drive: no file opens, so nothing is read.
        "__asyncjs__weavedrive_open": _constant(kind, 0),
        "__asyncjs__weavedrive_read": _constant(kind, 0),
        "__asyncjs__weavedrive_close": _constant(kind, 0),
    }
    if name in simple:
        return simple[name]
    if name == "_emscripten_system":  # no shell: 0 to the question whether there is one, else ENOSYS
        return f"(select (i32.const 0) (i32.const -52) ({' '.join(kind.params)}.eqz (local.get 0)))"
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
    copy = _template(_MEMCPY, p).replace("BULK_BITS", str(shape.rules.bulk_bytes_per_turn_bits))
    if shape.rules.bulk_base_turns:
        copy = f"(call $burn (i64.const {shape.rules.bulk_base_turns})){copy}"
    return {
        "_emscripten_memcpy_js": (copy, f"(local $size {p})"),
        "emscripten_memcpy_big": (copy, f"(local $size {p})"),
        "emscripten_get_heap_max": (f"({p}.const {shape.memory_pages_max << 16})", ""),
        "emscripten_resize_heap": (
            _template(_RESIZE, p)
            .replace("CHECKED", _CHECKED if shape.bounded else "")
            .replace("MAX", str(shape.memory_pages_max << 16)),
            "(local $want f64) (local $old f64) (local $new f64) (local $cut f64)",
        ),
    }


def _wasi_hooks(shape: Shape) -> dict[str, tuple[str, str]]:
    p = shape.pointer
    none = _template(
        "(P.store (local.get 0) (P.const 0)) (P.store (local.get 1) (P.const 0)) (i32.const 0)", p
    )
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


# Like JavaScript's copyWithin: bytes outside the memory are left out.
_MEMCPY = """
(local.set $size (P.shl (memory.size) (P.const 16)))
(if (P.gt_u (local.get 0) (local.get $size)) (then (return)))
(if (P.gt_u (local.get 1) (local.get $size)) (then (return)))
(if (P.gt_u (local.get 2) (P.sub (local.get $size) (local.get 0)))
  (then (local.set 2 (P.sub (local.get $size) (local.get 0)))))
(if (P.gt_u (local.get 2) (P.sub (local.get $size) (local.get 1)))
  (then (local.set 2 (P.sub (local.get $size) (local.get 1)))))
(call $burn (i64.shr_u WIDE[(local.get 2)]WIDE (i64.const BULK_BITS)))
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
  CHECKED
  (local.set $cut (f64.mul (local.get $cut) (f64.const 2)))
  (br_if $again (f64.le (local.get $cut) (f64.const 4))))
(i32.const 0)"""

# As in rewriter.py: growth that fails within the bound is a fault of the machine.
_CHECKED = """(if (i64.le_u
      (i64.trunc_sat_f64_u (f64.div (local.get $new) (f64.const 65536))) (global.get $pages))
    (then (global.set $pages (i64.const -1)) unreachable))"""

# What is written to standard output and error is dropped.
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


def _invoke(writer: Writer, kind: Function) -> str:
    """Return a stub that calls a function of the guest's table; a longjmp out of this function restores the
    stack and calls setThrew."""
    p = writer.shape.pointer
    callee = Function(kind.params[1:], kind.results)
    index = "(i32.wrap_i64 (local.get 0))" if kind.params[0] == "i64" else "(local.get 0)"
    arguments = " ".join(f"(local.get {n})" for n in range(1, len(kind.params)))
    current = writer.export(needed(writer.shape, "current"), Function((), (p,)))
    restore = writer.export(needed(writer.shape, "restore"), Function((p,), ()))
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


def _host_call(writer: Writer, name: str, kind: Function) -> str:
    """Return a stub that calls Python (calendar.py) with up to four numbers. 32-bit guests pass 64-bit times
    in two halves."""
    writer.host = True
    values = [
        f"(local.get {n})" if param == "i64" else f"(i64.extend_i32_u (local.get {n}))"
        for n, param in enumerate(kind.params)
    ]
    halves = {"_gmtime_js": 2, "_localtime_js": 2}.get(name)
    if halves and len(values) == halves + 1:
        values[:2] = [f"(i64.or {values[0]} (i64.shl {values[1]} (i64.const 32)))"]
    values = [*values, *["(i64.const 0)"] * 4][:4]
    call = f"(call $ask (i32.const {HOST_CALLS.index(name)}) {' '.join(values)})"
    if not kind.results:
        return f"(drop {call})"
    if kind.results[0] == "i64":
        return call
    if name == "_mktime_js":  # the upper half of the 64-bit time is returned through the guest
        high = _return_high(writer)
        return f"(local $time i64) (local.set $time {call}) {high} (i32.wrap_i64 (local.get $time))"
    return f"(i32.wrap_i64 {call})"


def _return_high(writer: Writer) -> str:
    high = "(i32.wrap_i64 (i64.shr_u (local.get $time) (i64.const 32)))"
    if "_emscripten_tempret_set" not in writer.shape.exports:
        return f"(global.set $high {high})"
    kind = Function(("i32",), ())
    return writer.export("_emscripten_tempret_set", kind).replace("(local.get 0)", high)
