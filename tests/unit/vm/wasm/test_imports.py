"""What a guest imports: time and randomness come from the message; no files; work is paid in fuel."""

from __future__ import annotations

import orjson
from guests import wat

from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmEngine, WasmInstance

# The answer is 16 random bytes and the time, as text of nibbles from "a".
_WASI = """
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "{\\"ok\\":true,\\"response\\":{\\"Output\\":\\"")
  (data (i32.const 2048) "\\"}}\\00")
  (global $errors (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $errors (i32.const 1)))
  (func (export "malloc") (param i32) (result i32) (i32.const 8192))
  (func (export "free") (param i32))
  (func $text (param $at i32) (param $to i32) (param $n i32)
    (loop $next
      (i32.store8 (local.get $to)
        (i32.add (i32.const 97) (i32.and (i32.load8_u (local.get $at)) (i32.const 15))))
      (i32.store8 offset=1 (local.get $to)
        (i32.add (i32.const 97) (i32.shr_u (i32.load8_u (local.get $at)) (i32.const 4))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func $expect (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
  (func (export "handle") (param i32 i32) (result i32)
    (call $expect (global.get $errors) (i32.const 1))
    (call $expect (call $random (i32.const 512) (i32.const 16)) (i32.const 0))
    (call $expect (call $clock (i32.const 0) (i64.const 0) (i32.const 528)) (i32.const 0))
    (i32.store (i32.const 600) (i32.const 1024)) (i32.store (i32.const 604) (i32.const 5))
    (i32.store (i32.const 608) (i32.const 1024)) (i32.store (i32.const 612) (i32.const 7))
    (call $expect (call $write (i32.const 1) (i32.const 600) (i32.const 2) (i32.const 616)) (i32.const 0))
    (call $expect (i32.load (i32.const 616)) (i32.const 12))
    (call $expect (call $write (i32.const 3) (i32.const 600) (i32.const 2) (i32.const 616)) (i32.const 8))
    (call $expect (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 44))
    (call $expect (call $prestat (i32.const 3) (i32.const 600)) (i32.const 8))
    (call $expect (call $environ (i32.const 600) (i32.const 604)) (i32.const 0))
    (call $expect (i32.load (i32.const 600)) (i32.const 0))
    (memory.copy (i32.const 4096) (i32.const 1024) (i32.const 33))
    (call $text (i32.const 512) (i32.const 4129) (i32.const 24))
    (memory.copy (i32.const 4177) (i32.const 2048) (i32.const 4))
    (i32.const 4096)))
"""

TIME = 1_700_000_000_123


def output(engine: WasmEngine, **fields: object) -> bytes:
    process = WasmInstance.boot(engine.load(wat(_WASI)), Limits())
    outcome = process.evaluate(orjson.dumps(fields), b"{}")
    assert outcome.error is None, outcome.error
    letters = [ord(letter) - 97 for letter in outcome.response["Output"]]
    return bytes(low | high << 4 for low, high in zip(letters[::2], letters[1::2], strict=True))


def test_the_clock_is_the_timestamp_of_the_message(engine: WasmEngine) -> None:
    for given in (TIME, str(TIME)):
        assert int.from_bytes(output(engine, Timestamp=given)[16:], "little") == TIME * 1_000_000
    for missing in (None, "soon", {}, [], -1):
        assert int.from_bytes(output(engine, Timestamp=missing)[16:], "little") == 0


def test_randomness_follows_from_the_id_of_the_message(engine: WasmEngine) -> None:
    one, same, other = (output(engine, Id=identity)[:16] for identity in ("a" * 43, "a" * 43, "b" * 43))
    assert one == same != other
    assert len(set(one)) > 8


def fuel(engine: WasmEngine, code: str) -> int:
    answer = '{\\"ok\\":true,\\"response\\":{}}'
    text = f"""(module (memory (export "memory") 200 300) (tag $t) (data (i32.const 8) "{answer}\\00")
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func $twice (param $n i32) {code})
      (func (export "handle") (param i32 i32) (result i32) (call $twice (i32.const 1)) (i32.const 8)))"""
    outcome = WasmInstance.boot(engine.load(wat(text)), Limits()).evaluate(b"{}", b"{}")
    assert outcome.error is None, outcome.error
    return outcome.fuel


def test_what_takes_long_is_paid_in_fuel(engine: WasmEngine) -> None:
    nothing = fuel(engine, "")
    copy = "(memory.copy (i32.const 65536) (i32.const 131072) (i32.const 6400000))"
    fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 6400000))"
    throw = "(block (try_table (catch_all 0) (throw $t)))"
    again = "(block $out (result exnref) (block (result exnref) (try_table (result exnref) (catch_all_ref 0)"
    again += " (throw $t))) (try_table (param exnref) (catch_all_ref $out) (throw_ref)) unreachable) drop"
    for code, least in (
        (copy, 400_000),
        (fill, 400_000),
        ("(drop (memory.grow (i32.const 1)))", 1_000),
        (throw, 1_000),
        (again, 2_000),
    ):
        assert fuel(engine, code) - nothing > least


def test_charged_work_is_done_as_it_was_written(engine: WasmEngine) -> None:
    check = "(if (i32.ne (local.get $n) (i32.const {})) (then unreachable))"
    fuel(engine, "(local.set $n (memory.grow (i32.const 2)))" + check.format(200))
    fuel(engine, "(local.set $n (memory.grow (i32.const 200)))" + check.format(-1))
    move = """(i32.store (i32.const 4096) (i32.const 0x04030201))
      (memory.copy (i32.const 4097) (i32.const 4096) (i32.const 3))
      (local.set $n (i32.load (i32.const 4096)))"""
    fuel(engine, move + check.format("0x03020101"))
    fill = """(memory.fill (i32.const 4097) (i32.const 0x107) (i32.const 2))
      (local.set $n (i32.load (i32.const 4096)))"""
    fuel(engine, fill + check.format("0x00070700"))
