"""What the processes of an actor take in memory together is bounded by bytes, not by their number."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import wasmtime
from actor_rig import House, module_item
from polling import until

from aoray.limits import MIB
from aoray.testing.local_computer import memory_of

PROCESSES = 24
EACH = 8 * MIB
BUDGET = 8 * EACH

# Each message writes 8 MiB, differently in each message, and answers with the count of messages.
WRITES = """
(module (memory (export "memory") 160)
  (data (i32.const 1024) "{\\22ok\\22:true,\\22response\\22:{\\22Output\\22:\\22A\\22}}\\00")
  (func (export "malloc") (param i32) (result i32) (i32.const 8192))
  (func (export "handle") (param $message i32) (param $env i32) (result i32) (local $at i32)
    (i32.store8 (i32.const 1057) (i32.add (i32.const 1) (i32.load8_u (i32.const 1057))))
    (loop $more
      (i64.store offset=1048576 (local.get $at) (i64.mul
        (i64.extend_i32_u (i32.add (local.get $at) (i32.load8_u (i32.const 1057))))
        (i64.const 0x9e3779b97f4a7c15)))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $more (i32.lt_u (local.get $at) (i32.const 8388608))))
    (i32.const 1024)))
"""
MODULE = module_item(bytes(wasmtime.wat2wasm(WRITES)))


@pytest.fixture
async def crowded(tmp_path: Path, compiled: Path) -> AsyncIterator[House]:
    opened = House(tmp_path, compiled, MODULE, resident_bytes_max=BUDGET)
    yield opened
    await opened.close()


@pytest.mark.long
async def test_memory_stays_bounded_however_much_each_process_writes(crowded: House) -> None:
    actor = crowded.actor()
    processes = [crowded.spawn(MODULE.id) for _ in range(PROCESSES)]
    first, *_ = processes
    await actor.assign(first.work)
    await crowded.results_of(actor, first)
    before, most = memory_of(os.getpid()) - EACH, 0  # with engine and module, which are there once
    for expected in "BCD":
        for process in processes:
            sent = process if expected == "B" else crowded.send(process.process_id, "")
            await actor.assign(sent.work)
            assert [each["Output"] for each in await crowded.results_of(actor, sent)] == [expected]
            most = max(most, memory_of(os.getpid()))
    # One writes beside its image, others are packed into checkpoints; not all that was freed is given back.
    work = 12 * EACH
    assert most - before < BUDGET + work < PROCESSES * EACH, f"{most - before >> 20} MiB"
    await until(lambda: actor._residency.bytes <= BUDGET)
    stats = await actor.stats()
    assert stats["resident_bytes"] <= BUDGET
    assert stats["evicted"] >= 2 * PROCESSES
    assert stats["asleep"] >= PROCESSES - 8


async def test_one_that_is_alone_larger_than_the_bound_runs_and_then_goes(
    tmp_path: Path, compiled: Path
) -> None:
    house = House(tmp_path, compiled, MODULE, resident_bytes_max=EACH // 2)
    try:
        actor = house.actor()
        process = house.spawn(MODULE.id)
        await actor.assign(process.work)
        await house.results_of(actor, process)
        await until(lambda: process.process_id in actor._planner.hibernated)
        sent = house.send(process.process_id, *"abc")
        await actor.assign(sent.work)
        assert [each["Output"] for each in await house.results_of(actor, sent)] == list("CDE")
        await until(lambda: process.process_id in actor._planner.hibernated)
        assert (await actor.stats())["resident_bytes"] == 0
    finally:
        await house.close()
