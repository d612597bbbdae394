"""How an outbox message comes to its end: its place, and what attempts make of it."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.outbox.attempts import (
    Attempt,
    OutboxEntry,
    after_attempt,
    new_delivery,
    outbox_entries,
    settlement,
    sign_item,
    with_item_id,
)
from aoray.outbox.entries import InvalidEntry, MessageSpec, Sender, SpawnSpec, read_outbox
from aoray.protocol.ans104.items import verify
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.records import Delivery, DeliveryState, Settlement

PID, OTHER, MODULE = (b64url_encode(bytes([n]) * 32) for n in range(1, 4))
SENDER = Sender(PID, MODULE, "s")
GOOD = {"Target": OTHER, "Tags": []}
BAD = {"Target": "short", "Tags": []}
SPAWN = {"Tags": [{"name": "Module", "value": MODULE}]}


def boxed(**result: object) -> list[OutboxEntry]:
    return outbox_entries(read_outbox(result, SENDER, 3, ""))


def test_places_are_messages_then_spawns_then_assignments_and_bad_ones_have_theirs() -> None:
    to_two = {"Message": OTHER, "Processes": [PID, OTHER]}
    found = boxed(Messages=[BAD, GOOD, BAD, GOOD], Spawns=[SPAWN, {"Tags": []}], Assignments=[{}, to_two])
    assert [each.place for each in found] == list(range(9))
    assert [each.kind for each in found] == ["message"] * 4 + ["spawn"] * 2 + ["assignment"] * 3
    assert [each.place for each in found if isinstance(each.spec, InvalidEntry)] == [0, 2, 5, 6]


def test_a_message_is_at_the_place_that_its_from_index_tag_says() -> None:
    for each in boxed(Messages=[GOOD, BAD, GOOD]):
        if not isinstance(each.spec, InvalidEntry):
            assert each.spec.place == each.place


@pytest.mark.parametrize("state", ["delivered", "uploaded", "skipped"])
def test_an_attempt_is_counted_and_dated(state: DeliveryState) -> None:
    [entry] = boxed(Messages=[GOOD])
    once = after_attempt(new_delivery(PID, 3, entry), Attempt("pending", "away"), 10)
    assert (once.state, once.attempts, once.error, once.first_ms, once.last_ms) == (
        "pending",
        1,
        "away",
        10,
        10,
    )
    twice = after_attempt(once, Attempt(state), 20)
    assert twice.state == state
    assert twice[-4:] == (2, "", 10, 20)


def test_our_own_is_tried_without_end_and_another_network_until_the_bound() -> None:
    [entry] = boxed(Messages=[GOOD])
    last = new_delivery(PID, 3, entry)._replace(attempts=limits.PUSH_FOREIGN_ATTEMPTS_MAX - 1)
    assert after_attempt(last, Attempt("pending", "away"), 1).state == "pending"
    assert after_attempt(last, Attempt("pending", "away", foreign=True), 1).state == "dead"
    assert (
        after_attempt(last._replace(attempts=0), Attempt("pending", "away", foreign=True), 1).state
        == "pending"
    )
    assert after_attempt(last, Attempt("uploaded", foreign=True), 1).state == "uploaded"
    for away in (Attempt("pending", foreign=True), Attempt("pending", absent=True)):
        states = [after_attempt(last._replace(attempts=made), away, 1, 3).state for made in range(4)]
        assert states == ["pending", "pending", "dead", "dead"]


def test_a_reason_is_kept_within_its_bound() -> None:
    [entry] = boxed(Messages=[GOOD])
    kept = after_attempt(new_delivery(PID, 3, entry), Attempt("skipped", "x" * 10_000), 1).error
    assert len(kept) == limits.PUSH_ERROR_CHARACTERS_MAX


def test_a_result_is_done_when_nothing_is_pending() -> None:
    waiting = [new_delivery(PID, 3, entry) for entry in boxed(Messages=[GOOD, GOOD])]
    ended = [after_attempt(each, Attempt("skipped"), 1) for each in waiting]
    assert settlement(PID, 3, ended) == Settlement(PID, 3, ended, True)
    assert not settlement(PID, 3, [ended[0], waiting[1]]).done


def test_a_spawn_is_for_the_process_that_it_makes() -> None:
    [entry] = boxed(Spawns=[SPAWN])
    assert with_item_id(new_delivery(PID, 3, entry), OTHER).target == OTHER
    assert with_item_id(new_delivery(PID, 3, entry), OTHER).item_id == OTHER


def test_a_message_stays_for_whom_it_is_when_its_item_has_an_id() -> None:
    [entry] = boxed(Messages=[GOOD])
    assert with_item_id(new_delivery(PID, 3, entry), MODULE)[-6:-4] == (MODULE, OTHER)


def test_before_any_attempt_it_is_known_of_each_whom_it_is_for() -> None:
    assigned = {"Message": MODULE, "Processes": [OTHER]}
    found = boxed(Messages=[GOOD, BAD], Spawns=[SPAWN], Assignments=[assigned])
    assert [new_delivery(PID, 3, entry) for entry in found] == [
        Delivery(PID, 3, 0, "message", "pending", "", OTHER, 0, "", 0, 0),
        Delivery(PID, 3, 1, "message", "pending", "", "", 0, "", 0, 0),
        Delivery(PID, 3, 2, "spawn", "pending", "", "", 0, "", 0, 0),
        Delivery(PID, 3, 3, "assignment", "pending", MODULE, OTHER, 0, "", 0, 0),
    ]


def test_a_list_that_is_not_one_has_no_index() -> None:
    assert boxed(Messages="x", Spawns=[SPAWN]) == boxed(Spawns=[SPAWN])


def test_the_item_of_an_entry_is_what_the_entry_says_and_the_same_each_time() -> None:
    signer, own = generate_ed25519(), (Tag("A", "b"),)
    message = sign_item(signer, MessageSpec(0, OTHER, b"a" * 32, own, b"hello", ()))
    spawn = sign_item(signer, SpawnSpec(3, 0, own, b"code", ()))
    assert message and spawn
    for item in (message, spawn):
        verify(item)
        assert (item.address, item.tags) == (signer.address, own)
    assert (message.target_id, message.anchor, message.data) == (OTHER, b"a" * 32, b"hello")
    assert (spawn.target_id, spawn.anchor, spawn.data) == ("", b"", b"code")
    assert sign_item(signer, MessageSpec(0, OTHER, b"a" * 32, own, b"hello", ())) == message
    assert sign_item(signer, InvalidEntry("Messages", 0, "no")) is None
