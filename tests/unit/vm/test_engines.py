"""A process is bound to one version of what decides results, and a log made under it gives the same results
for as long as there is aoray (guarantees G4, G10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from old_logs import OldLog, unpacked

from aoray import limits
from aoray.errors import MalformedInput, UnknownEngine
from aoray.execution.guest_input import to_guest_message
from aoray.execution.guest_output import to_result
from aoray.execution.loader import Loader, SpawnedProcess
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import engine_of, next_slot
from aoray.protocol.engines import engine_asked, engine_named
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.modules import ModuleStore
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.registry import VirtualMachines, evaluator_of

SIGNER = generate_ed25519()
SOME_ID = "A" * 43
KINDS = {
    "lua": (" handling message", "out of compute", "sends over 1000 messages"),
    "limited": ("out of compute",),
    "cron": (" handling message",),
    "echo": ("out of compute", "unreachable"),
    "proposals": ("unreachable",),
    "broken-module": ("does not export a memory",),
    "bad-limit": ("Memory-Limit",),
}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> OldLog:
    return unpacked("engine-1", tmp_path_factory.mktemp("old"))


async def nowhere(module_id: str) -> Any:
    raise AssertionError(f"{module_id} is kept")


@pytest.mark.long
async def test_a_log_made_before_there_were_versions_gives_the_same_results_byte_for_byte(
    old: OldLog, compiled: Path
) -> None:
    loader = Loader(ModuleStore(old.data / "modules", nowhere), VirtualMachines(compiled))
    for process_id in old.process_ids():
        entries = list(old.entries(process_id))
        prepared = await loader.prepared(
            process_id, SpawnedProcess(entries[0][0].item, entries[0][0].assignment)
        )
        evaluator = evaluator_of(prepared)
        for entry, stored in entries:
            result = to_result(evaluator.evaluate(to_guest_message(entry).message, prepared.env)).result
            assert result == stored, (process_id, entry.nonce)
        evaluator.close()


def test_the_old_log_holds_errors_of_each_kind_ticks_and_pushed_messages(old: OldLog) -> None:
    for name, errors in KINDS.items():
        results = [stored.decode() for _, stored in old.entries(old.processes[name])]
        for error in errors:
            assert any('"Error":' in result and error in result for result in results), (name, error)
    items = [parse(entry.item).tags for entry, _ in old.entries(old.processes["cron"])]
    assert (
        sum(Tag("Cron-Owner", old.owner.address) in tags or Tag("Action", "Tick") in tags for tags in items)
        > 5
    )
    pushed = [parse(entry.item).tags for entry, _ in old.entries(old.processes["limited"])]
    assert sum(any(tag.name == "From-Process" for tag in tags) for tags in pushed) >= 20


def test_a_new_process_is_bound_to_the_newest_engine_or_to_the_one_that_it_asks_for() -> None:
    assert engine_asked(()) == NEWEST
    for version in (version for version in ENGINES if ENGINES[version].for_new):
        assert engine_asked((Tag("Engine", str(version)),)) == version
    for wrong in ("1", "0", "99999", "", "two", "1.0", "-1", "１"):
        with pytest.raises(MalformedInput, match="no engine"):
            engine_asked((Tag("Engine", wrong),))


def test_the_first_assignment_of_a_process_binds_it_and_one_without_the_tag_to_version_1() -> None:
    for version in ENGINES:
        _, raw = next_slot(SIGNER, SOME_ID, None, None, now_ms=1, block_height=1, engine=version)
        assert engine_of(raw) is ENGINES[version]
        assert (Tag("Engine", str(version)) in parse(raw).tags) == (version > 1)
    with pytest.raises(MalformedInput):
        engine_named((Tag("Engine", "2"), Tag("Engine", "2")))
    with pytest.raises(UnknownEngine, match="this aoray knows"):
        engine_of(next_slot(SIGNER, SOME_ID, None, None, now_ms=1, block_height=1, engine=9999)[1])


def test_the_bounds_of_the_newest_engine_are_those_of_limits() -> None:
    newest = ENGINES[NEWEST]
    assert (newest.module_bytes_max, newest.module_globals_max) == (
        limits.MODULE_BYTES_MAX,
        limits.MODULE_GLOBALS_MAX,
    )
    weights = newest.function_weight_max, newest.module_weight_max
    assert weights == (limits.FUNCTION_WEIGHT_MAX, limits.MODULE_WEIGHT_MAX)
    assert newest.memory_bytes_default == limits.MEMORY_BYTES_DEFAULT
    assert newest.memory_bytes_max == limits.MEMORY_BYTES_MAX
    assert (newest.fuel_default, newest.fuel_stated_max) == (limits.FUEL_DEFAULT, limits.FUEL_MAX)
    assert newest.result_bytes_max == limits.RESULT_BYTES_MAX
    assert newest.outbox_messages_max == limits.OUTBOX_MESSAGES_MAX
