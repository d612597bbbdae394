"""A message in slices: the same outcome, fuel and state as in one go, and meanwhile the state from before."""

from __future__ import annotations

import pytest
from guests import counter, data, hostile, wat

from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmEngine, WasmInstance
from aoray.vm.wasm.sliced import WasmSliced

# Counts the bytes of its memory that it has set, then loops as often as the message's Data says (its first
# digit, in millions), and sets one more.
_BUSY = """
(module
  (memory (export "memory") 80)
  (data (i32.const 1024) "{\\22ok\\22:true,\\22response\\22:{\\22Output\\22:\\220000\\22}}\\00")
  (func (export "malloc") (param i32) (result i32) (i32.const 8192))
  (func (export "handle") (param $message i32) (param $env i32) (result i32) (local $turns i32)
    (local.set $turns (i32.mul (i32.const 1000000)
      (i32.sub (i32.load8_u offset=9 (local.get $message)) (i32.const 48))))
    (drop (memory.grow (i32.gt_u (local.get $turns) (i32.const 8000000))))
    (memory.fill (i32.const 131072) (i32.const 1) (i32.mul (i32.load (i32.const 64)) (i32.const 700000)))
    (loop $more (i32.store offset=2000000 (i32.and (local.get $turns) (i32.const 0xffff)) (local.get $turns))
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $more (i32.gt_s (local.get $turns) (i32.const 0))))
    (i32.store (i32.const 64) (i32.add (i32.const 1) (i32.load (i32.const 64))))
    (i32.store8 (i32.const 1060) (i32.add (i32.const 48) (i32.load (i32.const 64))))
    (i32.const 1024)))
"""
LIMITS = Limits(memory_bytes_max=64 << 20, fuel=100_000_000)


def in_slices(process: WasmInstance, message: bytes) -> tuple[Outcome, int]:
    sliced, slices = process.start(message, b"{}"), 1
    while (outcome := sliced.step()) is None:
        slices += 1
    sliced.close()
    return outcome, slices


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.vm.wasm.guest.FUEL_SLICE", 1_000_000)
    monkeypatch.setattr("aoray.vm.wasm.instance.FUEL_AT_ONCE", 2_000_000)


def test_in_slices_outcome_fuel_and_state_are_those_of_one_go(any_engine: WasmEngine) -> None:
    module = any_engine.load(wat(_BUSY))
    whole, sliced = WasmInstance.boot(module, LIMITS), WasmInstance.boot(module, LIMITS)
    for digit in "130902":
        expected = whole.evaluate(data(digit), b"{}")
        outcome, slices = in_slices(sliced, data(digit))
        assert outcome == expected
        assert slices > expected.fuel // 2_000_000
        assert sliced.state_hash() == whole.state_hash()
        assert sliced.dry_run(data("0"), b"{}") == whole.dry_run(data("0"), b"{}")


@pytest.mark.parametrize("what", "12348BCGHI")
def test_a_failure_in_slices_is_that_of_one_go_and_leaves_nothing(any_engine: WasmEngine, what: str) -> None:
    limits = Limits(memory_bytes_max=64 << 20, fuel=5_000_000)
    whole, sliced = (WasmInstance.boot(any_engine.load(hostile()), limits) for _ in range(2))
    for process in whole, sliced:
        process.evaluate(data("0"), b"{}")
    assert in_slices(sliced, data(what))[0] == whole.evaluate(data(what), b"{}")
    assert sliced.state_hash() == whole.state_hash()
    assert sliced.evaluate(data("0"), b"{}") == whole.evaluate(data("0"), b"{}")


def test_the_fuel_at_which_it_ends_is_exact(engine: WasmEngine) -> None:
    """Whatever the limit is, and wherever the slices fall."""
    module = engine.load(wat(_BUSY))
    whole = WasmInstance.boot(module, LIMITS).evaluate(data("1"), b"{}").fuel
    for fuel in (whole - 1, whole, whole + 1, 999_999, 1_000_000, 1_000_001, 3_000_000):
        limits = Limits(memory_bytes_max=64 << 20, fuel=fuel)
        expected = WasmInstance.boot(module, limits).evaluate(data("1"), b"{}")
        assert in_slices(WasmInstance.boot(module, limits), data("1"))[0] == expected


def test_meanwhile_the_process_is_as_before_and_giving_up_leaves_nothing(any_engine: WasmEngine) -> None:
    module = any_engine.load(wat(_BUSY))
    process, other = WasmInstance.boot(module, LIMITS), WasmInstance.boot(module, LIMITS)
    for each in process, other:
        each.evaluate(data("1"), b"{}")
    before = process.state_hash()
    sliced = process.start(data("9"), b"{}")
    assert sliced.step() is None
    assert sliced.fuel >= 1_000_000
    assert process.state_hash() == before
    assert process.dry_run(data("0"), b"{}").response["Output"] == "0002"
    sliced.close()
    assert process.evaluate(data("1"), b"{}") == other.evaluate(data("1"), b"{}")
    assert process.state_hash() == other.state_hash()


def test_a_dry_run_in_slices_sees_the_state_it_began_with(any_engine: WasmEngine) -> None:
    process = WasmInstance.boot(any_engine.load(wat(_BUSY)), LIMITS)
    for _ in range(3):  # more than fits into an overlay: an image of its own, which folds write into
        process.evaluate(data("1"), b"{}")
    sliced: WasmSliced = process.start_dry_run(data("3"), b"{}")
    assert sliced.step() is None
    for _ in range(3):
        process.evaluate(data("1"), b"{}")
        process.state_hash()
    while (outcome := sliced.step()) is None:
        pass
    assert outcome.response["Output"] == "0004"
    sliced.close()
    assert process.dry_run(data("0"), b"{}").response["Output"] == "0007"


def test_what_others_can_wait_for_is_evaluated_at_once_and_more_changes_nothing(engine: WasmEngine) -> None:
    module = engine.load(wat(_BUSY))
    process, other = WasmInstance.boot(module, LIMITS), WasmInstance.boot(module, LIMITS)
    for each in process, other:
        each.evaluate(data("0"), b"{}")
    assert process.attempt(data("9"), b"{}") is None
    assert process.attempt_dry_run(data("9"), b"{}") is None
    assert process.attempt(data("0"), b"{}") == other.evaluate(data("0"), b"{}")
    assert process.state_hash() == other.state_hash()


def test_a_limit_below_that_is_a_result_at_once(engine: WasmEngine) -> None:
    process = WasmInstance.boot(engine.load(wat(_BUSY)), Limits(memory_bytes_max=64 << 20, fuel=1_000_000))
    outcome = process.attempt(data("9"), b"{}")
    assert outcome is not None
    assert (outcome.error, outcome.fuel) == ("out of compute", 1_000_000)


def test_thousands_of_slices_leave_no_memory_behind(engine: WasmEngine) -> None:
    process = WasmInstance.boot(engine.load(counter()), Limits())
    for n in range(1, 300):
        outcome, _ = in_slices(process, data(""))
        assert outcome.response["Output"] == {"data": str(n)}
