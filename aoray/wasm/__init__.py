"""How code runs: one engine over wasmtime, module formats, limits, and states that a failed message
leaves as they were.

    engine = Engine(cache_dir)
    process = Instance.boot(engine.load(wasm), Limits())
    outcome = process.evaluate(message_json, env_json)

engine.py loads modules (compile.py compiles them, binary.py prepares them), instance.py is one process,
guest.py and native.py call WASM, shim.py and clock.py are what a module may import, pages.py keeps
memory images (memory.py asks the system for them). Knows no network.
"""

from __future__ import annotations

from aoray.wasm.engine import Engine, Limits, Module, State
from aoray.wasm.instance import Instance, Outcome
from aoray.wasm.pages import UNIT, Changes
from aoray.wasm.sliced import Sliced

__all__ = [
    "UNIT",
    "Changes",
    "Engine",
    "Instance",
    "Limits",
    "Module",
    "Outcome",
    "Sliced",
    "State",
    "judged",
]
