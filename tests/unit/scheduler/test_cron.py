"""Ticks: due once each, never piled up, made up for as the policy says, one slot each whatever crashes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clocked_ticker import POLICIES, SECOND, T0, Clocked, order
from ordering import SOME_ID, message, spawn

from aoray import limits
from aoray.errors import ClientError, MalformedInput, NotFound, TooLarge, UnknownProcess
from aoray.protocol.ans104.items import parse
from aoray.protocol.cron import HEAD, KIND, Missed, Moment, crons_of
from aoray.scheduler import ordering
from aoray.scheduler.cron import NEVER
from aoray.settings import Settings


@pytest.fixture
def clocked(stored: Settings) -> Iterator[Clocked]:
    made = Clocked(stored)
    yield made
    made.committer.close()


def test_monitor_starts_and_unmonitor_stops(clocked: Clocked) -> None:
    process = clocked.spawn(*SECOND)
    assert not clocked.look(later_ms=5000) and clocked.last.next_ms == NEVER
    clocked.ticker.monitor(process, clocked.now, order())
    assert clocked.ticker.describe(process)["crons"] == [
        {"cron": "0-1-second", "unit": "ms", "step": 1000, "next": T0 + 6000, "last": None}
    ]
    assert not clocked.look() and clocked.last.next_ms == T0 + 6000
    (entry,) = clocked.look(later_ms=750)
    assert [tick.due for tick in clocked.ticks(process)] == [T0 + 6000]
    assert clocked.ticker.describe(process)["crons"][0]["last"] == entry.message_id
    with pytest.raises(ClientError, match="already being monitored"):
        clocked.ticker.monitor(process, clocked.now, order())
    assert len(clocked.look(later_ms=1000)) == 1
    clocked.ticker.unmonitor(process, order())
    assert not clocked.look(later_ms=5000) and clocked.last.next_ms == NEVER
    with pytest.raises(NotFound):
        clocked.ticker.unmonitor(process, order())
    clocked.ticker.monitor(process, clocked.now, order())
    assert not clocked.look(), "what fell due while it was not monitored is nobody's"
    assert clocked.look(later_ms=1000)


def test_an_order_is_good_once_whichever_it_was_used_for(clocked: Clocked) -> None:
    """Whoever saw it has it; also after a restart."""
    process, other = clocked.spawn(*SECOND), clocked.spawn(*SECOND)
    start, stop, late = order(), order(), order()

    def refused(method: str, *arguments: Any) -> None:
        before = clocked.ticker.describe(process)["monitored"]
        with pytest.raises(ClientError, match="was used before"):
            getattr(clocked.ticker, method)(process, *arguments)
        assert clocked.ticker.describe(process)["monitored"] == before

    clocked.ticker.monitor(process, clocked.now, start)
    refused("unmonitor", start)
    with pytest.raises(ClientError, match="already being monitored"):
        clocked.ticker.monitor(process, clocked.now, late)
    refused("unmonitor", late)
    clocked.restart()
    clocked.ticker.unmonitor(process, stop)
    for used in (start, stop, late):
        refused("monitor", clocked.now, used)
    clocked.ticker.monitor(other, clocked.now, start)  # its item has another target, and so another id
    clocked.ticker.monitor(process, clocked.now, order())


def test_orders_are_bounded_and_a_stop_is_still_taken(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CRON_ORDERS_MAX", 3)
    process = clocked.monitored(*SECOND)
    clocked.ticker.unmonitor(process, order())
    clocked.ticker.monitor(process, clocked.now, order())
    clocked.ticker.unmonitor(process, order())
    with pytest.raises(TooLarge, match="too often"):
        clocked.ticker.monitor(process, clocked.now, order())
    assert not clocked.ticker.describe(process)["monitored"]


def test_monitors_and_next_ticks_survive_a_restart(clocked: Clocked) -> None:
    process = clocked.monitored(*SECOND)
    clocked.look(later_ms=1000)
    clocked.restart(later_ms=5000)
    clocked.look()
    clocked.look(later_ms=1000)
    assert [tick.due - T0 for tick in clocked.ticks(process)] == [1000, 6000, 7000]


def test_missed_ticks_are_made_up_for_as_the_process_says(clocked: Clocked) -> None:
    said = {missed: clocked.monitored(*SECOND, ("Cron-Missed", missed)) for missed in POLICIES}
    clocked.look(later_ms=1000)
    clocked.restart(later_ms=5000)
    clocked.look()
    clocked.look(later_ms=1000)
    found = {missed: [tick.due - T0 for tick in clocked.ticks(pid)] for missed, pid in said.items()}
    assert found == {
        "one": [1000, 6000, 7000],
        "none": [1000, 7000],
        "all": [1000, 2000, 3000, 4000, 5000, 6000, 7000],
    }


def test_a_slow_process_has_one_tick_waiting_and_gets_the_next_when_it_is_done(clocked: Clocked) -> None:
    process = clocked.monitored(*SECOND)
    clocked.look(later_ms=1000, evaluate=False)
    for _ in range(5):
        assert not clocked.look(later_ms=1000)
    clocked.restart()
    assert not clocked.look(later_ms=1000), "nor after a restart"
    clocked.done[process] = 1
    assert len(clocked.look(later_ms=1000)) == 1
    assert [tick.due - T0 for tick in clocked.ticks(process)] == [1000, 8000]
    assert clocked.ticker.stats()["skipped"] == 1, "since the restart"


def test_other_messages_that_wait_do_not_hold_up_ticks(clocked: Clocked) -> None:
    process = clocked.monitored(*SECOND)
    clocked.look(later_ms=1000)
    clocked.committer.commit([message(process)], now_ms=clocked.now.ms, block_height=100)
    assert len(clocked.look(later_ms=1000)) == 1


def test_crons_of_a_process_tick_in_the_contracts_order(clocked: Clocked) -> None:
    process = clocked.monitored(
        ("Cron-Interval", "4-seconds"), ("Cron-Interval", "2-seconds"), ("Cron-Interval", "2-blocks")
    )
    clocked.look()
    clocked.look(later_ms=1000, blocks=1)
    clocked.look(later_ms=1000)
    clocked.look(later_ms=2000, blocks=1)
    assert [tick.cron for tick in clocked.ticks(process)] == [
        "1-2-seconds",
        "2-2-blocks",
        "1-2-seconds",
        "0-4-seconds",
    ]


def test_more_block_crons_than_one_look_serves_are_served_at_once(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CRON_BATCH", 2)
    for _ in range(5):
        clocked.monitored(("Cron-Interval", "1-block"))
    made = [len(clocked.look(blocks=1))]
    while clocked.last.next_ms <= clocked.now.ms:
        made.append(len(clocked.look()))
    assert made == [2, 2, 1]


def test_what_is_remembered_of_processes_with_crons_is_bounded_in_bytes(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROCESSES_KNOWN_BYTES_MAX", 2_000)
    clocked.restart()
    processes = [clocked.monitored(("Cron-Interval", "1-second")) for _ in range(9)]
    assert len(clocked.look(later_ms=1000)) == len(processes)
    assert 0 < len(clocked.ticker._known) < len(processes)


def test_a_look_makes_a_batch_of_ticks_and_the_next_one_goes_on(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long night the log's thread would be away from messages for seconds."""
    monkeypatch.setattr(limits, "BATCH_MESSAGES_MAX", 10)
    interval = ("Cron-Interval", "1-second")
    processes = [clocked.monitored(interval, ("Cron-Missed", "all")) for _ in range(3)]
    clocked.restart(later_ms=8_000)
    made = [len(clocked.look())]
    while clocked.last.next_ms <= clocked.now.ms:
        made.append(len(clocked.look()))
    assert made == [16, 8]
    assert [len(clocked.ticks(process)) for process in processes] == [8, 8, 8]


def test_block_crons_wait_until_arweave_has_said_its_height(clocked: Clocked) -> None:
    process = clocked.monitored(("Cron-Interval", "2-blocks"))
    strict = clocked.monitored(("Cron-Interval", "2-blocks"), ("Cron-Missed", "none"))
    clocked.look()
    clocked.look(blocks=2)
    height = clocked.now.height
    clocked.restart(blocks=7)
    clocked.now = Moment(clocked.now.ms, -1)
    assert not clocked.look(later_ms=1000)
    clocked.now = Moment(clocked.now.ms, height + 7)
    clocked.look()
    assert [tick.due for tick in clocked.ticks(process)] == [102, 108]
    assert [tick.due for tick in clocked.ticks(strict)] == [102], "108 was before it was known to be up"


def test_ticks_that_fall_due_together_are_one_commit_and_each_has_its_slot(clocked: Clocked) -> None:
    processes = [clocked.monitored(*SECOND) for _ in range(5)]
    entries = clocked.look(later_ms=1000)
    assert sorted(entry.process_id for entry in entries) == sorted(processes)
    assert clocked.ticker.stats()["lag_ms"] == {"count": 5, "p50": 250, "p99": 250, "max": 250}
    assert clocked.ticker.stats()["monitored"] == 5


@pytest.mark.parametrize("back_ms", [400, 1700, 3_600_000, 10**12])
def test_a_clock_that_goes_back_neither_stops_ticks_nor_doubles_one(clocked: Clocked, back_ms: int) -> None:
    process = clocked.monitored(*SECOND)
    for _ in range(3):
        clocked.look(later_ms=1000)
    clocked.look(later_ms=-back_ms)
    for _ in range(4):
        clocked.look(later_ms=1000)
    dues = [tick.due for tick in clocked.ticks(process)]
    assert len(dues) == len(set(dues))
    assert {(clocked.now.ms - step) // 1000 * 1000 for step in (0, 1000, 2000, 3000)} <= set(dues)


def test_a_clock_that_was_ahead_before_a_restart_holds_nothing_up(clocked: Clocked) -> None:
    process = clocked.monitored(*SECOND)
    clocked.look(later_ms=1000)
    clocked.look(later_ms=10**9)
    clocked.restart(later_ms=1000 - 10**9)
    assert not clocked.look()
    clocked.look(later_ms=1000)
    clocked.look(later_ms=1000)
    assert [tick.due - T0 for tick in clocked.ticks(process)] == [1000, 10**9 + 1000, 3000, 4000]


@pytest.mark.parametrize("missed", POLICIES)
def test_a_clock_that_was_ahead_at_the_start_holds_nothing_up(clocked: Clocked, missed: Missed) -> None:
    process = clocked.monitored(*SECOND, ("Cron-Missed", missed))
    clocked.restart(later_ms=10**9)
    clocked.look()
    clocked.look(later_ms=-(10**9))
    assert len(clocked.look(later_ms=1000)) == 1
    assert clocked.ticks(process)[-1].due == T0 + 1000


def test_what_can_never_tick_is_refused(clocked: Clocked) -> None:
    refused = spawn(("Cron-Interval", "soon"))
    (outcome,) = clocked.committer.commit([refused], now_ms=T0, block_height=0).outcomes
    assert isinstance(outcome, MalformedInput) and outcome.field == "tags.Cron-Interval"
    with pytest.raises(UnknownProcess):
        clocked.ticker.monitor(SOME_ID, clocked.now, order())


def test_a_cron_from_before_whose_tags_look_like_the_protocols_ticks_and_does_no_harm(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a spawn is refused now; logs have them."""
    monkeypatch.setattr(ordering, "check_asked", crons_of)
    strange = [("Type", "Process"), ("Data-Protocol", "other"), ("From-Process", SOME_ID), ("Cron", "x")]
    process = clocked.monitored(SECOND[0], *((f"Cron-Tag-{name}", value) for name, value in strange))
    (entry,) = clocked.look(later_ms=1000)
    assert [tuple(tag) for tag in clocked.ticks(process)[0].tags] == strange
    signed = [tag for tag in parse(entry.item).tags if not tag.name.startswith("Cron-Tag-")]
    assert signed[:3] == list(KIND) and len(signed) == HEAD


@pytest.mark.parametrize(
    "name", ["Type", "type", "SCHEDULER-LOCATION", "From_Process", "Nonce", "data-protocol"]
)
def test_a_cron_whose_tags_are_the_protocols_is_refused_at_the_spawn(clocked: Clocked, name: str) -> None:
    refused = spawn(SECOND[0], (f"Cron-Tag-{name}", "x"))
    (outcome,) = clocked.committer.commit([refused], now_ms=T0, block_height=0).outcomes
    assert isinstance(outcome, MalformedInput) and outcome.field == f"tags.Cron-Tag-{name}"


def test_all_crons_of_a_wallet_share_a_rate_of_ticks_and_a_clock_that_jumps_gives_no_more(
    tmp_path: Path,
) -> None:
    clocked = Clocked(tmp_path / "log.sqlite", rate=2.0, burst=4.0)
    for n in range(8):
        clocked.monitored(("Cron-Interval", "1-second"), ("N", str(n)))
    assert [len(clocked.look(later_ms=1000)) for _ in range(5)] == [4, 2, 2, 2, 2]
    assert clocked.look(later_ms=-3_600_000) == []
    assert [len(clocked.look(later_ms=1000)) for _ in range(5)] == [2] * 5
    assert clocked.ticker.stats()["over_quota"] == 10 * 8 - 4 - 9 * 2
