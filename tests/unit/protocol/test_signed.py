"""A message may be signed in any envelope that is registered: here a toy, beside that of ANS-104, is ordered,
kept, read back, verified and evaluated, in each of the stores."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import toy_envelope
from ordering import MESSAGE_TAGS, PROCESS_TAGS, SCHEDULER, USER, assign, committer, message, reader_of, spawn

from aoray.contracts.shard import Receipt, Submission
from aoray.errors import BadSignature, MalformedInput
from aoray.execution.guest_input import to_guest_message
from aoray.execution.loader import spawned_process
from aoray.gateway.legacy import schedule_json
from aoray.protocol.ans104.items import build
from aoray.protocol.assignments import LogEntry, check_chain
from aoray.protocol.signed import ANS104, ENVELOPES, SignedBytes, parse, verify
from aoray.protocol.tags import Tag
from aoray.settings import Settings

Ordered = dict[str, list[LogEntry]]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVELOPES, "toy", toy_envelope.TOY)


def toy(kind: str, target: str, tags: tuple[tuple[str, str], ...], data: bytes) -> Submission:
    made = toy_envelope.build(USER, target, tuple(Tag(*tag) for tag in tags), data)
    return Submission(
        "process" if kind == "process" else "message",
        target or made.id,
        made.id,
        made.raw,
        envelope=made.envelope,
    )


@pytest.fixture
def ordered(toys: None, stored: Settings) -> Iterator[Ordered]:
    """Two processes, one of each envelope, with a message in each envelope; the toy is assigned, too."""
    plain, strange = spawn(), toy("process", "", PROCESS_TAGS, b"")
    processes = plain.process_id, strange.process_id
    sent = [toy("message", each, MESSAGE_TAGS, b"toy to " + each.encode()) for each in processes]
    batch = [plain, strange, *sent, *map(message, processes), assign(plain.process_id, sent[1])]
    writer = committer(stored)
    outcomes = writer.commit(batch, now_ms=1, block_height=2).outcomes
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
    reader = reader_of(stored)
    yield {each: reader.entries(each) for each in processes}
    assert reader.find_message(sent[0].message_id) == SignedBytes(sent[0].item, "toy")
    rows = writer.log.uploads.items(writer.log.uploads.next())  # type: ignore[arg-type]
    assert sum(len(row) for row in rows) == 7 + 3, "a bundle has data items alone"
    writer.close()


def test_a_message_in_another_envelope_is_ordered_kept_and_verified(ordered: Ordered) -> None:
    plain, strange = ordered
    assert [entry.envelope for entry in ordered[plain]] == [ANS104, "toy", ANS104, "toy"]
    assert [entry.envelope for entry in ordered[strange]] == ["toy", "toy", ANS104]
    for process_id, entries in ordered.items():
        head = check_chain(process_id, entries, scheduler=SCHEDULER.address)
        assert head is not None and head.nonce == entries[-1].nonce
    first, second, *_ = ordered[strange]
    changed = second._replace(item=second.item.replace(b'\\", ', b'\\",  ', 1))
    assert changed.item != second.item and changed.message.id == second.message_id
    with pytest.raises(BadSignature):
        check_chain(strange, [first, changed], scheduler=SCHEDULER.address)


def test_a_message_in_another_envelope_is_shown_and_evaluated_as_any_other(ordered: Ordered) -> None:
    plain, strange = ordered
    _, entry, *_ = ordered[plain]
    guest = json.loads(to_guest_message(entry).message)
    said = {name: guest[name] for name in ("Id", "Owner", "Target", "Data")}
    text = f"toy to {plain}"
    assert said == {"Id": entry.message_id, "Owner": USER.address, "Target": plain, "Data": text}
    shown = schedule_json.node(entry)["message"]
    assert (shown["id"], shown["data"], shown["target"]) == (entry.message_id, text, plain)
    spawned = spawned_process(ordered[strange][0])
    assert spawned is not None and spawned.message.id == strange


def test_an_envelope_that_there_is_not_is_named_and_nothing_is_ordered(stored: Settings) -> None:
    process = spawn()
    odd = message(process.process_id)._replace(envelope="odd")
    _, refused = committer(stored).commit([process, odd], now_ms=1, block_height=2).outcomes
    assert isinstance(refused, MalformedInput) and refused.field == "envelope"
    assert "no envelope 'odd'" in refused.message and ANS104 in refused.hint


def test_the_envelope_decides_how_bytes_are_read(toys: None) -> None:
    item, made = build(USER, data=b"x"), toy_envelope.build(USER, "", (), b"x")
    for each in (item, made):
        again = parse(each.raw, each.envelope)
        verify(again)
        assert (again.id, again.address, again.data) == (each.id, USER.address, b"x")
    for raw, envelope in ((item.raw, "toy"), (made.raw, ANS104)):
        with pytest.raises(MalformedInput):
            parse(raw, envelope)
