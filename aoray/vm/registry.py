"""The list of virtual machines, and which of them runs a module: its tag `Module-Format` says it.

An installed package brings its own by an entry point of the group `aoray.virtual_machines`; in its
`pyproject.toml`:

    [project.entry-points."aoray.virtual_machines"]
    calculator-1 = "my_package.calculator:Calculator"

The name is the Module-Format, the object a `Vm` (vm/interface.py). It has to be installed on every node of a
computer, and where its modules are published and its processes verified. `VIRTUAL_MACHINES` has those that
aoray brings; a package cannot replace one.

WASM has all formats that begin with `wasm`, modules without one, and all bytes that begin as WASM does,
whatever their format is: so whoever adds a virtual machine changes no result of any process that there is.
A format that nobody has is `UnknownFormat`, which is never a result: where the package is missing, its
processes wait for it. (Before engine 2 the format was not read.)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple

from aoray.errors import Unavailable, UnknownFormat, UnsupportedModule
from aoray.vm.engines import ENGINES, NEWEST, Engine
from aoray.vm.interface import Instance, Limits, Program, RejectedProgram, Vm

GROUP = "aoray.virtual_machines"
WASM = "wasm"
WASM_MAGIC = b"\0asm"
VIRTUAL_MACHINES = (EntryPoint(WASM, "aoray.vm.wasm.engine:WasmEngine", GROUP),)


@cache
def virtual_machines() -> Mapping[str, EntryPoint]:
    """Return all virtual machines that exist here, by Module-Format: aoray's, and those of installed
    packages."""
    return {each.name: each for each in (*entry_points(group=GROUP), *VIRTUAL_MACHINES)}


def name_of(module_format: str, module: bytes, rules: Engine = ENGINES[NEWEST]) -> str:
    """Return the name in the list of the virtual machine that runs a module."""
    named = module_format and not module_format.startswith(WASM) and not module.startswith(WASM_MAGIC)
    if not (named and rules.formats_are_read):
        return WASM
    if module_format in virtual_machines():
        return module_format
    here = ", ".join(sorted(virtual_machines()))
    raise UnknownFormat(
        f"no virtual machine here runs the Module-Format {module_format[:60]!r}",
        hint=f"Here are: {here}. Others come as Python packages, which every node has to have installed.",
        field="tags.Module-Format",
    )


@cache
def virtual_machine(name: str) -> type[Vm]:
    """Return the virtual machine of that name in the list, which is imported now, since some load much."""
    try:
        found: type[Vm] = virtual_machines()[name].load()
    except Exception as error:  # whatever a package's code comes to as it is imported
        raise Unavailable(f"the virtual machine {name!r} can't be loaded: {error!r}") from error
    return found


def check_module(module: bytes, module_format: str, *, thoroughly: bool = False) -> None:
    """Raise `UnsupportedModule` or `UnknownFormat`, in words, if no process here could run a module."""
    virtual_machine(name_of(module_format, module)).check(module, thoroughly=thoroughly)


class VirtualMachines:
    """The virtual machines of an OS process, each made when the first module needs it. Several threads may
    use them."""

    def __init__(self, directory: Path) -> None:
        """With the directory where WASM keeps compiled modules; others have their own below it."""
        self._directory = directory
        self._made: dict[str, Vm] = {}
        self._lock = threading.Lock()

    def load(
        self, module: bytes, module_format: str = "", rules: Engine = ENGINES[NEWEST], owner: str = ""
    ) -> Program:
        """Return the program of a module, by the virtual machine that its format names."""
        return self._of(name_of(module_format, module, rules)).load(module, rules, owner)

    def _of(self, name: str) -> Vm:
        with self._lock:
            if name not in self._made:
                directory = self._directory if name == WASM else self._directory / name
                self._made[name] = virtual_machine(name)(directory)
            return self._made[name]


class PreparedProgram(NamedTuple):
    """What a process's instance is made of; a module that can't be used is the reason for a
    `RejectedProgram`."""

    module: Program | str
    limits: Limits
    env: bytes


def evaluator_of(prepared: PreparedProgram) -> Instance:
    """Return an instance, just booted; or what answers for a process that can't have one."""
    if isinstance(prepared.module, str):
        return RejectedProgram(prepared.module)
    try:
        return prepared.module.boot(prepared.limits)
    except UnsupportedModule as error:
        return RejectedProgram(error.message)
