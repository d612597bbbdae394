"""A message changes all of a state or nothing, whatever the guest does; a dry run changes nothing."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import orjson
import pytest
from guests import ROOT, counter, data, hostile, wat

from aoray.vm.engines import ENGINES
from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmEngine, WasmInstance

LIMITS = Limits(memory_bytes_max=64 << 20, fuel=50_000_000, result_bytes_max=1 << 20)

FAILURES = {
    "1": "unreachable (abort)",
    "2": "out of compute",
    "3": "the call stack is exhausted",
    "4": "unreachable (abort)",
    "5": "the module's answer has no end, or is over 1048576 bytes",
    "6": "the module's answer is not in its memory",
    "7": "the module's answer is not JSON with ok and response",
    "8": "refused",
    "9": "sorry",
    "B": "out of compute",
    "C": "uncaught exception",
    "D": "the module's answer is not in its memory",
    "E": "the module's answer is not JSON with ok and response",
    "F": "the module's outbox is not made of lists",
    "G": "memory access out of bounds",
    "H": "integer division by zero",
    "I": "call of a function that is not there",
    "0" + "x" * 40_000: "the module gave no room for the message",
}


def booted(engine: WasmEngine, wasm: bytes, limits: Limits = LIMITS) -> WasmInstance:
    return WasmInstance.boot(engine.load(wasm), limits)


def counted(outcome: Outcome) -> int:
    assert outcome.error is None, outcome
    return int(outcome.response["Output"])


def test_the_counter_counts_and_a_dry_run_leaves_no_trace(any_engine: WasmEngine) -> None:
    process = booted(any_engine, counter(), Limits())
    expected = {"Output": {"data": "1"}, "Messages": [], "Spawns": [], "Assignments": []}
    assert process.evaluate(data(""), b"{}").response == expected
    for n in range(2, 400):
        assert process.dry_run(data(""), b"{}").response["Output"] == {"data": str(n)}
        assert process.evaluate(data(""), b"{}").response["Output"] == {"data": str(n)}


@pytest.mark.parametrize("what", FAILURES, ids=lambda what: what[:2])
def test_after_a_failure_the_state_is_as_before(any_engine: WasmEngine, what: str) -> None:
    process, other = booted(any_engine, hostile()), booted(any_engine, hostile())
    for n in range(1, 4):
        assert counted(process.evaluate(data("0"), b"{}")) == n == counted(other.evaluate(data("0"), b"{}"))
        outcome = process.evaluate(data(what), b"{}")
        assert (outcome.error, outcome.response["Error"]) == (FAILURES[what], FAILURES[what])
        assert process.dry_run(data(what), b"{}") == outcome
    assert counted(process.evaluate(data("0"), b"{}")) == 4 == counted(other.evaluate(data("0"), b"{}"))
    assert process.state_hash() == other.state_hash()
    assert process.memory() == other.memory()


def test_memory_that_a_failed_message_grew_is_small_again(any_engine: WasmEngine) -> None:
    process = booted(any_engine, hostile())
    size = len(process.memory())
    for what in "5A":
        (process.evaluate if what == "5" else process.dry_run)(data(what), b"{}")
        assert len(process.memory()) == size
    assert process.evaluate(data("A"), b"{}").error is None
    assert len(process.memory()) == size + (3 << 16)
    process.evaluate(data("1"), b"{}")
    assert len(process.memory()) == size + (3 << 16)
    assert counted(process.evaluate(data("0"), b"{}")) == 42


def test_the_same_messages_take_the_same_fuel(any_engine: WasmEngine) -> None:
    one, two = booted(any_engine, hostile()), booted(any_engine, hostile())
    for what in "0A0":
        one.evaluate(data("1"), b"{}")
        assert one.evaluate(data(what), b"{}").fuel == two.evaluate(data(what), b"{}").fuel


def test_a_nan_has_the_same_bits_everywhere(engine: WasmEngine) -> None:
    process = booted(engine, hostile())
    process.evaluate(data("A"), b"{}")
    assert 0x7FF8_0000_0000_0000 in process.state().globals


def test_changes_become_the_same_process_elsewhere(any_engine: WasmEngine) -> None:
    process = booted(any_engine, hostile())
    for what in "0A0":
        process.evaluate(data(what), b"{}")
    other = booted(any_engine, hostile())
    other.evaluate(data("0"), b"{}")
    other.restore(process.changes(process.state().differing(process.boot_state)))
    assert other.state_hash() == process.state_hash()
    assert other.memory() == process.memory()
    assert other.evaluate(data("0"), b"{}") == process.evaluate(data("0"), b"{}")


def test_only_the_same_module_limits_and_engine_have_the_same_boot(
    engine: WasmEngine,
) -> None:
    """Two modules may boot into equal memories, and go on differently."""
    first, same = booted(engine, counter()), booted(engine, counter())
    text = (ROOT / "benchmarks/counter.wat").read_text()
    other = booted(engine, wat(text.replace("(func ", '(func (export "more"))\n(func ', 1)))
    richer = booted(engine, counter(), LIMITS._replace(fuel=10**9))
    later = WasmInstance.boot(engine.load(counter(), ENGINES[1]), LIMITS)
    alike = [first, same, other, richer, later]
    assert all(each.boot_state == first.boot_state for each in alike)
    assert first.boot_id == same.boot_id
    assert len({each.boot_id for each in alike}) == 4


def test_processes_of_a_module_do_not_see_each_other(any_engine: WasmEngine) -> None:
    processes = [booted(any_engine, hostile()) for _ in range(5)]
    for turn in range(3):
        for n, process in enumerate(processes):
            for _ in range(n):
                process.evaluate(data("0"), b"{}")
            assert counted(process.dry_run(data("0"), b"{}")) == n * (turn + 1) + 1


def test_instances_in_several_threads_count_right(engine: WasmEngine) -> None:
    processes = [booted(engine, counter()) for _ in range(4)]

    def work(process: WasmInstance) -> None:
        for _ in range(300):
            process.evaluate(data(""), b"{}")

    threads = [threading.Thread(target=work, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.evaluate(data(""), b"{}").response["Output"]["data"] for p in processes] == ["301"] * 4


def test_closed_processes_give_their_files_and_memory_back(any_engine: WasmEngine) -> None:
    def open_and_close(count: int) -> tuple[int, int]:
        for _ in range(count):
            process = booted(any_engine, hostile())
            process.evaluate(data("A"), b"{}")
            process.state_hash()
            process.evaluate(data("1"), b"{}")
            process.close()
        gc.collect()
        me = Path("/proc/self")
        return len(list((me / "fd").iterdir())), len((me / "maps").read_text().splitlines())

    files, maps = open_and_close(3)
    after = open_and_close(40)
    assert after[0] == files
    assert after[1] < maps + 40


def sending(engine: WasmEngine, count: int, version: int) -> Outcome:
    """What becomes of so many messages of one result."""
    answer = orjson.dumps({"ok": True, "response": {"Messages": [0] * count}}).decode().replace('"', '\\"')
    text = f"""(module (memory (export "memory") 2) (data (i32.const 8192) "{answer}\\00")
      (func (export "malloc") (param i32) (result i32) (i32.const 16))
      (func (export "handle") (param i32 i32) (result i32) (i32.const 8192)))"""
    module = engine.load(wat(text), ENGINES[version])
    return WasmInstance.boot(module, LIMITS).evaluate(b"{}", b"{}")


def test_a_result_may_hold_as_many_messages_as_a_large_room_has_members(engine: WasmEngine) -> None:
    assert len(sending(engine, 20_000, 2).response["Messages"]) == 20_000
    assert sending(engine, 20_001, 2).error == "the module sends over 20000 messages at once"


def test_under_engine_1_it_may_hold_a_thousand(engine: WasmEngine) -> None:
    assert sending(engine, 1000, 1).error is None
    assert sending(engine, 1001, 1).error == "the module sends over 1000 messages at once"


def test_bytes_that_are_not_utf8_are_replaced(engine: WasmEngine) -> None:
    text = r"""(module (memory (export "memory") 2)
      (data (i32.const 8192) "{\"ok\":true,\"response\":{\"Output\":\"a\ffb\"}}\00")
      (func (export "malloc") (param i32) (result i32) (i32.const 16))
      (func (export "handle") (param i32 i32) (result i32) (i32.const 8192)))"""
    assert booted(engine, wat(text)).evaluate(b"{}", b"{}").response["Output"] == "a�b"
