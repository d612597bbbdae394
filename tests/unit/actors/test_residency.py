"""When checkpoints are due, and who is let go."""

from __future__ import annotations

from aoray import limits
from aoray.actors.residency import CheckpointCost, Residency, chains
from aoray.storage.checkpoints import Chain
from aoray.vm.interface import State


def test_a_checkpoint_is_due_when_replay_would_cost_many_times_as_much() -> None:
    effort = CheckpointCost(cost_seconds=0.01)
    seconds = limits.CHECKPOINT_COSTS * 0.01
    for _ in range(9):
        effort.seconds += seconds / 10
    assert not effort.is_due
    effort.seconds += seconds / 5
    assert effort.is_due
    effort.checkpointed(0.03)
    assert not effort.is_due
    assert effort.cost_seconds == 0.02


def test_cheap_messages_are_not_worth_a_checkpoint() -> None:
    effort = CheckpointCost(cost_seconds=0.01)
    for _ in range(1000):
        effort.seconds += 0.0001
    assert not effort.is_due


def test_the_longest_unused_idle_ones_go_when_there_are_too_many() -> None:
    residency = Residency(processes_max=2, idle_seconds_max=100, bytes_max=100)
    for now, process_id in enumerate("abcd"):
        residency.used(process_id, now)
    residency.used("a", 5)
    assert residency.leaving(6, lambda _: True) == ["b", "c"]
    assert residency.leaving(6, lambda process_id: process_id != "b") == ["c", "d"]
    residency.gone("b")
    assert residency.leaving(6, lambda _: True) == ["c"]
    assert residency.leaving(6, lambda _: False) == []


def test_who_was_idle_for_long_goes_however_few_there_are_one_by_one() -> None:
    residency = Residency(processes_max=9, idle_seconds_max=10, bytes_max=100)
    for process_id, now in {"a": 0, "b": 1, "c": 7}.items():
        residency.used(process_id, now)
    assert residency.leaving(9, lambda _: True) == []
    assert residency.leaving(11, lambda _: True) == ["a"]
    residency.gone("a")
    assert residency.leaving(11, lambda _: True) == ["b"]
    residency.gone("b")
    assert residency.leaving(11, lambda _: True) == []


def test_the_longest_unused_idle_ones_go_when_they_take_too_much_memory() -> None:
    residency = Residency(processes_max=9, idle_seconds_max=100, bytes_max=100)
    for now, process_id in enumerate("abcd"):
        residency.used(process_id, now)
        residency.weighs(process_id, 30)
    assert residency.leaving(5, lambda _: True) == ["a"]
    assert residency.leaving(5, lambda process_id: process_id != "a") == ["b"]
    residency.weighs("d", 90)
    assert residency.leaving(5, lambda _: True) == ["a", "b", "c"]
    for process_id in "abc":
        residency.gone(process_id)
    assert residency.bytes == 90
    assert residency.leaving(5, lambda _: True) == []
    residency.weighs("d", 101)
    assert residency.leaving(5, lambda _: True) == ["d"], (
        "alone larger than the bound: it goes when it is idle"
    )
    residency.gone("d")
    assert residency.bytes == 0


def test_a_large_state_is_kept_in_a_chain_no_longer_to_read_than_twice_the_whole() -> None:
    whole = 8 * limits.CHECKPOINT_WHOLE_BYTES
    chain = Chain(State(0, (), {}), "file", whole, 0, 1)
    assert not chains(None, whole, 0)
    assert not chains(chain, limits.CHECKPOINT_WHOLE_BYTES, 0), "small ones are whole"
    assert chains(chain, whole, whole)
    assert not chains(chain, 2 * whole, whole + 1)
    assert not chains(chain._replace(later_bytes=whole - 1), whole, 2)
    assert not chains(chain._replace(files=limits.CHECKPOINT_CHAIN_FILES_MAX), whole, 0)
