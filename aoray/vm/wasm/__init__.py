"""The virtual machine for WASM, on wasmtime. A message that fails leaves the state as it was.

    engine = WasmEngine(directory)
    process = WasmInstance.boot(engine.load(wasm), Limits())
    outcome = process.evaluate(message_json, env_json)

engine.py is the `Vm` of vm/interface.py: it loads modules (rewriter.py prepares them, compiler.py compiles
them). instance.py is one process, guest.py and native.py call WASM, shim.py, imports.py and calendar.py
provide what a module may import, and pages.py keeps memory images (memory.py asks the operating system for
them). Nothing here uses the network.
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
