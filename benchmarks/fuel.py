"""What a unit of fuel takes at worst: `python -m benchmarks.fuel`.

The worst modules that we could write, each run until its fuel is spent. Printed: nanoseconds a unit, and the
seconds that `FUEL_DEFAULT` would take at that. docs/fuel.md has a table of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import wasmtime

from aoray.limits import FUEL_AT_ONCE, FUEL_DEFAULT, GIB
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmEngine, WasmInstance

WORDS = 1 << 27  # of 4 bytes: half a GiB


def chase(words: int) -> str:
    """Each load gives the address of the next, all over the memory; what it takes is the memory's latency."""
    follow = "(i32.and (i32.add (i32.mul (local.get 2) (i32.const 1664525)) (i32.const 1013904223))"
    lay = f"""(loop $lay
      (i32.store offset=65536 (i32.shl (local.get 2) (i32.const 2))
        (i32.shl {follow} (i32.const {words - 1})) (i32.const 2)))
      (br_if $lay (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const {words}))))"""
    loads = "(i32.load offset=65536 " * 200 + "(local.get 2)" + ")" * 200
    return _module(
        f"(if (i32.eqz (i32.load (i32.const 16))) (then {lay} (i32.store (i32.const 16) (i32.const 1))"
        f" (return (i32.const 64)))) (local.set 2 (i32.const 0)) (loop $go (local.set 2 {loads}) (br $go))",
        pages=(words >> 14) + 2,
    )


def _module(body: str, pages: int = 2, extra: str = "") -> str:
    data = '{\\"ok\\":true,\\"response\\":{}}\\00'
    return f"""(module (memory (export "memory") {pages}) (data (i32.const 64) "{data}") {extra}
      (func (export "malloc") (param i32) (result i32) (i32.const 4096))
      (func (export "handle") (param i32 i32) (result i32)
        (local i32 i64 f64 funcref) {body} (i32.const 64)))"""


def _loop(step: str, extra: str = "", pages: int = 2) -> str:
    return _module(f"(loop $go {step * 50} (br $go))", pages, extra)


_RANDOM = "(local.set 2 (i32.add (i32.mul (local.get 2) (i32.const 1664525)) (i32.const 1013904223)))"
_PLACE = f"(i32.and (local.get 2) (i32.const {WORDS * 4 - 4096}))"
_BIG = "(i64.or (local.get 3) (i64.const 0x7123456789abcdef))"
_DIVIDE = f"(local.set 3 (i64.div_u {_BIG} (i64.or (local.get 3) (i64.const 1))))"
_ROOT = "(f64.sqrt (f64.add (local.get 4) (f64.const 2)))"
_X = "(global $x (mut i64) (i64.const 3))"
WORST: Mapping[str, str] = {
    "loads that follow each other over 512 MiB": chase(WORDS),
    "the same over 64 MiB": chase(WORDS >> 3),
    "the same over 4 MiB": chase(WORDS >> 7),
    "stores all over 512 MiB": _loop(
        f"{_RANDOM}(i64.store offset=60 {_PLACE} (i64.const 1))", pages=WORDS >> 14
    ),
    "memory.copy of 8 bytes all over": _loop(
        f"{_RANDOM}(memory.copy {_PLACE} (i32.xor {_PLACE} (i32.const 0x5555000)) (i32.const 8))",
        pages=WORDS >> 14,
    ),
    "memory.copy of 1 KiB all over": _loop(
        f"{_RANDOM}(memory.copy {_PLACE} (i32.xor {_PLACE} (i32.const 0x5555000)) (i32.const 1024))",
        pages=WORDS >> 14,
    ),
    "memory.fill of 256 MiB": _loop(
        "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 268435456))", pages=5000
    ),
    "memory.grow": _loop("(drop (memory.grow (i32.const 0)))"),
    "exceptions": _loop("(block (try_table (catch $t 0) (throw $t)))", "(tag $t)"),
    "exceptions through 2,000 calls": _loop(
        "(block (try_table (catch $t 0) (call $deep (i32.const 2000))))",
        """(tag $t) (func $deep (param i32) (if (i32.eqz (local.get 0)) (then (throw $t)))
          (call $deep (i32.sub (local.get 0) (i32.const 1))))""",
    ),
    "divisions": _loop(f"{_DIVIDE} (global.set $x (local.get 3))", _X),
    "square roots": _loop(f"(local.set 4 {_ROOT}) (global.set $x (i64.reinterpret_f64 (local.get 4)))", _X),
    "ref.func": _loop("(local.set 5 (ref.func $f))", "(func $f) (elem declare func $f)"),
    "calls": _loop("(call $f)", "(func $f)"),
}


def measured(directory: Path, text: str) -> float:
    """Nanoseconds of processor time a unit; memory that is not there yet counts as well."""
    module = WasmEngine(directory).load(bytes(wasmtime.wat2wasm(text)))
    process = WasmInstance.boot(module, Limits(memory_bytes_max=1 * GIB, fuel=10**13))
    if "$lay" in text:
        assert process.evaluate(b"{}", b"{}").error is None
        process.state()
    started = time.thread_time()
    assert process.attempt_dry_run(b"{}", b"{}") is None, "it takes all the fuel there is"
    took = time.thread_time() - started
    process.close()
    return took * 1e9 / FUEL_AT_ONCE


def main(names: list[str]) -> None:
    """Measures all, or those whose names begin like that."""
    with TemporaryDirectory() as directory:
        for name, text in WORST.items():
            if not names or name.startswith(tuple(names)):
                unit = measured(Path(directory), text)
                print(f"{name:45s} {unit:7.2f} ns a unit {unit * FUEL_DEFAULT / 1e9:7.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
