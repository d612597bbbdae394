"""The registry of virtual machines: which virtual machine runs a module, by the module's tag `Module-Format`.

An installed package adds a virtual machine by an entry point of the group `aoray.virtual_machines`, in its
`pyproject.toml`:

    [project.entry-points."aoray.virtual_machines"]
    calculator-1 = "my_package.calculator:Calculator"

The name is the Module-Format, the object a `Vm` (vm/interface.py). The package must be installed on every
node of a computer, and where its modules are published and its processes verified. `VIRTUAL_MACHINES` has the
virtual machines that aoray includes; a package can't replace one of them.

WASM runs all formats that start with `wasm`, modules without a format, and all bytes that start like WASM,
whatever their format is; so adding a virtual machine changes no result of an existing process. A format that
no virtual machine has raises `UnknownFormat`, which never becomes a result: processes wait until the package
is installed. (Engine 1 does not read the format.)
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
    """Return all virtual machines that are installed here, by Module-Format."""
    return {each.name: each for each in (*entry_points(group=GROUP), *VIRTUAL_MACHINES)}


def name_of(module_format: str, module: bytes, rules: Engine = ENGINES[NEWEST]) -> str:
    """Return the name, in the registry, of the virtual machine that runs a module. Raises `UnknownFormat`."""
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
    """Import and return the virtual machine of this name. Raises `Unavailable` if the import fails."""
    try:
        found: type[Vm] = virtual_machines()[name].load()
    except Exception as error:  # a package's code may raise anything when it is imported
        raise Unavailable(f"the virtual machine {name!r} can't be loaded: {error!r}") from error
    return found


def check_module(module: bytes, module_format: str, *, thoroughly: bool = False) -> None:
    """Raise `UnsupportedModule` or `UnknownFormat`, with an explanation, if no process here could run a
    module."""
    virtual_machine(name_of(module_format, module)).check(module, thoroughly=thoroughly)


class VirtualMachines:
    """The virtual machines of an OS process, each made when the first module needs it. Several threads may
    use them."""

    def __init__(self, directory: Path) -> None:
        """Use this directory for WASM's compiled modules; other virtual machines get a folder below it."""
        self._directory = directory
        self._made: dict[str, Vm] = {}
        self._lock = threading.Lock()

    def load(
        self, module: bytes, module_format: str = "", rules: Engine = ENGINES[NEWEST], owner: str = ""
    ) -> Program:
        """Return the program of a module, from the virtual machine that its format selects. Raises what
        `Vm.load` raises, and `UnknownFormat`."""
        return self._of(name_of(module_format, module, rules)).load(module, rules, owner)

    def _of(self, name: str) -> Vm:
        with self._lock:
            if name not in self._made:
                directory = self._directory if name == WASM else self._directory / name
                self._made[name] = virtual_machine(name)(directory)
            return self._made[name]


class PreparedProgram(NamedTuple):
    """What the instance of a process is made of: a program, or the text that says why the module can't
    run."""

    module: Program | str
    limits: Limits
    env: bytes


def evaluator_of(prepared: PreparedProgram) -> Instance:
    """Return an instance after its boot, or the `RejectedProgram` of a process that can't have one."""
    if isinstance(prepared.module, str):
        return RejectedProgram(prepared.module)
    try:
        return prepared.module.boot(prepared.limits)
    except UnsupportedModule as error:
        return RejectedProgram(error.message)
