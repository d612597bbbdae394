"""The log of a process: no gap, one chain, time that moves, each slot signed."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_assignments import next_assignment

from aoray.errors import BadSignature, MalformedInput
from aoray.protocol.ans104.items import DataItem, build, parse, verify
from aoray.protocol.assignments import Head, LogEntry, check_chain, plain
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag, all_of, as_json, first

SCHEDULER, USER = Ed25519Signer(b"\1" * 32), Ed25519Signer(b"\2" * 32)
PROCESS = build(USER, tags=[Tag("Type", "Process")])
MESSAGES = [build(USER, target=PROCESS.id, data=b"%d" % n) for n in range(4)]


def log_of(
    messages: list[DataItem], times: list[int], scheduler: Ed25519Signer = SCHEDULER
) -> list[LogEntry]:
    """The log of a process with these messages, the clock showing these times."""
    head: Head | None = None
    entries = []
    for item, now in zip([PROCESS, *messages], times, strict=True):
        named = None if head is None else item.id
        head, slot = next_assignment(scheduler, PROCESS.id, head, named, now_ms=now, block_height=7)
        entry = LogEntry(PROCESS.id, head.nonce, item.id, slot.id, head.timestamp, item.raw, slot.raw)
        entries.append(entry)
    return entries


LOG = log_of(MESSAGES, [1000, 1000, 900, 2000, 2000])


def test_what_the_fast_check_reads_is_what_parsing_gives() -> None:
    """Of every assignment of a message; and after any change of a byte, or it is not read so."""
    assert plain(LOG[0].assignment) is None  # of the process itself: it names no message
    for entry in LOG[1:]:
        assert reads_alike(entry.assignment)
    raw = LOG[1].assignment
    changes = [raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :] for at in range(len(raw)) for bit in (1, 16)]
    assert sum(map(reads_alike, changes)) > 300  # signature, owner, ids, most digits
    assert not any(map(reads_alike, (b"", raw[:-1], raw + b"\0", raw + raw)))


def test_what_is_not_written_as_the_scheduler_writes_it_is_not_read_by_the_fast_check() -> None:
    tags = parse(LOG[1].assignment).tags
    named = Tag("Message", MESSAGES[1].id)
    for other in (
        (*tags, named),
        (named, *tags),
        (*tags[1:], tags[0]),
        tuple(tag._replace(value="01") if tag.name == "Timestamp" else tag for tag in tags),
        tuple(tag._replace(value="1" * 19) if tag.name == "Nonce" else tag for tag in tags),
    ):
        assert plain(build(SCHEDULER, tags=other).raw) is None
    for parts in ({"data": b"\0"}, {"target": PROCESS.id}, {"anchor": b"a" * 32}):
        assert plain(build(SCHEDULER, tags=tags, **parts).raw) is None  # type: ignore[arg-type]
    assert plain(build(SCHEDULER, tags=tags).raw)


def reads_alike(raw: bytes) -> bool:
    """Whether `plain` reads it; then it must be what `parse` finds."""
    if (said := plain(raw)) is None:
        return False
    item = parse(raw)
    parts = (item.signature_type, item.signature, item.owner, item.target, item.anchor, item.data)
    assert parts == (2, said.signature, said.owner, b"", b"", b"") and item.tag_bytes == said.tag_bytes
    named = dict(item.tags)
    assert len(named) == len(item.tags) == 10 and int(named["Block-Height"]) == said.block_height
    texts = tuple(named[name] for name in ("Process", "Nonce", "Hash-Chain", "Timestamp", "Message"))
    assert texts == (said.process_id, said.nonce, said.hash_chain, str(said.timestamp), said.message_id)
    return True


def test_an_assignment_has_the_tags_of_the_legacy_network_in_their_order() -> None:
    head = Head(4, b64url_encode(b"a" * 32), b64url_encode(b"c" * 32), 99)
    new, item = next_assignment(
        SCHEDULER, PROCESS.id, head, MESSAGES[0].id, now_ms=1234, block_height=1500000, exclude=["A", "B"]
    )
    verify(item)
    assert as_json(item.tags) == [
        {"name": "Process", "value": PROCESS.id},
        {"name": "Epoch", "value": "0"},
        {"name": "Nonce", "value": "5"},
        {"name": "Hash-Chain", "value": b64url_encode(sha256(b"a" * 32 + b"c" * 32).digest())},
        {"name": "Block-Height", "value": "000001500000"},
        {"name": "Timestamp", "value": "1234"},
        {"name": "Data-Protocol", "value": "ao"},
        {"name": "Type", "value": "Assignment"},
        {"name": "Variant", "value": "ao.TN.1"},
        {"name": "Message", "value": MESSAGES[0].id},
        {"name": "Exclude", "value": "A"},
        {"name": "Exclude", "value": "B"},
    ]
    assert (item.target, item.anchor, item.data) == (b"", b"", b"")
    assert new == Head(5, item.id, first(item.tags, "Hash-Chain", ""), 1234)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2**45), st.integers(0, 10**12 - 1))
def test_an_assignment_is_the_item_that_its_tags_make(nonce: int, now: int, height: int) -> None:
    head = Head(nonce, MESSAGES[0].id, MESSAGES[1].id, 0)
    _, item = next_assignment(SCHEDULER, PROCESS.id, head, MESSAGES[2].id, now_ms=now, block_height=height)
    assert item == build(SCHEDULER, tags=item.tags)


def test_the_process_is_nonce_0_without_message() -> None:
    head, item = next_assignment(SCHEDULER, PROCESS.id, None, None, now_ms=5, block_height=0)
    assert head.nonce == 0 and head.timestamp == 5 and not all_of(item.tags, "Message")
    assert head.hash_chain == b64url_encode(sha256(b64url_decode(PROCESS.id)).digest())


def test_the_first_slot_is_the_processes_own_and_no_other() -> None:
    with pytest.raises(ValueError, match="first"):
        next_assignment(SCHEDULER, PROCESS.id, None, MESSAGES[0].id, now_ms=5, block_height=0)
    head, _ = next_assignment(SCHEDULER, PROCESS.id, None, None, now_ms=5, block_height=0)
    with pytest.raises(ValueError, match="first"):
        next_assignment(SCHEDULER, PROCESS.id, head, None, now_ms=5, block_height=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**45), min_size=5, max_size=5))
def test_whatever_the_clock_does_the_log_checks(times: list[int]) -> None:
    log = log_of(MESSAGES, times)
    head = check_chain(PROCESS.id, log, scheduler=SCHEDULER.address)
    assert head is not None and (head.nonce, head.assignment_id) == (4, log[-1].assignment_id)
    stamps = [entry.timestamp for entry in log]
    assert stamps == sorted(set(stamps)) and all(
        entry.timestamp >= now for entry, now in zip(log, times, strict=True)
    )


def test_the_same_slot_signed_twice_is_the_same_item() -> None:
    assert log_of(MESSAGES, [1, 2, 3, 4, 5]) == log_of(MESSAGES, [1, 2, 3, 4, 5])


def test_a_check_goes_on_where_another_ended() -> None:
    head = check_chain(PROCESS.id, LOG[:2], scheduler=SCHEDULER.address)
    whole = check_chain(PROCESS.id, LOG, scheduler=SCHEDULER.address)
    assert check_chain(PROCESS.id, LOG[2:], scheduler=SCHEDULER.address, head=head) == whole
    assert check_chain(PROCESS.id, [], scheduler=SCHEDULER.address, head=whole) == whole


def swapped(at: int, **columns: object) -> list[LogEntry]:
    return [*LOG[:at], LOG[at]._replace(**columns), *LOG[at + 1 :]]  # type: ignore[arg-type]


OTHER = build(USER, target=PROCESS.id, data=b"other")


@pytest.mark.parametrize(
    ("log", "field"),
    [
        (LOG[1:], "Nonce"),
        ([*LOG[:2], *LOG[3:]], "Nonce"),
        ([*LOG[:2], LOG[1]], "Nonce"),
        (swapped(2, item=OTHER.raw, message_id=OTHER.id), "Message"),
        (swapped(2, message_id=OTHER.id), "message_id"),
        (swapped(2, assignment_id=OTHER.id), "assignment_id"),
        (swapped(2, nonce=3), "nonce"),
        (swapped(2, process_id=OTHER.id), "process_id"),
        (swapped(2, timestamp=5), "Timestamp"),
        (swapped(0, item=OTHER.raw, message_id=OTHER.id), "message_id of the process"),
        ([*LOG[:1], *log_of(MESSAGES, [7, 8, 9, 10, 11])[1:]], "Hash-Chain"),
        (log_of(MESSAGES, [1, 2, 3, 4, 5], USER), "owner"),
    ],
)
def test_a_log_that_was_changed_is_refused(log: list[LogEntry], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        check_chain(PROCESS.id, log, scheduler=SCHEDULER.address)
    assert caught.value.field == field


def test_a_slot_that_was_not_signed_is_refused() -> None:
    for column in ("item", "assignment"):
        raw = bytearray(getattr(LOG[1], column))
        raw[10] ^= 1
        with pytest.raises(BadSignature):
            check_chain(PROCESS.id, swapped(1, **{column: bytes(raw)}), scheduler=SCHEDULER.address)


def test_time_that_stands_still_is_refused() -> None:
    head = check_chain(PROCESS.id, LOG[:2], scheduler=SCHEDULER.address)
    assert head is not None
    with pytest.raises(MalformedInput, match="time"):
        check_chain(
            PROCESS.id, LOG[2:], scheduler=SCHEDULER.address, head=head._replace(timestamp=LOG[2].timestamp)
        )


def test_entries_are_what_they_say() -> None:
    assert parse(LOG[0].item) == PROCESS and LOG[0].message_id == PROCESS.id
