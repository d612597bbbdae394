"""How an outbox message comes to its end: its place, and what attempts make of it."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.actors.deliveries import State
from aoray.actors.delivery import Attempt, Parcel, attempted, named, parcels, settlement, untried
from aoray.actors.push import Fault, Sender, outbox
from aoray.protocol.ids import b64url_encode

PID, OTHER, MODULE = (b64url_encode(bytes([n]) * 32) for n in range(1, 4))
SENDER = Sender(PID, MODULE, "s")
GOOD = {"Target": OTHER, "Tags": []}
BAD = {"Target": "short", "Tags": []}
SPAWN = {"Tags": [{"name": "Module", "value": MODULE}]}


def boxed(**result: object) -> list[Parcel]:
    return parcels(result, outbox(result, SENDER, 3, ""))


def test_places_are_messages_then_spawns_then_assignments_and_bad_ones_have_theirs() -> None:
    to_two = {"Message": OTHER, "Processes": [PID, OTHER]}
    found = boxed(Messages=[BAD, GOOD, BAD, GOOD], Spawns=[SPAWN, {"Tags": []}], Assignments=[{}, to_two])
    assert [each.place for each in found] == list(range(9))
    assert [each.kind for each in found] == ["message"] * 4 + ["spawn"] * 2 + ["assignment"] * 3
    assert [each.place for each in found if isinstance(each.spec, Fault)] == [0, 2, 5, 6]


def test_a_message_is_at_the_place_that_its_from_index_tag_says() -> None:
    for each in boxed(Messages=[GOOD, BAD, GOOD]):
        if not isinstance(each.spec, Fault):
            assert each.spec.place == each.place


@pytest.mark.parametrize("state", ["delivered", "uploaded", "skipped"])
def test_an_attempt_is_counted_and_dated(state: State) -> None:
    [parcel] = boxed(Messages=[GOOD])
    once = attempted(untried(PID, 3, parcel), Attempt("pending", "away"), 10)
    assert (once.state, once.attempts, once.error, once.first_ms, once.last_ms) == (
        "pending",
        1,
        "away",
        10,
        10,
    )
    twice = attempted(once, Attempt(state), 20)
    assert twice.state == state
    assert twice[-4:] == (2, "", 10, 20)


def test_our_own_is_tried_without_end_and_another_network_until_the_bound() -> None:
    [parcel] = boxed(Messages=[GOOD])
    last = untried(PID, 3, parcel)._replace(attempts=limits.PUSH_FOREIGN_ATTEMPTS_MAX - 1)
    assert attempted(last, Attempt("pending", "away"), 1).state == "pending"
    assert attempted(last, Attempt("pending", "away", foreign=True), 1).state == "dead"
    assert (
        attempted(last._replace(attempts=0), Attempt("pending", "away", foreign=True), 1).state == "pending"
    )
    assert attempted(last, Attempt("uploaded", foreign=True), 1).state == "uploaded"


def test_a_reason_is_kept_within_its_bound() -> None:
    [parcel] = boxed(Messages=[GOOD])
    kept = attempted(untried(PID, 3, parcel), Attempt("skipped", "x" * 10_000), 1).error
    assert len(kept) == limits.PUSH_ERROR_CHARACTERS_MAX


def test_a_result_is_done_when_nothing_is_pending() -> None:
    waiting = [untried(PID, 3, parcel) for parcel in boxed(Messages=[GOOD, GOOD])]
    ended = [attempted(each, Attempt("skipped"), 1) for each in waiting]
    assert settlement(PID, 3, ended).done
    assert not settlement(PID, 3, [ended[0], waiting[1]]).done


def test_a_spawn_is_for_the_process_that_it_makes() -> None:
    [parcel] = boxed(Spawns=[SPAWN])
    assert named(untried(PID, 3, parcel), OTHER).target == OTHER
