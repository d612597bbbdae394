"""The rules of `aoray verify` one by one: what counts as the scheduler's word, what does not, and what a
fault says of where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from auditor import EVAL, STRANGER, location, tampered
from ordering import SCHEDULER, SOME_ID, USER, item, process_tags
from signed_assignments import next_assignment

from aoray.errors import BadSignature, LogFault, MalformedInput
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.cron import Moment
from aoray.protocol.handovers import NEVER, Tenure
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.verify import rules
from aoray.verify.rules import Claim, ProcessFacts, facts_of

T0 = 1_700_000_000_000
NEW = generate_ed25519()
PROCESS = item(process_tags(SCHEDULER.address))
FACTS = facts_of(PROCESS)
HANDED = FACTS._replace(line=(Tenure(SCHEDULER.address, T0 + 1), Tenure(NEW.address)))
FIRST_HEAD, FIRST = next_assignment(SCHEDULER, PROCESS.id, None, None, now_ms=T0, block_height=7)
MESSAGE = item(EVAL, PROCESS.id)
HEAD, SLOT = next_assignment(SCHEDULER, PROCESS.id, FIRST_HEAD, MESSAGE.id, now_ms=T0 + 1, block_height=8)


def with_tags(signed: DataItem, *more: Tag, signer: Any = SCHEDULER, **changed: str | None) -> DataItem:
    """The item with other values of some tags, or without them, and with more."""
    values = {name.replace("_", "-"): value for name, value in changed.items()}
    kept = ((tag.name, values.get(tag.name, tag.value)) for tag in signed.tags)
    return build(signer, tags=[*(Tag(name, value) for name, value in kept if value is not None), *more])


def details(error: LogFault) -> tuple[object, ...]:
    assert set(error.details) == {"process_id", "nonce", "item"}
    assert error.details["process_id"] == PROCESS.id
    return error.details["nonce"], error.details["item"]


# What a process says


def test_the_facts_of_a_process_are_what_its_spawn_says() -> None:
    assert facts_of(PROCESS) == ProcessFacts(
        PROCESS.id, SCHEDULER.address, SOME_ID, PROCESS, (Tenure(SCHEDULER.address),)
    )


@pytest.mark.parametrize("missing", ["Type", "Scheduler", "Module"])
def test_what_is_not_a_process_is_named(missing: str) -> None:
    other = with_tags(PROCESS, signer=USER, **{missing: None})
    with pytest.raises(LogFault, match=f"^{other.id} is not a process") as caught:
        facts_of(other)
    assert caught.value.details == {"process_id": other.id, "nonce": None, "item": other.id}


# What a gateway lists


def test_a_page_says_where_the_next_one_begins() -> None:
    edges = [{"cursor": name, "node": {"id": name}} for name in "ab"]
    more, last = ({"hasNextPage": value} for value in (True, False))
    assert rules.page_of({"transactions": {"edges": edges, "pageInfo": more}}) == (
        [{"id": "a"}, {"id": "b"}],
        "b",
    )
    assert rules.page_of({"transactions": {"edges": edges, "pageInfo": last}})[1] is None
    assert rules.page_of({"transactions": {"edges": [], "pageInfo": more}}) == ([], None)


def node(of: DataItem = SLOT, **changed: Any) -> dict[str, Any]:
    """An item as GraphQL gives it."""
    tags = [{"name": name, "value": value} for name, value in of.tags]
    return {"id": of.id, "tags": tags, "owner": {"address": of.address}, "recipient": ""} | changed


def test_a_claim_is_what_the_one_who_signs_at_its_time_says() -> None:
    assert rules.claim_of(FACTS, node(bundledIn={"id": "b"})) == Claim(SLOT.id, 1, 0, "b")
    for nowhere in (None, {}, {"id": None}):
        assert rules.claim_of(FACTS, node(bundledIn=nowhere)) == Claim(SLOT.id, 1, 0, "")
    later = with_tags(SLOT, signer=NEW, Timestamp=str(T0 + 2), Nonce="2")
    assert rules.claim_of(HANDED, node()) == Claim(SLOT.id, 1, 0, "")
    assert rules.claim_of(HANDED, node(later)) == Claim(later.id, 2, 1, "")


NO_CLAIMS: dict[str, DataItem] = {
    "another signer": with_tags(SLOT, signer=STRANGER),
    "the new key before its time": with_tags(SLOT, signer=NEW),
    "the old key after its time": with_tags(SLOT, Timestamp=str(T0 + 2)),
    "no nonce": with_tags(SLOT, Nonce=None),
    "a nonce that is no number": with_tags(SLOT, Nonce="x"),
    "no time": with_tags(SLOT, Timestamp=None),
    "another process": with_tags(SLOT, Process=SOME_ID),
}


@pytest.mark.parametrize("what", NO_CLAIMS)
def test_what_is_not_the_schedulers_word_on_a_slot_is_passed_over(what: str) -> None:
    other = NO_CLAIMS[what]
    assert rules.claim_of(HANDED, node(other)) is None
    for nonce in (0, 1):
        assert not rules.is_claimed(HANDED, nonce, other)


def test_what_has_a_target_or_another_type_is_not_a_slot() -> None:
    assert rules.claim_of(FACTS, node(recipient=PROCESS.id)) is None
    assert rules.claim_of(FACTS, node(with_tags(SLOT, Type="Message"))) is None
    sent = build(SCHEDULER, target=PROCESS.id, tags=SLOT.tags)
    assert not rules.is_claimed(FACTS, 1, sent)
    assert rules.is_claimed(FACTS, 1, SLOT) and not rules.is_claimed(FACTS, 2, SLOT)


@pytest.mark.parametrize(
    "changed",
    [
        *({"tags": None}, {"tags": [{"name": "n"}]}, {"owner": None}, {"owner": {}}, {"owner": "x"}),
        *({"bundledIn": "x"}, {"bundledIn": [1]}),
    ],
)
def test_an_answer_of_another_shape_is_the_gateways_fault(changed: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput):
        rules.claim_of(FACTS, node(**changed))


@pytest.mark.parametrize("name", ["id", "tags", "owner"])
def test_an_answer_that_lacks_a_part_is_the_gateways_fault(name: str) -> None:
    answer = node()
    del answer[name]
    with pytest.raises(MalformedInput):
        rules.claim_of(FACTS, answer)


def test_a_compute_unit_is_named_by_a_location_of_the_scheduler() -> None:
    said = location(SCHEDULER, NEW)
    assert rules.compute_unit_of(node(said)) == rules.named_by(FACTS, said) == NEW.address
    assert rules.compute_unit_of(node(said, recipient=PROCESS.id)) is None
    assert rules.compute_unit_of(node(SLOT)) is None
    for broken in ({"tags": None}, {"tags": [{}]}, {"recipient": None, "tags": "x"}):
        assert rules.compute_unit_of(node(said) | broken) is None
    assert rules.compute_unit_of({"tags": node(said)["tags"]}) is None
    assert rules.named_by(FACTS, location(STRANGER, NEW)) is None
    assert rules.named_by(FACTS, location(SCHEDULER, NEW, target=PROCESS.id)) is None
    assert rules.named_by(HANDED, location(NEW, STRANGER)) == STRANGER.address


# What is wrong with a slot


@pytest.mark.parametrize(
    ("fault", "item_id", "words"),
    [
        (
            lambda: rules.fault_duplicate_nonce(FACTS, 3, "one", "other"),
            "other",
            "two messages for one nonce.* one and other",
        ),
        (
            lambda: rules.fault_duplicate_message(FACTS, 3, "m", 1),
            "m",
            "message m was scheduled twice: it has nonce 1",
        ),
        (
            lambda: rules.fault_gap(FACTS, 3, 4),
            "",
            "no assignment on Arweave, though there is one for nonce 4",
        ),
        (lambda: rules.fault_missing(FACTS, 3, "message", "m"), "m", "message m is not on Arweave"),
        (
            lambda: rules.not_signed(PROCESS.id, 3, "message", "m", BadSignature("no", id="m")),
            "m",
            "message m: its signature does not verify",
        ),
        (
            lambda: rules.not_signed(PROCESS.id, 3, "message", "m", BadSignature("no", form="strange")),
            "m",
            "message m: its signature is of a form that is not accepted: strange",
        ),
    ],
)
def test_a_fault_says_where_it_is(fault: Callable[[], LogFault], item_id: str, words: str) -> None:
    assert details(fault()) == (3, item_id)
    with pytest.raises(LogFault, match=f"^nonce 3: {words}"):
        raise fault()


def test_an_assignment_names_one_message_and_that_of_the_process_none() -> None:
    assert rules.message_named(FACTS, 0, FIRST) == PROCESS.id
    assert rules.message_named(FACTS, 1, SLOT) == rules.message_named(FACTS, 2, SLOT) == MESSAGE.id
    for nonce, wrong, count in (
        (0, SLOT, 1),
        (1, FIRST, 0),
        (2, FIRST, 0),
        (1, with_tags(SLOT, Tag("Message", SOME_ID)), 2),
    ):
        with pytest.raises(LogFault, match=f"^nonce {nonce}: .* names {count} messages") as caught:
            rules.message_named(FACTS, nonce, wrong)
        assert details(caught.value) == (nonce, wrong.id)


def test_a_slot_that_is_true_is_an_entry_of_the_log() -> None:
    def entry(nonce: int, message: DataItem, assignment: DataItem, timestamp: int) -> LogEntry:
        own = (message.id, assignment.id, timestamp, message.raw, assignment.raw)
        return LogEntry(PROCESS.id, nonce, *own)

    assert rules.check_slot(FACTS, None, FIRST, PROCESS) == (FIRST_HEAD, entry(0, PROCESS, FIRST, T0))
    assert rules.check_slot(FACTS, FIRST_HEAD, SLOT, MESSAGE) == (HEAD, entry(1, MESSAGE, SLOT, T0 + 1))
    assert rules.moment_of(SLOT) == Moment(T0 + 1, 8)


def second(changed: Callable[[], DataItem]) -> LogFault:
    """What is wrong with slot 1, if its assignment is another one."""
    with pytest.raises(LogFault) as caught:
        rules.check_slot(FACTS, FIRST_HEAD, changed(), MESSAGE)
    return caught.value


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda: with_tags(SLOT, Process=SOME_ID), "it is of another process"),
        (lambda: with_tags(SLOT, Nonce="2"), "it says another nonce"),
        (lambda: with_tags(SLOT, Hash_Chain=SOME_ID), "its hash chain does not continue the slot before"),
        (lambda: with_tags(SLOT, Message=SOME_ID), "it names another message"),
        (lambda: with_tags(SLOT, Timestamp=str(T0)), "it is not later than the slot before"),
        (lambda: with_tags(SLOT, signer=STRANGER), "is forged: STRANGER signed it"),
        (lambda: with_tags(SLOT, Type="Message"), "has the tag Type 'Message'"),
        *(
            (lambda name=name, text=text: with_tags(SLOT, **{name: text}), f"{name} is not a number")
            for name in ("Epoch", "Nonce", "Block-Height", "Timestamp")
            for text in ("", "x", "-1", "1.0", "٣", "1" * 19)
        ),
    ],
)
def test_what_is_wrong_with_an_assignment_is_said_of_it(changed: Callable[[], DataItem], words: str) -> None:
    made = changed()
    error = second(lambda: made)
    assert details(error) == (1, made.id)
    said = error.message.replace(STRANGER.address, "STRANGER")  # a test's name is the same in each run
    assert said.startswith(f"nonce 1: assignment {made.id}") and words in said


def test_what_was_changed_after_it_was_signed_is_named() -> None:
    """The signature is the item's id, so it keeps it."""
    changed = parse(SLOT.raw.replace(b"000000000008", b"000000000009"))
    error = second(lambda: changed)
    assert details(error) == (1, SLOT.id) and f"assignment {SLOT.id}: {rules.CHANGED}" in error.message
    with pytest.raises(LogFault, match=f"message {MESSAGE.id}: {rules.CHANGED}") as caught:
        rules.check_slot(FACTS, FIRST_HEAD, SLOT, parse(tampered(MESSAGE.raw)))
    assert details(caught.value) == (1, MESSAGE.id)


@pytest.mark.parametrize(
    "block", [None, {}, {"height": None}, {"height": "5"}, {"height": -1}, {"height": True}, "x"]
)
def test_what_is_in_no_block_is_in_the_last(block: object) -> None:
    assert rules.block_of({"block": block}) == rules.block_of({}) == NEVER
    assert [rules.block_of({"block": {"height": height}}) for height in (0, 7)] == [0, 7]


def test_an_item_of_exactly_the_bound_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(len(SLOT.raw), len(MESSAGE.raw))
    monkeypatch.setattr(rules, "ITEM_BYTES_MAX", largest)
    assert rules.check_slot(FACTS, FIRST_HEAD, SLOT, MESSAGE)[0] == HEAD
    monkeypatch.setattr(rules, "ITEM_BYTES_MAX", largest - 1)
    over = SLOT if len(SLOT.raw) == largest else MESSAGE
    with pytest.raises(LogFault, match=f"{over.id} has over {largest - 1} bytes") as caught:
        rules.check_slot(FACTS, FIRST_HEAD, SLOT, MESSAGE)
    assert details(caught.value) == (1, over.id)


# Engines


def spawned(asked: str | None, bound: list[str]) -> tuple[ProcessFacts, DataItem, DataItem]:
    """A process that asks for an engine, and its first assignment, which binds it to one."""
    process = with_tags(PROCESS, *([Tag("Engine", asked)] if asked else []), signer=USER)
    _, first = next_assignment(SCHEDULER, process.id, None, None, now_ms=T0, block_height=7)
    return facts_of(process), with_tags(first, *(Tag("Engine", each) for each in bound)), process


@pytest.mark.parametrize(
    ("asked", "bound"), [(None, ["2"]), ("2", ["2"]), ("2", []), (None, []), (None, ["9"])]
)
def test_a_process_is_bound_to_the_engine_that_it_asks_for(asked: str | None, bound: list[str]) -> None:
    facts, first, process = spawned(asked, bound)
    assert rules.check_slot(facts, None, first, process)[0].nonce == 0


@pytest.mark.parametrize(
    ("asked", "bound", "words"),
    [
        ("2", ["1"], "binds it to engine 1, and its spawn item asks for 2"),
        (None, ["x"], "is not the version of an engine"),
        ("2", ["2", "2"], "has more than one tag Engine"),
    ],
)
def test_a_process_that_is_bound_to_another_engine_is_found(
    asked: str | None, bound: list[str], words: str
) -> None:
    facts, first, process = spawned(asked, bound)
    with pytest.raises(LogFault, match=f"^nonce 0: assignment {first.id}.*{words}") as caught:
        rules.check_slot(facts, None, first, process)
    found = {"process_id": process.id, "nonce": 0, "item": first.id}
    assert caught.value.details == found


def test_an_attestation_names_the_processs_engine_or_none() -> None:
    for named in ([], ["2"]):
        attestation = build(NEW, tags=[Tag("Engine", each) for each in named])
        rules.check_attested_engine(FACTS, attestation, 3, 2)
    for named in (["1"], ["2", "2"], ["2", "1"]):
        attestation = build(NEW, tags=[Tag("Engine", each) for each in named])
        with pytest.raises(LogFault, match=f"names engine {', '.join(named)}, and") as caught:
            rules.check_attested_engine(FACTS, attestation, 3, 2)
        assert details(caught.value) == (3, attestation.id)


def test_a_number_in_a_tag_has_at_most_eighteen_digits() -> None:
    assert rules._number((Tag("N", "9" * 18),), "N") == int("9" * 18)
    assert rules._number((Tag("N", "007"), Tag("N", "8")), "N") == 7
    for text in ("9" * 19, "", " 1", "1 ", "+1", "²"):
        assert rules._number((Tag("N", text),), "N") is None
    assert rules._number((), "N") is None
