"""Engines: the versions of everything, besides a module, a process and its log, that decides a result.

A process is bound to one version for its whole life, so its log gives the same results on every machine and
with every later version of aoray. The scheduler chooses the version when the process is spawned: the newest,
or the one that the spawn item asks for with a tag `Engine` (refused if the version is unknown, or closed to
new processes because of a fault). The choice is signed as the tag `Engine` in the assignment of nonce 0, and
attestations name it too. An assignment without this tag is of version 1, from before there were versions.
Evaluation, dry runs, checkpoints, replay and `aoray verify` all use the version of the process.

How to change what decides a result (the fuel of a host call, what a guest may import, the WASM proposals, a
bound, how a limit in a tag is read): never change a number of a released version. Put the new value into
`ENGINES[NEWEST]`, as a field of `Engine` that has the old behaviour in the versions before it, and let the
code ask this field:

* The engine reaches the code as `module.rules` (vm/wasm/engine.py: `WasmModule`), as `Shape.rules`
  (vm/wasm/imports.py, vm/wasm/shim.py), or as an argument `rules` (vm/wasm/rewriter.py, vm/wasm/compiler.py,
  `limits_of`, `judged`). No code reads a bound that decides results from limits.py.
* A field that changes what is compiled needs nothing else: compiled modules are stored by version.
* `NEWEST` is not released yet, so it may still be changed. Before a release is made, the next version is
  added.
* A new wasmtime that changes results (fuel of an instruction, NaN, stack) needs a new version as well. The
  tests in tests/unit/vm/test_engines.py compare versions with logs that were made under them
  (tests/fixtures/engine-<version>).

This module is pure data and does not import wasmtime, since the scheduler and the verifier read it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aoray.errors import UnknownEngine
from aoray.limits import GIB, KIB, MIB

BEFORE_VERSIONS = 1  # the engine of processes whose first assignment names none


@dataclass(frozen=True, slots=True)
class Engine:
    """One version of the engine: its bounds, and what work costs. A unit of fuel is about one WASM
    instruction."""

    version: int
    formats_are_read: bool  # whether Module-Format selects the virtual machine; else it is WASM's
    # What a module may be
    module_bytes_max: int
    module_globals_max: int  # mutable globals
    proposals: frozenset[str]  # of WASM, by their names in wasmtime; all others are off
    allow_list: bool  # whether vm/wasm/code.py reads code: it refuses every instruction that it does not know
    more_imports: bool  # whether modules may import metering, C++ exceptions and printing
    for_new: bool  # whether a new process may be bound to this version
    function_weight_max: int  # weight for the compiler (vm/wasm/weight.py), about milliseconds; 0: no bound
    module_weight_max: int  # of all functions together
    growth_is_checked: bool  # whether memory that can't grow within its bounds is a fault of the machine
    # What a process may use
    memory_bytes_default: int
    memory_bytes_max: int
    fuel_default: int
    fuel_stated_max: int  # a larger Compute-Limit is refused
    fuel_max: int  # the most that a Compute-Limit grants
    fuel_boot_max: int  # for a module to start: its start function and constructors
    wasm_stack_bytes: int
    table_elements_max: int
    tables_max: int
    # What a message may produce
    result_bytes_max: int
    outbox_messages_max: int
    # The cost of slow instructions and calls, in turns of a loop; a turn is 5 to 7 units of fuel
    access_fuel: int  # of a load or store, which may have to wait for the memory; in units of fuel
    slow_step_turns: int  # growing memory, throwing
    host_call_turns: int  # a call of the calendar
    bulk_bytes_per_turn_bits: int  # memory.copy and .fill cost a turn for 2 to this power of bytes
    bulk_base_turns: int  # of each memory.copy and memory.fill, whatever its size
    host_work_counts: bool  # whether a call of the calendar costs more for a long format
    # The module's own stack, which has 64 KiB or more
    stack_margin_bytes: int  # that a message must leave free
    stack_bytes_sure: int  # that a message may take if the module does not tell how much is free
    large_by_malloc: bool  # whether a message that does not fit on the stack goes into memory from malloc


_PROPOSALS = frozenset(
    ("multi_value", "reference_types", "bulk_memory", "simd", "tail_call", "memory64", "exceptions")
)
_FIRST = Engine(
    version=1,
    formats_are_read=False,
    module_bytes_max=64 * MIB,
    module_globals_max=500,
    proposals=_PROPOSALS | {"gc", "function_references"},
    allow_list=False,
    more_imports=False,
    for_new=False,  # its reader of code overlooks some instructions (vm/wasm/first_code.py)
    function_weight_max=0,
    module_weight_max=0,
    growth_is_checked=False,
    memory_bytes_default=512 * MIB,
    memory_bytes_max=1 * GIB,
    fuel_default=10_000_000_000,
    fuel_stated_max=9_000_000_000_000,
    fuel_max=10_000_000_000,
    fuel_boot_max=10_000_000_000,
    wasm_stack_bytes=1 * MIB,
    table_elements_max=100_000,
    tables_max=16,
    result_bytes_max=8 * MIB,
    outbox_messages_max=1_000,
    access_fuel=1,
    slow_step_turns=250,
    host_call_turns=10_000,
    bulk_bytes_per_turn_bits=6,
    bulk_base_turns=0,
    host_work_counts=False,
    stack_margin_bytes=8 * KIB,
    stack_bytes_sure=16 * KIB,
    large_by_malloc=False,
)
_SECOND = replace(
    _FIRST,
    version=2,
    for_new=True,
    formats_are_read=True,
    # Without proposals whose values can be outside memory and numeric globals; the shim needs exceptions too
    proposals=_PROPOSALS,
    allow_list=True,
    function_weight_max=4_000,
    module_weight_max=20_000,
    # A Compute-Limit is granted as stated, since long messages are evaluated in slices
    fuel_max=9_000_000_000_000,
    # Bytes and fuel bound what a result sends; this bounds the work of pushing it
    outbox_messages_max=20_000,
    more_imports=True,
    large_by_malloc=True,
    growth_is_checked=True,
    access_fuel=16,
    bulk_base_turns=8,
    host_work_counts=True,
    # 10 s on a processor on which a load waits 0.4 µs, see docs/fuel.md
    fuel_default=300_000_000,
    fuel_boot_max=300_000_000,
)


ENGINES: Mapping[int, Engine] = {engine.version: engine for engine in (_FIRST, _SECOND)}
NEWEST = max(ENGINES)


def engine_numbered(version: int) -> Engine:
    """Return the engine of this version. Raises `UnknownEngine` if only a later version of aoray has it."""
    if version not in ENGINES:
        known = ", ".join(map(str, ENGINES))
        raise UnknownEngine(
            f"the process runs under engine {version}, and this aoray knows {known}",
            hint="Use the version of aoray that made it, or a later one.",
            engine=version,
        )
    return ENGINES[version]
