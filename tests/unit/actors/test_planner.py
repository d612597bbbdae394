"""The order of evaluation, in any interleaving of calls, reads, losses, faults and terms."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_rig import activated, entry, live, planned, work

from aoray import limits
from aoray.actors.planner import Activate, Close, Effect, EvaluationPlanner, Read


class World:
    """Carries out a machine's effects in an order drawn from a seed; checks what is evaluated."""

    def __init__(self, seed: int, queue_entries_max: int = 1_000) -> None:
        self.random = random.Random(seed)
        self.planner = EvaluationPlanner(queue_entries_max=queue_entries_max)
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
            self.apply(self.planner.read(effect.process_id, effect.generation, page, more=last < end))

    def _activate(self, effect: Activate) -> None:
        process_id = effect.process_id
        if self.random.random() < 0.2:
            self.apply(self.planner.failed(process_id, effect.generation))
        elif self.planner.current(process_id, effect.generation):
            self.open[process_id] = 0
            known_nonce = self.results[process_id] - 1
            self.apply(self.planner.activated(process_id, effect.generation, 0, known_nonce))

    def evaluate(self) -> None:
        """A slice, which may end early or meet a fault."""
        for turn in self.planner.plan(entries_max=20, entries_per_process_max=3):
            for each in turn.entries[: self.random.randint(1, 3)]:
                assert each.nonce == self.open[turn.process_id]
                self.open[turn.process_id] += 1
                if each.nonce > turn.known_nonce:
                    assert each.nonce == self.results[turn.process_id]
                    self.results[turn.process_id] += 1
                self.apply(self.planner.evaluated(turn.process_id, turn.generation, each.nonce))
            if self.random.random() < 0.1:
                self.apply(self.planner.failed(turn.process_id, turn.generation))
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
        self.apply(self.planner.assign(work(process_id, *told)))

    def settle(self) -> None:
        for process_id in self.log:
            self.apply(self.planner.activate(process_id, 1))
        while self.to_do or self.planner.plan(entries_max=1, entries_per_process_max=1):
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
                world.apply(world.planner.recheck_log(world.random.choice("pqr")))
            case _:
                world.evaluate()
        assert world.planner.queued == sum(len(each.pending) for each in world.planner.processes.values())
    world.settle()
    assert world.results == world.log
    assert world.open == world.log
    assert world.planner.queued == 0


def test_activation_is_asked_for_once() -> None:
    planner = EvaluationPlanner()
    assert len(planner.assign(work("p", 0, 1) + work("q", 0))) == 2
    assert planner.assign(work("p", 2)) == planner.activate("p", 1) == planner.recheck_log("p") == []


def test_a_gap_is_read_only_when_nothing_else_is_left() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    assert planner.assign(work("p", 0, 2, 3)) == []
    assert planned(planner) == [("p", [0])]
    assert planner.evaluated("p", generation, 0) == [Read("p", generation, 0, 3)]
    assert planner.assign(work("p", 1)) == []
    assert planned(planner) == [("p", [1, 2])]
    planner.evaluated("p", generation, 3)
    assert planner.read("p", generation, [entry("p", 1)], more=False) == []
    assert planned(planner) == []


def test_processes_take_turns() -> None:
    planner = EvaluationPlanner()
    generations = {process_id: live(planner, process_id) for process_id in "pq"}
    planner.assign(work("p", 0, 1, 2, 3) + work("q", 0, 1, 2))
    assert planned(planner) == [("p", [0, 1]), ("q", [0, 1])]
    planner.evaluated("p", generations["p"], 0)
    assert planned(planner) == [("q", [0, 1]), ("p", [1, 2])]
    planner.evaluated("q", generations["q"], 1)
    assert planned(planner) == [("p", [1, 2]), ("q", [2])]


def test_the_more_processes_are_ready_the_less_each_gives_to_a_round() -> None:
    planner = EvaluationPlanner()
    names = [str(number) for number in range(2 * limits.ROUND_ENTRIES)]
    for process_id in names:
        live(planner, process_id)
    planner.assign(work("0", *range(8)))
    [turn] = planner.plan(entries_max=512, entries_per_process_max=8)
    assert len(turn.entries) == 8
    for process_id in names[1:32]:
        planner.assign(work(process_id, *range(8)))
    assert [len(turn.entries) for turn in planner.plan(entries_max=512, entries_per_process_max=8)] == [
        2
    ] * 32
    for process_id in names[32:]:
        planner.assign(work(process_id, *range(8)))
    plan = planner.plan(entries_max=512, entries_per_process_max=8)
    assert [len(turn.entries) for turn in plan] == [1] * len(names)


def test_a_light_process_is_served_next_however_many_others_have_heavy_messages() -> None:
    planner = EvaluationPlanner()
    heavy = [str(number) for number in range(40)]
    generations = {process_id: live(planner, process_id) for process_id in [*heavy, "light"]}
    for process_id in heavy:
        planner.assign(work(process_id, *range(100)))

    def serve(seconds: float) -> str:
        """Whose turn it is: a heavy message takes a whole slice."""
        turn = planner.plan(entries_max=512, entries_per_process_max=8)[0]
        planner.charge(turn.process_id, seconds)
        planner.evaluated(turn.process_id, generations[turn.process_id], turn.entries[0].nonce)
        return turn.process_id

    assert [serve(0.015) for _ in range(80)] == heavy * 2, "alike, they go round"
    for nonce in range(10):
        planner.assign(work("light", nonce))
        assert serve(0.0001) == "light"
        assert serve(0.015) in heavy, "and it holds nobody up"


def test_who_was_idle_has_no_time_saved_up() -> None:
    planner = EvaluationPlanner()
    generations = {process_id: live(planner, process_id) for process_id in ("busy", "idle")}
    served = []
    for nonce in range(20):
        planner.assign(work("busy", nonce))
        if nonce >= 10:
            planner.assign(work("idle", nonce - 10))
        for turn in planner.plan(entries_max=1, entries_per_process_max=1):
            planner.charge(turn.process_id, 1.0)
            planner.evaluated(turn.process_id, generations[turn.process_id], turn.entries[0].nonce)
            served.append(turn.process_id)
    assert served[:10] == ["busy"] * 10
    assert {*served[10:14]} == {"busy", "idle"}, "they share what comes from now on"


def test_a_term_never_goes_down() -> None:
    planner = EvaluationPlanner()
    live(planner)
    planner.assign(work("p", 0, term=3))
    assert planner.assign(work("p", 1, term=2)) == planner.activate("p", 2) == []
    [turn] = planner.plan(entries_max=9, entries_per_process_max=9)
    assert (turn.term, [each.nonce for each in turn.entries]) == (3, [0])
    assert planner.fenced("p", 2) == []
    assert planner.fenced("p", 3) == [Close("p")]
    assert planner.assign(work("p", 1, term=3)) == []
    [again] = planner.assign(work("p", 1, term=4))
    assert isinstance(again, Activate)


def test_what_an_older_activation_brings_is_ignored() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    planner.assign(work("p", 0, 1))
    [close, activate] = planner.failed("p", generation)
    assert close == Close("p")
    assert isinstance(activate, Activate)
    assert activate.attempt == 1
    assert planner.evaluated("p", generation, 0) == planner.failed("p", generation) == []
    assert planner.activated("p", generation, 0, -1) == []
    assert planner.read("p", generation, [entry("p", 0)], more=False) == []
    assert (planned(planner), planner.queued) == ([], 0)


def test_a_replay_that_fails_again_and_again_waits_longer_and_longer() -> None:
    planner = EvaluationPlanner()
    generation = live(planner, known_nonce=1)
    for attempt in range(1, 4):
        planner.assign(work("p", 0, 1, 2))
        planner.evaluated("p", generation, 1)
        [_, activate] = planner.failed("p", generation)
        assert isinstance(activate, Activate)
        assert activate.attempt == attempt
        generation = activate.generation
        planner.activated("p", generation, 0, 1)
    planner.assign(work("p", 0, 1, 2))
    planner.evaluated("p", generation, 2)
    [_, activate] = planner.failed("p", generation)
    assert isinstance(activate, Activate)
    assert activate.attempt == 1


def test_payloads_beyond_the_bound_are_read_again_from_the_log() -> None:
    planner = EvaluationPlanner(queue_entries_max=3)
    generation = live(planner)
    planner.assign(work("p", *range(10)))
    assert planner.queued == 3
    assert planner.evaluated("p", generation, 2) == [Read("p", generation, 2, 7)]


def test_a_nonce_that_the_log_does_not_have_does_not_spin() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    [read] = planner.assign(work("p", 5))
    assert isinstance(read, Read)
    assert planner.read("p", generation, [], more=False) == []
    assert planner.queued == 0
    [read] = planner.assign(work("p", 1))
    assert read == Read("p", generation, -1, 2)


def test_what_came_before_the_instance_is_evaluated_from_its_state_on_and_no_log_is_read_for_it() -> None:
    planner = EvaluationPlanner()
    assert activated(planner, planner.assign(work("p", 0, 1, 2, 3)), next_nonce=2) == []
    assert (planned(planner), planner.queued) == ([("p", [2, 3])], 2)


def test_what_did_not_come_before_the_instance_is_looked_for_in_the_log() -> None:
    planner = EvaluationPlanner()
    assert activated(planner, planner.assign(work("p", 0, 1, 3)), next_nonce=2) == [Read("p", 1, 1, 500)]
    assert planner.queued == 1


def test_after_a_fault_the_log_is_read_whatever_comes_meanwhile() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    planner.assign(work("p", 0, 1))
    [_, activate] = planner.failed("p", generation)
    planner.assign(work("p", 0))
    assert activated(planner, [activate]) == [Read("p", generation + 1, 0, 500)]


def test_asking_for_what_is_not_known_has_the_log_read() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    assert planner.recheck_log("p") == [Read("p", generation, -1, 500)]
    assert planner.recheck_log("p") == planner.recheck_log("nobody") == []  # one read at a time
    assert planner.read("p", generation, [entry("p", 0)], more=False) == [Read("p", generation, 0, 500)]
    assert planner.read("p", generation, [], more=False) == []
    assert planned(planner) == [("p", [0])]


def test_the_log_is_read_ahead_when_half_a_page_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REPLAY_PAGE_ENTRIES", 4)
    planner = EvaluationPlanner()
    generation = live(planner)
    read = Read("p", generation, -1, 4)
    assert planner.recheck_log("p") == [read]
    page = [entry("p", nonce) for nonce in range(4)]
    assert planner.read("p", generation, page, more=True) == []
    assert planner.evaluated("p", generation, 0) == []  # three are ahead
    assert planner.evaluated("p", generation, 1) == [read._replace(after_nonce=3)]


def test_while_the_queue_is_full_the_log_is_read_only_by_who_has_nothing_left() -> None:
    planner = EvaluationPlanner(queue_entries_max=2)
    generation = live(planner)
    planner.assign(work("q", 0, 1))
    assert planner.recheck_log("p") == [Read("p", generation, -1, 500)]
    assert planner.read("p", generation, [entry("p", 0)], more=True) == []
    assert planner.evaluated("p", generation, 0) == [Read("p", generation, 0, 500)]


def test_a_gap_larger_than_a_page_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_PAGE_ENTRIES", 4)
    planner = EvaluationPlanner()
    generation = live(planner)
    assert planner.assign(work("p", 9)) == [Read("p", generation, -1, 4)]
    page = [entry("p", nonce) for nonce in range(4)]
    assert planner.read("p", generation, page, more=False) == []
    assert planner.evaluated("p", generation, 3) == [Read("p", generation, 3, 4)]
    assert planner.read("p", generation, [entry("p", 4)], more=False) == []
    assert planner.evaluated("p", generation, 4) == [Read("p", generation, 4, 4)]


def test_a_full_queue_still_takes_what_is_next() -> None:
    planner = EvaluationPlanner(queue_entries_max=2)
    generation = live(planner, "q")
    live(planner)
    planner.assign(work("p", 0, 1))
    planner.assign(work("q", 1, 0))
    assert (planner.queued, planned(planner)) == (3, [("p", [0, 1]), ("q", [0])])
    assert planner.evaluated("q", generation, 0) == [Read("q", generation, 0, 1)]


def test_a_plan_has_so_many_entries_altogether() -> None:
    planner = EvaluationPlanner()
    generation = live(planner, known_nonce=4)
    live(planner, "q")
    planner.assign(work("p", 0, 1, 2, term=3) + work("q", 0, 1))
    for most, expected in ((0, []), (1, [1]), (2, [2]), (3, [2, 1]), (9, [2, 2])):
        turns = planner.plan(entries_max=most, entries_per_process_max=2)
        assert [len(turn.entries) for turn in turns] == expected
    assert turns[0][:4] == ("p", generation, 3, 4)


def test_what_takes_long_has_no_turn_until_it_is_evaluated_and_holds_up_no_other() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    live(planner, "q")
    planner.assign(work("p", 0, 1) + work("q", 0))
    planner.long("p", generation + 1)  # of another activation
    planner.long("nobody", generation)
    assert planned(planner) == [("p", [0, 1]), ("q", [0])]
    planner.long("p", generation)
    assert planned(planner) == [("q", [0])]
    planner.assign(work("p", 2))
    assert planned(planner) == [("q", [0])]
    planner.evaluated("p", generation, 0)
    assert planned(planner) == [("q", [0]), ("p", [1, 2])]


def test_of_what_was_told_too_early_nothing_is_kept_when_the_log_does_not_have_it() -> None:
    planner = EvaluationPlanner()
    generation = live(planner)
    assert planner.assign(work("p", 0, 2, 4)) == []
    assert planner.evaluated("p", generation, 0) == [Read("p", generation, 0, 4)]
    assert planner.read("p", generation, [], more=False) == []
    assert (planner.queued, planner.is_idle("p")) == (0, True)
