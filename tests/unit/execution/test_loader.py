"""Whose modules are heavy waits for his own; what is refused is remembered."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from actor_rig import ECHO, MODULE_TAGS
from fake_arweave import FakeArweave
from ordering import USER
from polling import until

from aoray import limits
from aoray.errors import UnsupportedModule
from aoray.execution.loader import Loader, SpawnedProcess
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.modules import ModuleStore
from aoray.vm.interface import Program
from aoray.vm.registry import VirtualMachines
from aoray.vm.wasm import WasmEngine, WasmModule

WASM = bytes(wasmtime.wat2wasm(ECHO.read_text()))
STRANGER, HONEST = generate_ed25519(), generate_ed25519()


def published(owner: Signer, number: int, wasm: bytes = WASM) -> DataItem:
    """Different bytes for each number: a custom section."""
    return build(owner, tags=MODULE_TAGS, data=wasm + b"\0\3\1n" + bytes([number]))


class SlowMachines(VirtualMachines):
    """Holds what it compiles until it is let go of."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.under_way: Counter[str] = Counter()
        self.loaded: Counter[str] = Counter()
        self.most = 0
        self.goes_on = threading.Event()

    def load(self, module: bytes, *rest: Any) -> Program:
        owner = rest[-1]
        self.under_way[owner] += 1
        self.most = max(self.most, self.under_way[owner])
        if owner == STRANGER.address:
            assert self.goes_on.wait(60)
        try:
            return super().load(module, *rest)
        finally:
            self.under_way[owner] -= 1
            self.loaded[owner] += 1


def spawn_of(module: DataItem) -> tuple[str, SpawnedProcess]:
    process = build(USER, tags=[Tag("Module", module.id)])
    return process.id, SpawnedProcess(process.raw, build(USER, tags=[Tag("Engine", "2")]).raw)


async def test_a_strangers_many_modules_do_not_hold_up_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOADS_MAX", 4)  # each module is compiled
    heavy = [published(STRANGER, n) for n in range(limits.LOADS_MAX + 1)]
    mine = published(HONEST, 0)
    engine = SlowMachines(tmp_path / "compiled")
    loader = Loader(ModuleStore(tmp_path / "modules", FakeArweave(*heavy, mine).item), engine)
    waiting = [asyncio.ensure_future(loader.prepared(*spawn_of(module))) for module in heavy]
    await until(lambda: engine.under_way[STRANGER.address] == 1)
    prepared = await loader.prepared(*spawn_of(mine))
    assert isinstance(prepared.module, WasmModule)
    assert engine.loaded[STRANGER.address] == 0
    engine.goes_on.set()
    for each in await asyncio.gather(*waiting):
        assert isinstance(each.module, WasmModule)
    assert engine.most == 1, "one of an owner at a time"


async def test_what_is_refused_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = published(STRANGER, 0, bytes(wasmtime.wat2wasm("(module (memory 1))")))
    arweave = FakeArweave(wrong)
    loads: list[str] = []

    def load(self: WasmEngine, wasm: bytes, *rest: Any) -> WasmModule:
        loads.append(rest[-1])
        raise UnsupportedModule("The module does not export a memory named memory.")

    monkeypatch.setattr(WasmEngine, "load", load)
    loader = Loader(ModuleStore(tmp_path / "modules", arweave.item), VirtualMachines(tmp_path / "compiled"))
    for _ in range(5):
        prepared = await loader.prepared(*spawn_of(wrong))
        assert prepared.module == "The module does not export a memory named memory."
    assert len(loads) == 1
    assert len(arweave.asked) == 1


async def test_a_boot_that_takes_long_is_not_run_in_the_evaluating_thread(tmp_path: Path) -> None:
    slow = b"(func $slow (local $n i32) (local.set $n (i32.const 30000000)) (loop $more (local.set $n"
    slow += b" (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))) (start $slow))"
    text = ECHO.read_bytes().rstrip()
    module = build(HONEST, tags=MODULE_TAGS, data=bytes(wasmtime.wat2wasm(text[:-1] + slow)))
    loader = Loader(
        ModuleStore(tmp_path / "modules", FakeArweave(module).item), VirtualMachines(tmp_path / "compiled")
    )
    process = spawn_of(module)
    prepared = await loader.prepared(*process)
    assert isinstance(prepared.module, WasmModule)
    assert prepared.limits in prepared.module.boots
    assert loader.ready(*process) == prepared
    prepared.module.boots.clear()
    assert loader.ready(*process) is None
