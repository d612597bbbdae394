"""Modules are refused with a reason that helps; compiled ones are cached, and never believed blindly."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from guests import counter, data, hostile, wat
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import AOS_FOLDER

from aoray import limits
from aoray.errors import TooLarge, Unavailable, UnsupportedModule
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.engines import Engine as Rules
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmEngine, WasmInstance, rewriter
from aoray.vm.wasm import engine as engine_module

HANDLE = '(func (export "handle") (param i32 i32) (result i32) (i32.const 0))'
MALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
MEMORY = '(memory (export "memory") 1)'
WHOLE = MEMORY + HANDLE + MALLOC

REFUSED = {
    "does not export the function handle": MEMORY + MALLOC,
    "does not export the function malloc": MEMORY + HANDLE,
    "does not export a memory": HANDLE + MALLOC,
    "handle is (param i64)": MEMORY + MALLOC + '(func (export "handle") (param i64))',
    "imports env.launch, which is not known": '(import "env" "launch" (func))' + WHOLE,
    "imports other.exit, which is not known": '(import "other" "exit" (func))' + WHOLE,
    "imports '__syscall_) unreachable (' from 'env'": '(import "env" "__syscall_) unreachable (" (func))'
    + WHOLE,
    "imports env.memory, which is not a function": '(import "env" "memory" (memory 1))' + HANDLE + MALLOC,
    "without exporting its table": '(import "env" "invoke_v" (func (param i32)))' + WHOLE,
    "with another type": '(import "env" "emscripten_resize_heap" (func (param f64)))' + WHOLE,
    "more than one memory": MEMORY + "(memory 1)" + HANDLE + MALLOC,
    "mutable global that is not a number": "(global (mut externref) (ref.null extern))" + WHOLE,
    "garbage-collected types": "(type (struct (field (mut i32))))" + WHOLE,
    "over 500 mutable globals": "(global (mut i32) (i32.const 0))" * 501 + WHOLE,
    "uses table.set": "(table 1 funcref)(func (table.set (i32.const 0) (ref.null func)))" + WHOLE,
    "uses table.grow": "(table 1 funcref)(func (drop (table.grow (ref.null func) (i32.const 1))))" + WHOLE,
    "uses data.drop": '(data $d "x") (func (data.drop $d))' + WHOLE,
    "uses memory.init": '(data $d "x") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))'
    + WHOLE,
    "uses instruction 0xfe10 of threads": "(func (drop (i32.atomic.load (i32.const 0))))" + WHOLE,
    "does not compile": "(func (result i32))" + WHOLE,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_module_that_cannot_run_is_refused_with_the_reason(engine: WasmEngine, reason: str) -> None:
    with pytest.raises(UnsupportedModule) as caught:
        engine.load(_invalid() if reason == "does not compile" else wat(f"(module {REFUSED[reason]})"))
    assert reason in caught.value.message


def _invalid() -> bytes:
    """A module with a 64-bit constant where a 32-bit one belongs, which wat2wasm would not write."""
    valid = wat(f"(module {WHOLE} (func (result i32) (i32.const 7777)))")
    return valid.replace(b"\x41\xe1\x3c", b"\x42\xe1\x3c")


def test_what_is_not_wasm_is_refused(engine: WasmEngine) -> None:
    for junk in (b"", b"\0asm", b"#!/bin/sh", b"\0asm\x0d\0\x01\0", counter()[:-30]):
        with pytest.raises(UnsupportedModule):
            engine.load(junk)
    with pytest.raises(TooLarge):
        engine.load(bytes(ENGINES[NEWEST].module_bytes_max + 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (WHOLE + "(func $s unreachable) (start $s)", "does not start: unreachable"),
        (WHOLE + "(func $s (loop (br 0))) (start $s)", "does not start: out of compute"),
        (WHOLE + '(func (export "_initialize") (loop (br 0)))', "does not start: out of compute"),
        (MALLOC + HANDLE + '(memory (export "memory") 60000)', "does not start"),
        (WHOLE + "(table 60000000 funcref)", "does not start"),
    ],
)
def test_a_module_that_fails_to_start_is_refused(engine: WasmEngine, text: str, reason: str) -> None:
    with pytest.raises(UnsupportedModule) as caught:
        WasmInstance.boot(engine.load(wat(f"(module {text})")), Limits(fuel=1_000_000))
    assert reason in caught.value.message


def test_a_module_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WasmEngine(tmp_path).load(counter()).sha256
    monkeypatch.setattr(engine_module, "_run_compiler", _no_compiler)
    _counts(WasmEngine(tmp_path))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other"])
def test_a_damaged_file_is_compiled_again(tmp_path: Path, damage: str) -> None:
    WasmEngine(tmp_path).load(counter())
    (path,) = tmp_path.glob("*.aoray")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(
        {"bit": bytes(content), "cut": bytes(content[:5000]), "empty": b"", "other": b"x" * 99}[damage]
    )
    _counts(WasmEngine(tmp_path))


def test_a_compilation_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MODULE_COMPILE_SECONDS_MAX", 0.01)
    with pytest.raises(Unavailable, match="takes over"):
        WasmEngine(tmp_path).load(counter())
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}


def test_few_compilers_run_at_once_and_who_waits_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each module by an engine of its own, as process actors have them; and a place is free again after."""
    running, most = threading.Semaphore(limits.COMPILERS_MAX), threading.Barrier(limits.COMPILERS_MAX)
    run_compiler = engine_module._run_compiler

    def counted(source: Path, target: Path, rules: Rules) -> None:
        assert running.acquire(blocking=False), "one too many"
        most.wait(60)  # and as many as may
        run_compiler(source, target, rules)
        running.release()

    monkeypatch.setattr(engine_module, "_run_compiler", counted)
    modules = [wat(f"(module {WHOLE} (func (result i32) (i32.const {n})))") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda wasm: WasmEngine(tmp_path).load(wasm).sha256, modules))
    assert len(set(loaded)) == 4


def test_of_one_owner_one_module_is_compiled_at_a_time_and_another_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each module by an engine of its own: process actors share the directory alone."""
    begun, goes_on, many = threading.Event(), threading.Event(), threading.Semaphore(1)
    run_compiler = engine_module._run_compiler
    modules = [wat(f"(module {WHOLE} (func (result i32) (i32.const {n})))") for n in range(5)]

    def held(source: Path, target: Path, rules: Rules) -> None:
        if source.read_bytes() == modules[4]:
            return run_compiler(source, target, rules)
        assert many.acquire(blocking=False), "two of one owner"
        begun.set()
        assert goes_on.wait(60)
        run_compiler(source, target, rules)
        many.release()
        return None

    monkeypatch.setattr(engine_module, "_run_compiler", held)
    newest = ENGINES[NEWEST]
    with ThreadPoolExecutor(4) as pool:
        heavy = [pool.submit(WasmEngine(tmp_path).load, wasm, newest, "stranger") for wasm in modules[:4]]
        assert begun.wait(60)
        assert WasmEngine(tmp_path).load(modules[4], newest, "somebody else")
        assert not any(each.done() for each in heavy)
        goes_on.set()
        assert len({each.result(60).sha256 for each in heavy}) == 4


def test_the_cache_survives_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WasmEngine(tmp_path / "a").load(counter())
    shutil.move(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(engine_module, "_run_compiler", _no_compiler)
    _counts(WasmEngine(tmp_path / "b"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mangled_binary_is_refused_or_valid_but_never_breaks_the_rewriter(data: st.DataObject) -> None:
    wasm = bytearray(hostile())
    for _ in range(data.draw(st.integers(1, 4))):
        wasm[data.draw(st.integers(8, len(wasm) - 1))] = data.draw(st.integers(0, 255))
    try:
        rewriter.prepare(bytes(wasm[: data.draw(st.integers(8, len(wasm)))]), ENGINES[NEWEST])
    except UnsupportedModule as error:
        assert error.message


@pytest.mark.node
def test_every_aos_binary_is_read_to_its_end() -> None:
    for name in ("aos", "aos2_0_1", "aos2_0_3", "aos2_0_6", "aos2_0_4_32", "process", "sqlite", "llama"):
        assert rewriter.prepare((AOS_FOLDER / f"{name}.wasm").read_bytes(), ENGINES[NEWEST]).globals


def _no_compiler(*_: Path) -> None:
    raise AssertionError("It was compiled again.")


def _counts(engine: WasmEngine) -> None:
    assert WasmInstance.boot(engine.load(counter()), Limits()).evaluate(data(""), b"{}").error is None
