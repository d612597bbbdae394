"""How code runs: one engine over wasmtime, module formats, limits, and states that a failed message
leaves as they were.

    engine = WasmEngine(directory)
    process = WasmInstance.boot(engine.load(wasm), Limits())
    outcome = process.evaluate(message_json, env_json)

engine.py is the `Vm` of vm/interface.py: it loads modules (compiler.py compiles them, rewriter.py prepares
them). instance.py is one process, guest.py and native.py call WASM, shim.py and calendar.py are what a module
may import, pages.py keeps memory images (memory.py asks the system for them). Knows no network.
"""

from __future__ import annotations

from aoray.vm.interface import UNIT, Changes, Limits, Outcome, State
from aoray.vm.wasm.engine import WasmEngine, WasmModule
from aoray.vm.wasm.instance import WasmInstance
from aoray.vm.wasm.sliced import WasmSliced

__all__ = [
    "UNIT",
    "Changes",
    "Limits",
    "Outcome",
    "State",
    "WasmEngine",
    "WasmInstance",
    "WasmModule",
    "WasmSliced",
]
