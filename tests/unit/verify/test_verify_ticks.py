"""`aoray verify` of a process with crons: its ticks are true, and one that nobody asked for is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from ordering import SCHEDULER, committer, spawn
from signed_assignments import next_assignment

from aoray.errors import LogFault
from aoray.protocol.ans104.items import DataItem, parse
from aoray.protocol.assignments import Head, LogEntry
from aoray.protocol.cron import Moment, crons_of, tick_item
from aoray.protocol.tags import Tag
from aoray.scheduler.cron import Ticker
from aoray.verify import workers
from aoray.verify.rules import facts_of
from aoray.verify.workers import SlotPage

T0 = 1_700_000_000_000
PROCESS = (("Data-Protocol", "ao"), ("Type", "Process"), ("Module", "m"), ("Scheduler", SCHEDULER.address))
CRON = (("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick"))


@pytest.fixture
def log(tmp_path: Path) -> list[LogEntry]:
    """A process and three ticks, as the scheduler makes them."""
    writer, process = committer(tmp_path / "log"), spawn(*CRON, tags=PROCESS)
    work = [writer.commit([process], now_ms=T0, block_height=7).work]
    ticker = Ticker(writer, SCHEDULER, T0)
    ticker.monitor(process.process_id, Moment(T0, 7), "order")
    writer._last_nonces = lambda process_ids: dict.fromkeys(process_ids, 2**62)  # all is evaluated at once
    work += [ticker.run_due(Moment(T0 + 1000 * n, 7)).committed.work for n in (1, 2, 3)]
    writer.close()
    return [each.entry for part in work for works in part.values() for each in works]


def judge(log: list[LogEntry]) -> Head:
    """The head of the log, if all of it is true."""
    pairs = [(entry.assignment, entry.item) for entry in log]
    return workers.check_page(facts_of(parse(log[0].item)), SlotPage(0, log[0].assignment, b"", pairs))[
        -1
    ].head


def with_last(log: list[LogEntry], item: DataItem, now_ms: int = T0 + 3000) -> list[LogEntry]:
    """The log, with another message in its last slot, rightly assigned."""
    head = judge(log[:-1])
    after, slot = next_assignment(SCHEDULER, item.target_id, head, item.id, now_ms=now_ms, block_height=7)
    entry = LogEntry(item.target_id, 3, item.id, slot.id, after.timestamp, item.raw, slot.raw)
    return [*log[:-1], entry]


def test_ticks_that_the_spawn_asks_for_are_true(log: list[LogEntry]) -> None:
    assert judge(log).nonce == 3


def test_a_tick_that_says_what_nobody_asked_for_is_found(log: list[LogEntry]) -> None:
    process = parse(log[0].item)
    cron = crons_of(process.tags).crons[0]
    lies = [
        (
            tick_item(SCHEDULER, process, cron._replace(tags=(Tag("Action", "Pay"),)), T0 + 3000),
            "never asked",
        ),
        (tick_item(SCHEDULER, process, cron, T0 + 2500), "whole number"),
        (tick_item(SCHEDULER, process, cron, T0 + 9000), "before its time"),
    ]
    for item, why in lies:
        with pytest.raises(LogFault, match=why) as caught:
            judge(with_last(log, item))
        assert (caught.value.details["nonce"], caught.value.details["item"]) == (3, item.id)
    judge(with_last(log, tick_item(SCHEDULER, process, cron, T0 + 3000)))
