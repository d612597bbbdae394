"""Engines: everything besides the bytes of a module, of a process and of its log that decides a result, by
version.

A process is bound to one version for all of its life, so that its log gives the same results on every machine
and with every later aoray. The scheduler chooses it when the process is spawned: the newest, or the one that
the spawn item asks for with a tag `Engine` (refused if it is unknown, or closed for new processes for a
fault). It is signed as the tag `Engine` of the assignment of nonce 0, and attestations name it too. An
assignment without the tag is of version 1, from before there were versions. Evaluation, dry runs,
checkpoints, replay and `aoray verify` all use the process's own version.

How to change what decides a result (fuel that a host call costs, what a guest may import, the WASM proposals,
a bound, how a limit in a tag is read): never change a number of a released version. Put the new value into
`ENGINES[NEWEST]`, as a field of `Engine` which says the old behaviour for the versions before it, and let the
code ask that field:

* The engine reaches the code as `module.rules` (vm/wasm/engine.py: `Module`), `Shape.rules`
  (vm/wasm/imports.py, vm/wasm/shim.py), an argument `rules` (vm/wasm/rewriter.py, vm/wasm/compiler.py,
  `limits_of`, `judged`). Nothing reads a bound of results from limits.py.
* A field that changes what is compiled needs nothing else: compiled modules are kept by version.
* `NEWEST` is not released yet, so that it may still be changed. Whoever releases adds the next version first.
* A change of wasmtime (fuel of an instruction, NaN, stack) that changes results is a new version as well. The
  tests in tests/unit/vm/test_engines.py hold versions to logs that were made under them
  (tests/fixtures/engine-<version>).

Pure data: no wasmtime here, since the scheduler and the verifier read it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aoray.errors import UnknownEngine
from aoray.limits import GIB, KIB, MIB

BEFORE_VERSIONS = 1  # the engine of processes whose first assignment names none


@dataclass(frozen=True, slots=True)
class Engine:
    """One version of the engine: its bounds, and its charges. A unit of fuel is about one WASM
    instruction."""

    version: int
    formats_are_read: bool  # Module-Format chooses the virtual machine (vm/registry.py); else all is WASM
    # What a module may be
    module_bytes_max: int
    module_globals_max: int  # mutable ones
    proposals: frozenset[str]  # of WASM, by their names in wasmtime's configuration; all others are off
    allow_list: bool  # code is read by vm/wasm/code.py, which takes nothing that it does not know
    more_imports: bool  # those of metered modules, of C++ exceptions, of printing
    for_new: bool  # whether a new process may have it
    function_weight_max: int  # for the compiler (vm/wasm/weight.py): about milliseconds; 0 is no bound
    module_weight_max: int  # all functions together
    growth_is_checked: bool  # a growth of memory that fails within the bounds is a fault of the machine
    # What a process may use
    memory_bytes_default: int
    memory_bytes_max: int
    fuel_default: int
    fuel_stated_max: int  # a Compute-Limit that states more can't be granted
    fuel_max: int  # a Compute-Limit grants at most this, whatever it states
    fuel_boot_max: int  # for a module to start: its start function and constructors
    wasm_stack_bytes: int
    table_elements_max: int
    tables_max: int
    # What a message may give
    result_bytes_max: int
    outbox_messages_max: int
    # What costs more than its instructions, in turns of a loop: some 5 to 7 units of fuel each
    access_fuel: int  # of a load or store, in units: it may have to wait for the memory
    slow_step_turns: int  # growing memory, throwing
    host_call_turns: int  # a call of the calendar
    bulk_bytes_per_turn_bits: int  # of memory.copy and memory.fill: two to the power of it
    bulk_base_turns: int  # of either, whatever its size
    host_work_counts: bool  # a call of the calendar costs more for a long format
    # The stack that a message must leave free; modules have 64 KiB of stack or more
    stack_margin_bytes: int
    stack_bytes_sure: int  # what a message may take of a stack whose size the module does not tell
    large_by_malloc: bool  # a message that the stack does not hold goes into memory of malloc


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
    for_new=False,  # its scanner of code has a hole
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
    # Their values live in memory and number globals alone; exceptions are there for the shim too
    proposals=_PROPOSALS,
    allow_list=True,
    function_weight_max=4_000,
    module_weight_max=20_000,
    # Granted as it is stated: what takes long is evaluated in slices
    fuel_max=9_000_000_000_000,
    # What a result sends is bounded by its bytes and its fuel; by number so that pushing it has an end
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
    """Return the engine of that version. Raises `UnknownEngine` if only a later aoray has it."""
    if version not in ENGINES:
        known = ", ".join(map(str, ENGINES))
        raise UnknownEngine(
            f"the process runs under engine {version}, and this aoray knows {known}",
            hint="Use the version of aoray that made it, or a later one.",
            engine=version,
        )
    return ENGINES[version]
