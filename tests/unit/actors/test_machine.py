"""The order of evaluation, in any interleaving of calls, reads, losses, faults and terms."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from aoray.actors.machine import Activate, Close, Effect, Machine, Read
from aoray.protocol.assignments import LogEntry


def entry(process_id: str, nonce: int) -> LogEntry:
    return LogEntry(process_id, nonce, f"{process_id}m{nonce}", f"{process_id}a{nonce}", nonce, b"", b"")


def work(process_id: str, *nonces: int, term: int = 1) -> list[tuple[int, LogEntry]]:
    return [(term, entry(process_id, nonce)) for nonce in nonces]


class World:
    """Carries out a machine's effects in an order drawn from a seed; checks what is evaluated."""

    def __init__(self, seed: int, queue_entries_max: int = 1_000) -> None:
        self.random = random.Random(seed)
        self.machine = Machine(queue_entries_max=queue_entries_max)
        self.log: dict[str, int] = defaultdict(int)  # process: how many entries its log has
        self.results: dict[str, int] = defaultdict(int)  # process: how many results there are
        self.open: dict[str, int] = {}  # process: the next nonce of its instance
        self.to_do: list[Effect] = []

    def apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Close):
                self.open.pop(effect.process_id, None)
            else:
                assert effect not in self.to_do
                self.to_do.append(effect)

    def carry_out_one(self) -> None:
        effect = self.to_do.pop(self.random.randrange(len(self.to_do)))
        if isinstance(effect, Activate):
            self._activate(effect)
        elif isinstance(effect, Read):
            first, end = effect.after_nonce + 1, self.log[effect.process_id]
            last = min(end, first + min(effect.limit, self.random.randint(1, 5)))
            page = [entry(effect.process_id, nonce) for nonce in range(first, last)]
            self.apply(self.machine.read(effect.process_id, effect.generation, page, more=last < end))

    def _activate(self, effect: Activate) -> None:
        process_id = effect.process_id
        if self.random.random() < 0.2:
            self.apply(self.machine.failed(process_id, effect.generation))
        elif self.machine.current(process_id, effect.generation):
            self.open[process_id] = 0
            known_nonce = self.results[process_id] - 1
            self.apply(self.machine.activated(process_id, effect.generation, 0, known_nonce))

    def evaluate(self) -> None:
        """A slice, which may end early or meet a fault."""
        for turn in self.machine.plan(entries_max=20, entries_per_process_max=3):
            for each in turn.entries[: self.random.randint(1, 3)]:
                assert each.nonce == self.open[turn.process_id]
                self.open[turn.process_id] += 1
                if each.nonce > turn.known_nonce:
                    assert each.nonce == self.results[turn.process_id]
                    self.results[turn.process_id] += 1
                self.apply(self.machine.evaluated(turn.process_id, turn.generation, each.nonce))
            if self.random.random() < 0.1:
                self.apply(self.machine.failed(turn.process_id, turn.generation))
            if self.random.random() < 0.2:
                return

    def tell(self, process_id: str) -> None:
        """New entries, of which an actor hears some, in any order, some twice."""
        first = self.log[process_id]
        self.log[process_id] += self.random.randint(1, 6)
        told = [
            nonce for nonce in range(max(0, first - 2), self.log[process_id]) if self.random.random() < 0.7
        ]
        self.random.shuffle(told)
        self.apply(self.machine.assign(work(process_id, *told)))

    def settle(self) -> None:
        for process_id in self.log:
            self.apply(self.machine.activate(process_id, 1))
        while self.to_do or self.machine.plan(entries_max=1, entries_per_process_max=1):
            if self.to_do:
                self.carry_out_one()
            self.evaluate()


@settings(max_examples=200, deadline=None)
@given(st.integers(), st.integers(1, 40), st.integers(1, 60))
def test_every_entry_is_evaluated_once_and_in_order_whatever_happens(
    seed: int, queue: int, steps: int
) -> None:
    world = World(seed, queue)
    for _ in range(steps):
        match world.random.randrange(4):
            case 0:
                world.tell(world.random.choice("pqr"))
            case 1 if world.to_do:
                world.carry_out_one()
            case 2:
                world.apply(world.machine.doubt(world.random.choice("pqr")))
            case _:
                world.evaluate()
        assert world.machine.queued == sum(len(each.pending) for each in world.machine.processes.values())
    world.settle()
    assert world.results == world.log
    assert world.open == world.log
    assert world.machine.queued == 0


def live(machine: Machine, process_id: str = "p", known_nonce: int = -1, next_nonce: int = 0) -> int:
    """Bring a process to life, with an empty log behind it."""
    [activate] = machine.activate(process_id, 1)
    assert isinstance(activate, Activate)
    [read] = machine.activated(process_id, activate.generation, next_nonce, known_nonce)
    assert isinstance(read, Read)
    assert machine.read(process_id, read.generation, [], more=False) == []
    return activate.generation


def planned(machine: Machine) -> list[tuple[str, list[int]]]:
    turns = machine.plan(entries_max=100, entries_per_process_max=2)
    return [(turn.process_id, [each.nonce for each in turn.entries]) for turn in turns]


def test_activation_is_asked_for_once() -> None:
    machine = Machine()
    assert len(machine.assign(work("p", 0, 1) + work("q", 0))) == 2
    assert machine.assign(work("p", 2)) == machine.activate("p", 1) == machine.doubt("p") == []


def test_a_gap_is_read_only_when_nothing_else_is_left() -> None:
    machine = Machine()
    generation = live(machine)
    assert machine.assign(work("p", 0, 2, 3)) == []
    assert planned(machine) == [("p", [0])]
    assert machine.evaluated("p", generation, 0) == [Read("p", generation, 0, 3)]
    assert machine.assign(work("p", 1)) == []
    assert planned(machine) == [("p", [1, 2])]
    machine.evaluated("p", generation, 3)
    assert machine.read("p", generation, [entry("p", 1)], more=False) == []
    assert planned(machine) == []


def test_processes_take_turns() -> None:
    machine = Machine()
    generations = {process_id: live(machine, process_id) for process_id in "pq"}
    machine.assign(work("p", 0, 1, 2, 3) + work("q", 0, 1, 2))
    assert planned(machine) == [("p", [0, 1]), ("q", [0, 1])]
    machine.evaluated("p", generations["p"], 0)
    assert planned(machine) == [("q", [0, 1]), ("p", [1, 2])]
    machine.evaluated("q", generations["q"], 1)
    assert planned(machine) == [("p", [1, 2]), ("q", [2])]


def test_a_term_never_goes_down() -> None:
    machine = Machine()
    live(machine)
    machine.assign(work("p", 0, term=3))
    assert machine.assign(work("p", 1, term=2)) == machine.activate("p", 2) == []
    [turn] = machine.plan(entries_max=9, entries_per_process_max=9)
    assert (turn.term, [each.nonce for each in turn.entries]) == (3, [0])
    assert machine.fenced("p", 2) == []
    assert machine.fenced("p", 3) == [Close("p")]
    assert machine.assign(work("p", 1, term=3)) == []
    [again] = machine.assign(work("p", 1, term=4))
    assert isinstance(again, Activate)


def test_what_an_older_activation_brings_is_ignored() -> None:
    machine = Machine()
    generation = live(machine)
    machine.assign(work("p", 0, 1))
    [close, activate] = machine.failed("p", generation)
    assert close == Close("p")
    assert isinstance(activate, Activate)
    assert activate.attempt == 1
    assert machine.evaluated("p", generation, 0) == machine.failed("p", generation) == []
    assert machine.activated("p", generation, 0, -1) == []
    assert machine.read("p", generation, [entry("p", 0)], more=False) == []
    assert (planned(machine), machine.queued) == ([], 0)


def test_a_replay_that_fails_again_and_again_waits_longer_and_longer() -> None:
    machine = Machine()
    generation = live(machine, known_nonce=1)
    for attempt in range(1, 4):
        machine.assign(work("p", 0, 1, 2))
        machine.evaluated("p", generation, 1)
        [_, activate] = machine.failed("p", generation)
        assert isinstance(activate, Activate)
        assert activate.attempt == attempt
        generation = activate.generation
        machine.activated("p", generation, 0, 1)
    machine.assign(work("p", 0, 1, 2))
    machine.evaluated("p", generation, 2)
    [_, activate] = machine.failed("p", generation)
    assert isinstance(activate, Activate)
    assert activate.attempt == 1


def test_payloads_beyond_the_bound_are_read_again_from_the_log() -> None:
    machine = Machine(queue_entries_max=3)
    generation = live(machine)
    machine.assign(work("p", *range(10)))
    assert machine.queued == 3
    assert machine.evaluated("p", generation, 2) == [Read("p", generation, 2, 7)]


def test_a_nonce_that_the_log_does_not_have_does_not_spin() -> None:
    machine = Machine()
    generation = live(machine)
    [read] = machine.assign(work("p", 5))
    assert isinstance(read, Read)
    assert machine.read("p", generation, [], more=False) == []
    assert machine.queued == 0
    [read] = machine.assign(work("p", 1))
    assert read == Read("p", generation, -1, 2)
