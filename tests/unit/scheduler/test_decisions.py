"""A process that the operator stopped gets no slot, no tick and no actor until it is resumed; what was
ordered keeps its order, and nobody but the operator decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from ordering import (
    MESSAGE_TAGS,
    SCHEDULER,
    SOME_ID,
    USER,
    check_process,
    committer,
    message,
    reader_of,
    spawn,
)

from aoray.contracts.shard import Receipt, Submission
from aoray.errors import BadSignature, ClientError, MalformedInput, ProcessStopped, UnknownProcess
from aoray.protocol.ans104.items import build, parse
from aoray.protocol.cron import Moment
from aoray.protocol.decisions import WORD, Decided, decision_item, decision_of
from aoray.protocol.tags import Tag
from aoray.scheduler.committer import Committer
from aoray.scheduler.cron import Ticker
from aoray.settings import Settings
from aoray.storage.decisions import Decision, describe


def decision(process_id: str, *, stopped: bool, at: int) -> Decision:
    decided = Decided(process_id, stopped, at)
    return Decision(*decided, decision_item(SCHEDULER, decided).raw)


def outcome(writer: Committer, submission: Submission) -> object:
    return writer.commit([submission], now_ms=1, block_height=0).outcomes[0]


def test_a_stopped_process_has_no_actor_and_gets_no_slot_over_a_restart_too(stored: Settings) -> None:
    writer = committer(stored)
    process, other = spawn(), spawn()
    first = message(process.process_id)
    for submission in (process, other, first):
        assert isinstance(outcome(writer, submission), Receipt)
    before = writer.log.processes([process.process_id])[process.process_id]
    term = writer.decide(decision(process.process_id, stopped=True, at=5))
    assert term == before.term + 1
    for _ in range(2):
        assert isinstance(outcome(writer, message(process.process_id)), ProcessStopped)
        assert isinstance(outcome(writer, message(other.process_id)), Receipt)
        again = outcome(writer, first)
        assert isinstance(again, Receipt) and (again.nonce, again.actor) == (1, "")
        names, _ = writer.locate([process.process_id, other.process_id])
        assert isinstance(names[0], ProcessStopped) and isinstance(names[1], str)
        refused = outcome(writer, message(process.process_id))
        assert isinstance(refused, ProcessStopped)
        assert {each.details["process_id"] for each in (names[0], refused)} == {process.process_id}
        assert process.process_id not in {
            pid for by in writer.processes_behind("", 100)[0].values() for pid in by
        }
        writer.close()
        writer = committer(stored)
    assert writer.decide(decision(process.process_id, stopped=False, at=6)) == term
    resumed = outcome(writer, message(process.process_id))
    assert isinstance(resumed, Receipt) and resumed.nonce == 2 and resumed.actor
    assert writer.log.processes([process.process_id])[process.process_id].term == term + 1
    check_process(reader_of(stored).entries(process.process_id))
    writer.close()


def test_a_resumed_process_that_is_located_is_placed_in_the_log_too(tmp_path: Path) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    outcome(writer, process)
    writer.decide(decision(process.process_id, stopped=True, at=5))
    writer.decide(decision(process.process_id, stopped=False, at=6))
    (actor,), by_actor = writer.locate([process.process_id])
    kept = writer.log.processes([process.process_id])[process.process_id]
    assert isinstance(actor, str) and (kept.actor, by_actor[actor]) == (
        actor,
        {process.process_id: kept.term},
    )


@pytest.mark.parametrize("stopped", [True, False])
def test_the_last_decision_is_read_as_it_was_made_and_described(tmp_path: Path, stopped: bool) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    outcome(writer, process)
    made = decision(process.process_id, stopped=stopped, at=5)
    writer.decide(made)
    assert writer.log.decisions.last(process.process_id) == made
    assert describe(made) == {
        "process": process.process_id,
        "stopped": stopped,
        "since": 5,
        "decision": parse(made.item).id,
    }


def test_a_later_decision_holds_and_one_that_is_sent_again_changes_nothing(tmp_path: Path) -> None:
    writer, process = committer(tmp_path / "log"), spawn()
    outcome(writer, process)
    stop = decision(process.process_id, stopped=True, at=5)
    writer.decide(stop)
    writer.decide(stop)
    writer.decide(decision(process.process_id, stopped=False, at=6))
    with pytest.raises(ClientError, match="later decision"):
        writer.decide(stop)
    assert isinstance(outcome(writer, message(process.process_id)), Receipt)
    with pytest.raises(UnknownProcess):
        writer.decide(decision(SOME_ID, stopped=True, at=7))


def test_a_stopped_process_gets_no_ticks_and_begins_with_the_next_when_it_is_resumed(tmp_path: Path) -> None:
    done: dict[str, int] = {}  # all is evaluated
    writer, process = committer(tmp_path / "log", last_nonces=done), spawn(("Cron-Interval", "1-second"))
    done[process.process_id] = 100
    outcome(writer, process)
    ticker = Ticker(writer, SCHEDULER, 1)
    ticker.monitor(process.process_id, Moment(1, 0), "order")
    assert len(ticker.run_due(Moment(1_001, 0)).committed.outcomes) == 1
    writer.decide(decision(process.process_id, stopped=True, at=5))
    assert not ticker.run_due(Moment(60_001, 0)).committed.outcomes
    writer.decide(decision(process.process_id, stopped=False, at=6))
    assert not ticker.run_due(Moment(60_500, 0)).committed.outcomes
    assert len(ticker.run_due(Moment(61_001, 0)).committed.outcomes) == 1


def test_only_a_statement_of_the_operator_is_a_decision() -> None:
    decided = Decided(SOME_ID, True, 5)
    operator = SCHEDULER.address
    assert decision_of(decision_item(SCHEDULER, decided).raw, operator) == decided
    with pytest.raises(ClientError, match="only the operator"):
        decision_of(decision_item(USER, decided).raw, operator)
    good = parse(decision_item(SCHEDULER, decided).raw)
    wrong = {
        "target": build(SCHEDULER, target=SOME_ID, tags=good.tags, data=b""),
        "data": build(SCHEDULER, tags=good.tags, data=b"x"),
        "twice": build(SCHEDULER, tags=[*good.tags, Tag("Process", SOME_ID)], data=b""),
        "more": build(SCHEDULER, tags=[*good.tags, Tag("Cron", "0-1-second")], data=b""),
        "kind": build(SCHEDULER, tags=[Tag(*tag) for tag in MESSAGE_TAGS], data=b""),
        "word": build(
            SCHEDULER,
            tags=[tag if tag.name != WORD else Tag(WORD, "pause") for tag in good.tags],
            data=b"",
        ),
    }
    for item in wrong.values():
        with pytest.raises(MalformedInput):
            decision_of(item.raw, operator)
    forged = bytearray(good.raw)
    forged[10] ^= 1
    with pytest.raises(BadSignature):
        decision_of(bytes(forged), operator)
