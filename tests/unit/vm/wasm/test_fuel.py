"""Fuel means time: what may take long costs more than an instruction. How long the worst
modules take is measured by `python -m benchmarks.fuel`, not asserted here: it depends on the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guests import wat

from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.engines import Engine as Rules
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmInstance, compiler, pages, rewriter
from aoray.vm.wasm.engine import WasmModule

FIRST, NOW = ENGINES[1], ENGINES[NEWEST]
ANSWER = '{\\"ok\\":true,\\"response\\":{}}'


def spent(code: str, rules: Rules, imports: str = "") -> int:
    text = f"""(module {imports} (memory (export "memory") 2) (data (i32.const 8) "{ANSWER}\\00")
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "handle") (param i32 i32) (result i32) (local v128) {code} (i32.const 8)))"""
    artifact = compiler.compiled(wat(text), rules)
    module = WasmModule(compiler.configured(rules), pages.best(), "", artifact, rules)
    process = WasmInstance.boot(module, Limits(fuel=10**9))
    outcome = process.evaluate(b"{}", b"{}")
    assert outcome.error is None, outcome.error
    return outcome.fuel


ACCESSES = {
    "i32.load8_s": "(drop (i32.load8_s (i32.const 0)))",
    "i64.load": "(drop (i64.load offset=300 (i32.const 0)))",
    "f64.store": "(f64.store (i32.const 4096) (f64.const 1))",
    "i32.store16": "(i32.store16 (i32.const 4096) (i32.const 1))",
    "v128.load": "(drop (v128.load (i32.const 0)))",
    "v128.load32_zero": "(drop (v128.load32_zero (i32.const 0)))",
    "v128.load8_splat": "(drop (v128.load8_splat (i32.const 0)))",
    "v128.store": "(v128.store (i32.const 4096) (local.get 2))",
    "v128.load8_lane": "(drop (v128.load8_lane 3 (i32.const 0) (local.get 2)))",
    "v128.store64_lane": "(v128.store64_lane 1 (i32.const 4096) (local.get 2))",
}


@pytest.mark.parametrize("access", ACCESSES)
def test_a_load_or_store_costs_what_waiting_for_the_memory_may_take(access: str) -> None:
    code = ACCESSES[access]
    now, before = (spent(code * 11, rules) - spent(code, rules) for rules in (NOW, FIRST))
    assert now == before + 10 * (NOW.access_fuel - 1)


def test_what_is_charged_is_not_compiled() -> None:
    text = f"""(module (memory (export "memory") 2)
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "handle") (param i32 i32) (result i32) {ACCESSES["i64.load"] * 200} (i32.const 8)))"""
    cheap = replace(NOW, access_fuel=1)
    small, large = (len(compiler.compiled(wat(text), rules).guest) for rules in (cheap, NOW))
    assert abs(large - small) < 100
    assert len(rewriter.prepare(wat(text), NOW).wasm) > len(rewriter.prepare(wat(text), cheap).wasm) + 2000


@pytest.mark.parametrize("small", ["(memory.copy (i32.const 4096) (i32.const 8192) (i32.const 0))",
                                   "(memory.fill (i32.const 4096) (i32.const 1) (i32.const 0))"])  # fmt: skip
def test_a_copy_costs_something_however_small_it_is(small: str) -> None:
    now, before = (spent(small * 11, rules) - spent(small, rules) for rules in (NOW, FIRST))
    assert now > before + 10 * 50


def test_the_calendar_is_paid_by_the_length_of_the_format() -> None:
    imports = '(import "env" "strftime" (func $strftime (param i32 i32 i32 i32) (result i32)))'
    fill = "(memory.fill (i32.const 4096) (i32.const 99) (i32.const {size}))"
    call = "(drop (call $strftime (i32.const 16384) (i32.const 60000) (i32.const 4096) (i32.const 512)))"

    def grown(rules: Rules) -> int:
        long, short = (spent(fill.format(size=size) + call, rules, imports) for size in (4000, 4))
        return long - short

    assert grown(NOW) > 100 * 5 * NOW.host_call_turns
    assert grown(FIRST) < 5 * NOW.host_call_turns
