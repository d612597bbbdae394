"""Who is put to sleep, and who wakes it; who is stopped, and whose term is over."""

from __future__ import annotations

import pytest
from planner_rig import activated, live, planned, work

from aoray import limits
from aoray.actors.planner import Activate, Close, EvaluationPlanner, Hibernate, Read


def asleep(machine: EvaluationPlanner) -> dict[str, int]:
    return dict(machine.hibernated.items())


def test_only_who_has_nothing_to_do_is_put_to_sleep() -> None:
    machine = EvaluationPlanner()
    assert machine.hibernate("nobody") == []
    effects = machine.activate("p", 2)
    assert not machine.is_idle("p")  # its instance is not there
    [read] = activated(machine, effects)
    assert isinstance(read, Read)
    assert not machine.is_idle("p")  # the log is being read
    machine.read("p", read.generation, [], more=False)
    assert machine.is_idle("p")
    machine.assign(work("p", 0, term=2))
    assert not machine.is_idle("p") and machine.hibernate("p") == []
    machine.evaluated("p", read.generation, 0)
    assert machine.hibernate("p") == [Hibernate("p", 2)]
    assert (asleep(machine), machine.processes) == ({"p": 2}, {})
    assert machine.hibernate("p") == []


@pytest.mark.parametrize("waits_for", ["its gap", "what the log has more"])
def test_who_waits_for_the_log_is_not_idle(waits_for: str) -> None:
    machine = EvaluationPlanner(queue_entries_max=0)
    generation = live(machine)
    if waits_for == "its gap":
        [read] = machine.assign(work("p", 2))
    else:
        [read] = machine.recheck_log("p")
    assert isinstance(read, Read) and not machine.is_idle("p")
    machine.read("p", generation, [], more=False)
    assert machine.is_idle("p")


@pytest.mark.parametrize("who", ["its next message", "who asks"])
def test_a_hibernated_process_wakes_for_its_next_message_and_for_a_caller(who: str) -> None:
    machine = EvaluationPlanner()
    activated(machine, machine.activate("p", 2))
    machine.read("p", 1, [], more=False)
    machine.hibernate("p")
    woken = machine.recheck_log("p") if who == "who asks" else machine.assign(work("p", 0, term=2))
    assert woken == [Activate("p", 2, 0)]
    assert (asleep(machine), machine.processes["p"].term) == ({}, 2)


def test_who_sleeps_under_a_term_that_is_over_is_forgotten() -> None:
    machine = EvaluationPlanner()
    for process_id in "pq":
        live(machine, process_id)
        machine.activate(process_id, 3 if process_id == "q" else 1)
        generation = machine.processes[process_id].generation
        machine.read(process_id, generation, [], more=False)
        machine.hibernate(process_id)
    for process_id in "pqr":
        assert machine.fenced(process_id, 2) == []
    assert asleep(machine) == {"q": 3}
    assert machine.recheck_log("p") == machine.activate("p", 2) == machine.activate("r", 2) == []
    assert len(machine.activate("p", 3)) == len(machine.activate("r", 3)) == 1
    machine.fenced("s", 5)
    machine.fenced("s", 2)  # an older word
    assert machine.activate("s", 5) == []


def test_a_process_that_is_halted_is_never_evaluated_again() -> None:
    machine = EvaluationPlanner()
    live(machine)
    machine.assign(work("p", 0))
    assert machine.halt("p") == [Close("p")]
    assert machine.halt("nobody") == machine.drop("nobody") == []
    assert machine.assign(work("p", 1, term=9)) == machine.activate("p", 9) == machine.recheck_log("p") == []
    assert (planned(machine), machine.queued) == ([], 0)
    live(machine, "q")
    machine.hibernate("q")
    machine.halt("q")
    assert asleep(machine) == {} and machine.recheck_log("q") == []


def test_of_all_processes_that_were_ever_here_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROCESSES_KNOWN_MAX", 3)
    machine = EvaluationPlanner()
    for number in range(20):
        process_id = f"p{number}"
        generation = live(machine, process_id)
        if number % 3 == 0:
            machine.fenced(process_id, 1)
        elif number % 3 == 1:
            machine.drop(process_id)
        else:
            machine.recheck_log(process_id)
            machine.read(process_id, generation, [], more=False)
            assert machine.hibernate(process_id)
    assert [len(machine.hibernated), len(machine._floor), len(machine.processes)] == [3, 3, 0]
    assert machine.recheck_log("p2") == [], "who asks for one that is forgotten has it placed first"
    assert machine.activate("p18", 1) == [], "the last are remembered"
    [begun] = machine.activate("p0", 1)  # it is forgotten that this term is over: the store says so again
    assert isinstance(begun, Activate)
    assert machine.fenced("p0", 1) == [Close("p0")] and machine.activate("p0", 1) == []


@pytest.mark.parametrize("where", ["here", "asleep", "dropped"])
def test_a_term_that_is_over_is_refused_wherever_its_process_is(where: str) -> None:
    machine = EvaluationPlanner()
    activated(machine, machine.activate("p", 2))
    machine.read("p", 1, [], more=False)
    if where == "asleep":
        assert machine.hibernate("p")
    elif where == "dropped":
        assert machine.drop("p")
    assert machine.activate("p", 1) == machine.assign(work("p", 0, term=1)) == []
    machine.activate("p", 2)
    assert machine.processes["p"].term == 2
