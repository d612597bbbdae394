"""Modules and messages for the engine's tests: a hostile guest of the plain ABI, and what aos is sent."""

from __future__ import annotations

from pathlib import Path

import orjson
import wasmtime

ROOT = Path(__file__).parents[2]
PROCESS = "p" * 43

# `handle` does what the first character of the message's Data says, after scribbling over memory and globals.
_HOSTILE = """
(module
  (memory (export "memory") 2 300)
  (table 1 funcref)
  (tag $thrown)
  (global $count (mut i32) (i32.const 0))
  (global $ratio (mut f64) (f64.const 0.5))
  (global $small (mut f32) (f32.const 0.25))
  (global $wide (mut i64) (i64.const -1))
  (data (i32.const 1024) "{\\"ok\\":true,\\"response\\":{\\"Output\\":\\"0000\\",\\"Messages\\":[]}}\\00")
  (data (i32.const 2048) "{\\"ok\\":true,\\"response\\":")
  (data (i32.const 3072) "{\\"ok\\":false,\\"response\\":\\"refused\\"}\\00")
  (data (i32.const 4096) "{\\"ok\\":true,\\"response\\":{\\"Error\\":\\"sorry\\"}}\\00")
  (data (i32.const 5120) "[\\"ok\\"]\\00")
  (data (i32.const 5632) "{\\"ok\\":true,\\"response\\":{\\"Messages\\":7}}\\00")
  (func (export "malloc") (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (i32.const 30000)) (then (return (i32.const 0))))
    (local.get $size) (i32.add (i32.const 8192)) (i32.and (i32.const -8)))
  (func $deep (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  (func $digit (param $at i32) (param $value i32)
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))
  (func $count (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (call $digit (i32.const 1060) (global.get $count))
    (call $digit (i32.const 1059) (i32.div_u (global.get $count) (i32.const 10)))
    (i32.const 1024))
  (func (export "handle") (param $message i32) (param $env i32) (result i32)
    (local $what i32)
    (local.set $what (i32.load8_u offset=9 (local.get $message)))
    (if (i32.eq (local.get $what) (i32.const 48)) (then (return (call $count))))
    (global.set $count (i32.const 77))
    (global.set $ratio (f64.div (f64.const 0) (f64.const 0)))
    (global.set $small (f32.const 9))
    (global.set $wide (i64.const 12345678901234))
    (memory.fill (i32.const 70000) (local.get $what) (i32.const 50000))
    DEEDS
    unreachable))
"""

_DEEDS = {
    "1": "unreachable",
    "2": "(loop $for_ever (br $for_ever))",
    "3": "(return (call $deep (i32.const 0)))",
    "4": "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) unreachable",
    "5": """(drop (memory.grow (i32.const 200)))
        (memory.fill (i32.const 131072) (i32.const 120) (i32.const 13107200)) (return (i32.const 131072))""",
    "6": "(return (i32.const -16))",
    "7": "(return (i32.const 2048))",
    "8": "(return (i32.const 3072))",
    "9": "(return (i32.const 4096))",
    "A": "(global.set $count (i32.const 40)) (drop (memory.grow (i32.const 3))) (return (call $count))",
    "B": "(loop $copies (memory.copy (i32.const 0) (i32.const 60000) (i32.const 60000)) (br $copies))",
    "C": "(throw $thrown)",
    "D": "(return (i32.const 0))",
    "E": "(return (i32.const 5120))",
    "F": "(return (i32.const 5632))",
    "G": "(return (i32.load (i32.const -4)))",
    "H": "(return (i32.div_u (i32.const 1) (i32.const 0)))",
    "I": "(call_indirect (i32.const 0))",
}


def hostile() -> bytes:
    deeds = "\n".join(
        f"(if (i32.eq (local.get $what) (i32.const {ord(letter)})) (then {deed}))"
        for letter, deed in _DEEDS.items()
    )
    return wat(_HOSTILE.replace("DEEDS", deeds))


def counter() -> bytes:
    return wat((ROOT / "benchmarks/counter.wat").read_text())


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def data(text: str) -> bytes:
    """A message for the hostile guest."""
    return orjson.dumps({"Data": text, "Id": "m" * 43, "Timestamp": 1_700_000_000_000})


def message(nonce: int, text: str, action: str = "Eval") -> bytes:
    """The message of a nonce to an aos process, as a compute unit gives it."""
    first = nonce == 0
    tags = {"Data-Protocol": "ao", "Variant": "ao.TN.1", "Type": "Process" if first else "Message"}
    tags |= {"Module": "M" * 43, "Scheduler": "S" * 43} if first else {"Action": action}
    return orjson.dumps({
        "Id": PROCESS if first else str(nonce).rjust(43, "m"),
        "Data": text, "Owner": "o" * 43, "From": "o" * 43, "Target": PROCESS, "Anchor": None,
        "Tags": [{"name": name, "value": value} for name, value in tags.items()],
        "Epoch": 0, "Nonce": nonce, "Timestamp": 1_700_000_000_000 + nonce * 1000, "Block-Height": 1_500_000,
        "Hash-Chain": "h", "Cron": False, "Read-Only": False, "Module": "M" * 43,
    })  # fmt: skip


ENV = orjson.dumps({
    "Process": {"Id": PROCESS, "Owner": "o" * 43, "Tags": [{"name": "Name", "value": "test"}]},
    "Module": {"Id": "M" * 43, "Owner": "o" * 43, "Tags": []},
})  # fmt: skip
