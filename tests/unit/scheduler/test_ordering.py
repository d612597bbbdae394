"""The ordering rules, on plain data."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ordering import MESSAGE_TAGS, PROCESS_TAGS, SCHEDULER, SOME_ID, assign, item, message, spawn

from aoray.contracts.shard import Submission
from aoray.errors import AorayError, MalformedInput, TooLarge, UnknownProcess
from aoray.protocol.ans104.items import parse
from aoray.protocol.tags import Tag, all_of, encode_tags, first
from aoray.scheduler import ordering
from aoray.scheduler.ordering import OrderingResult, order
from aoray.storage.records import Slot


def run(*batch: Submission, after: OrderingResult | None = None, now_ms: int = 1000) -> OrderingResult:
    states, slots = (after.states, after.slots) if after else ({}, {})
    return order(batch, states, slots, SCHEDULER, now_ms=now_ms, block_height=7)


def error_of(*batch: Submission) -> AorayError:
    outcome = run(*batch).outcomes[-1]
    assert isinstance(outcome, AorayError)
    return outcome


def test_a_process_is_nonce_0_and_its_messages_follow() -> None:
    process = spawn()
    ordered = run(process, message(process.process_id), message(process.process_id))
    assert [entry.nonce for entry in ordered.entries] == [0, 1, 2]
    assert [entry.timestamp for entry in ordered.entries] == [1000, 1001, 1002]
    first_assignment, *others = (parse(entry.assignment) for entry in ordered.entries)
    assert first(first_assignment.tags, "Message") is None
    assert [first(a.tags, "Message") for a in others] == [entry.message_id for entry in ordered.entries[1:]]
    assert first(first_assignment.tags, "Block-Height") == "000000000007"


def test_a_process_is_bound_to_the_engine_that_is_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "engine_asked", lambda _: 7)
    [entry] = run(spawn()).entries
    assert first(parse(entry.assignment).tags, "Engine") == "7"


def test_a_process_whose_tags_no_gateway_could_give_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways give tags as JSON. A signature over other bytes than one block of them fails there, and the
    scheduler would be found a liar by who verifies the process."""
    process = spawn()

    def in_a_block_each(tags: Sequence[Tag]) -> bytes:
        return b"".join(encode_tags([tag])[:-1] for tag in tags) + b"\0"

    with monkeypatch.context() as patch:
        patch.setattr("aoray.protocol.ans104.items.encode_tags", in_a_block_each)
        odd = spawn()
    assert "Avro" in error_of(odd).message
    assert run(process, message(process.process_id)).entries[1].nonce == 1  # it is in a bundle, whole


def test_time_that_goes_back_still_rises_in_the_log() -> None:
    process = spawn()
    before = run(process, now_ms=5000)
    after = run(message(process.process_id), after=before, now_ms=4000)
    assert after.entries[0].timestamp == 5001


@pytest.mark.parametrize("together", [True, False])
def test_an_id_is_scheduled_once_and_its_first_slot_is_given_again(together: bool) -> None:
    process = spawn()
    once = message(process.process_id)
    if together:
        ordered = run(process, once, once, process)
        outcomes, are_new = ordered.outcomes, ordered.are_new
    else:
        ordered = run(process, once)
        again = run(once, process, after=ordered)
        assert not again.entries
        outcomes, are_new = ordered.outcomes + again.outcomes, ordered.are_new + again.are_new
    assert len(ordered.entries) == 2
    assert outcomes[1] == outcomes[2] and outcomes[0] == outcomes[3]
    assert are_new == [True, True, False, False]


def test_a_message_is_assigned_to_another_process_once_with_what_it_excludes() -> None:
    one, other = spawn(), spawn()
    sent = message(one.process_id)
    ordered = run(
        one, other, sent, assign(other.process_id, sent, "Data", "Anchor"), assign(other.process_id, sent)
    )
    assert len(ordered.entries) == 4
    assert ordered.outcomes[3] == ordered.outcomes[4] != ordered.outcomes[2]
    assert all_of(parse(ordered.entries[3].assignment).tags, "Exclude") == ["Data", "Anchor"]


def test_assigning_a_message_to_the_process_that_has_it_gives_its_slot() -> None:
    process = spawn()
    sent = message(process.process_id)
    ordered = run(process, sent, assign(process.process_id, sent))
    assert ordered.outcomes[1] == ordered.outcomes[2] and len(ordered.entries) == 2


def test_any_item_can_be_assigned_also_one_that_is_not_of_ao() -> None:
    process, plain = spawn(), item([("Content-Type", "text/plain")])
    ordered = run(process, Submission("assignment", process.process_id, plain.id, plain.raw))
    assert isinstance(ordered.outcomes[1], Slot)


def test_a_process_asks_for_an_actor_of_its_own_by_tag() -> None:
    plain, own = spawn(), spawn(("Actor", "own"))
    states = run(plain, own).states
    assert [states[plain.process_id].own, states[own.process_id].own] == [False, True]


@pytest.mark.parametrize("kind", ["message", "assignment"])
def test_nothing_is_scheduled_on_a_process_that_is_not_in_the_log(kind: str) -> None:
    error = error_of(message(SOME_ID)._replace(kind=kind))
    assert isinstance(error, UnknownProcess) and error.details["process_id"] == SOME_ID


BAD_PROCESSES = {
    "tags.Type": spawn(tags=[*PROCESS_TAGS[:1], ("Type", "Message"), *PROCESS_TAGS[2:]]),
    "tags.Data-Protocol": spawn(tags=PROCESS_TAGS[1:]),
    "tags.Module": spawn(tags=[tag for tag in PROCESS_TAGS if tag[0] != "Module"]),
    "tags.Scheduler": spawn(tags=[tag for tag in PROCESS_TAGS if tag[0] != "Scheduler"]),
    "tags.On-Boot": spawn(("On-Boot", "data")),
    "tags.Some+link": spawn(("Some+link", "x")),
    "tags.Some": spawn(("Some", "x+link")),
}


@pytest.mark.parametrize("field", BAD_PROCESSES)
def test_a_bad_process_is_refused_and_the_field_named(field: str) -> None:
    error = error_of(BAD_PROCESSES[field])
    assert isinstance(error, MalformedInput) and error.field == field


@pytest.mark.parametrize("on_boot", ["Data", SOME_ID])
def test_on_boot_is_data_or_a_transaction(on_boot: str) -> None:
    assert isinstance(run(spawn(("On-Boot", on_boot))).outcomes[0], Slot)


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        ("tags.Type", MESSAGE_TAGS[:1]),
        ("tags.Type", [*MESSAGE_TAGS[:1], ("Type", "Process")]),
        ("tags.Data-Protocol", MESSAGE_TAGS[1:]),
        ("tags.A+link", [*MESSAGE_TAGS, ("A+link", "x")]),
    ],
)
def test_a_bad_message_is_refused_and_the_field_named(field: str, tags: list[tuple[str, str]]) -> None:
    process = spawn()
    error = error_of(process, message(process.process_id, tags=tags))
    assert isinstance(error, MalformedInput) and error.field == field


def test_an_item_under_another_id_or_for_another_process_is_refused() -> None:
    one, other = spawn(), spawn()
    sent = message(one.process_id)
    for wrong, field in (
        (sent._replace(message_id=SOME_ID), "message_id"),
        (sent._replace(process_id=other.process_id), "target"),
        (spawn()._replace(process_id=SOME_ID), "process_id"),
        (sent._replace(item=b"nonsense"), None),
        (assign(one.process_id, sent)._replace(item=b"nonsense"), None),
        (assign(one.process_id, sent)._replace(message_id=SOME_ID), "message_id"),
    ):
        error = error_of(one, other, wrong)
        assert isinstance(error, MalformedInput)
        assert field in (None, error.field)


@pytest.mark.parametrize("exclude", [["x"] * 101, ["x" * 10_000]])
def test_what_an_assignment_excludes_is_bounded(exclude: list[str]) -> None:
    process = spawn()
    assert isinstance(error_of(process, assign(process.process_id, message(SOME_ID), *exclude)), TooLarge)


def test_a_bad_submission_does_not_touch_the_others_of_its_batch() -> None:
    process = spawn()
    good = [message(process.process_id) for _ in range(3)]
    ordered = run(process, good[0], message(SOME_ID), good[1], message(process.process_id, tags=[]), good[2])
    assert [entry.message_id for entry in ordered.entries[1:]] == [each.message_id for each in good]
    assert [entry.nonce for entry in ordered.entries] == [0, 1, 2, 3]


def test_a_spawn_for_another_scheduler_is_refused_and_told_which_this_one_is() -> None:
    """Whoever verifies takes the scheduler's address from the spawn: its log could never be verified here."""
    ours = ("Scheduler", SCHEDULER.address)
    for tags in ([("Scheduler", SOME_ID)], [("Scheduler", SOME_ID), ours], [ours, ("Scheduler", SOME_ID)]):
        asked = spawn(tags=(*PROCESS_TAGS[:-1], *tags))
        (refused,) = order([asked], {}, {}, SCHEDULER, now_ms=1, block_height=0).outcomes
        assert isinstance(refused, MalformedInput) and refused.field == "tags.Scheduler"
        assert SCHEDULER.address in refused.message and SCHEDULER.address in refused.hint
