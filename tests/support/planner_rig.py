"""What tests of the evaluation planner share: entries, work, and effects carried out in their order."""

from __future__ import annotations

from aoray.actors.planner import Activate, Effect, EvaluationPlanner, Read
from aoray.protocol.assignments import LogEntry


def entry(process_id: str, nonce: int) -> LogEntry:
    return LogEntry(process_id, nonce, f"{process_id}m{nonce}", f"{process_id}a{nonce}", nonce, b"", b"")


def work(process_id: str, *nonces: int, term: int = 1) -> list[tuple[int, LogEntry]]:
    return [(term, entry(process_id, nonce)) for nonce in nonces]


def live(
    planner: EvaluationPlanner, process_id: str = "p", known_nonce: int = -1, next_nonce: int = 0
) -> int:
    """Bring a process to life, with an empty log behind it."""
    [activate] = planner.activate(process_id, 1)
    assert isinstance(activate, Activate)
    [read] = planner.activated(process_id, activate.generation, next_nonce, known_nonce)
    assert isinstance(read, Read)
    assert planner.read(process_id, read.generation, [], more=False) == []
    return activate.generation


def planned(planner: EvaluationPlanner) -> list[tuple[str, list[int]]]:
    turns = planner.plan(entries_max=100, entries_per_process_max=2)
    return [(turn.process_id, [each.nonce for each in turn.entries]) for turn in turns]


def activated(planner: EvaluationPlanner, effects: list[Effect], next_nonce: int = 0) -> list[Effect]:
    """What follows when the one process that is to be activated is there."""
    [activate] = effects
    assert isinstance(activate, Activate)
    return planner.activated(activate.process_id, activate.generation, next_nonce, next_nonce - 1)
