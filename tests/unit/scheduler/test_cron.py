"""Ticks: due once each, never piled up, made up for as the policy says, one slot each whatever crashes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ordering import SCHEDULER, SOME_ID, check_process, committer, message, reader_of, spawn

from aoray import limits
from aoray.contracts.shard import Receipt
from aoray.errors import ClientError, MalformedInput, NotFound, TooLarge, Unavailable, UnknownProcess
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.cron import HEAD, KIND, Missed, Moment, Tick, crons_of, tick_of, wrong
from aoray.protocol.ids import b64url_encode
from aoray.scheduler import ordering
from aoray.scheduler.committer import Committer
from aoray.scheduler.cron import NEVER, CronRun, Ticker
from aoray.scheduler.cron_rules import due, first_after
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage.log import SqliteLog
from aoray.util.rates import Rates
from aoray.verify.rules import moment_of

T0 = 1_700_000_000_000
POLICIES: tuple[Missed, ...] = ("one", "all", "none")

numbers = itertools.count()


def order() -> str:
    """The id of an item that was not used before."""
    return b64url_encode(next(numbers).to_bytes(32, "big"))


# The rules


def test_a_live_tick_is_made_when_it_is_due_and_not_before() -> None:
    assert due(100, 10, 99, 0, waiting=False, missed="one") == ([], 100, 0)
    assert due(100, 10, 100, 0, waiting=False, missed="one") == ([100], 110, 0)
    assert due(100, 10, 109, 0, waiting=False, missed="one") == ([100], 110, 0)


@pytest.mark.parametrize("missed", POLICIES)
def test_behind_a_slow_process_or_a_late_look_ticks_do_not_pile_up(missed: Missed) -> None:
    assert due(100, 10, 145, 0, waiting=False, missed=missed) == ([140], 150, 4)
    assert due(100, 10, 145, 0, waiting=True, missed=missed) == ([], 150, 5)


def test_missed_ticks_follow_the_policy() -> None:
    assert due(100, 10, 145, 145, waiting=False, missed="one") == ([140], 150, 4)
    assert due(100, 10, 145, 145, waiting=True, missed="one") == ([], 150, 5)
    assert due(100, 10, 145, 145, waiting=False, missed="none") == ([], 150, 5)
    assert due(100, 10, 145, 130, waiting=False, missed="none") == ([140], 150, 4)
    assert due(100, 10, 145, 145, waiting=True, missed="all") == ([100, 110, 120, 130, 140], 150, 0)
    assert due(100, 10, 145, 130, waiting=False, missed="all") == ([100, 110, 120, 140], 150, 1)
    assert due(100, 10, 145, 130, waiting=True, missed="all") == ([100, 110, 120], 150, 2)


def test_all_that_were_missed_are_bounded_however_long_it_was() -> None:
    found = due(0, 1000, 10**15, 10**15 + 1, waiting=False, missed="all")
    assert len(found.times) == limits.CRON_CATCH_UP_MAX
    assert found.times[-1] == 10**15 and found.next == 10**15 + 1000
    assert found.skipped == 10**12 - limits.CRON_CATCH_UP_MAX + 1


@given(
    st.integers(0, 1000),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 200), st.booleans(), st.integers(0, 5000)), max_size=20),
    st.sampled_from(POLICIES),
)
def test_each_due_time_is_decided_once_whenever_somebody_looks(
    first: int, step: int, looks: list[tuple[int, bool, int]], missed: Missed
) -> None:
    now, following, made, skipped = 0, first, [], 0
    for later, waiting, since in looks:
        now += later
        found = due(following, step, now, since, waiting=waiting, missed=missed)
        assert found.next > now
        assert waiting is False or missed == "all" or not found.times
        assert all(time <= now and (time - first) % step == 0 for time in found.times)
        made, skipped, following = made + found.times, skipped + found.skipped, found.next
    assert made == sorted(set(made))
    assert len(made) + skipped == (following - first) // step


def test_a_grid_is_on_both_sides_of_its_origin() -> None:
    found = [first_after(1000, 10, now) for now in (979, 980, 1000, 1001, 1009, 1010)]
    assert found == [980, 990, 1010, 1010, 1010, 1020]


# The ticker over a real log


class Clocked:
    """A ticker with a clock of its own; `done` are the last nonces that have results."""

    def __init__(
        self, place: Path | Settings, signer: Any = SCHEDULER, *, rate: float = 0.0, burst: float = 1.0
    ) -> None:
        self.place, self.signer = place, signer
        self.rates = Rates(rate, burst) if rate else None
        self.now = Moment(T0 + 250, 100)
        self.done: dict[str, int] = {}
        self.made: list[LogEntry] = []
        self.start()

    def start(self) -> None:
        self.committer = committer(self.place, last_nonces=self.done)
        self.ticker = Ticker(self.committer, self.signer, self.now.ms, rates=self.rates)

    def restart(self, *, later_ms: int = 0, blocks: int = 0) -> None:
        self.committer.close()
        self.now = Moment(self.now.ms + later_ms, self.now.height + blocks)
        self.start()

    def spawn(self, *tags: tuple[str, str]) -> str:
        submission = spawn(*tags)
        committed = self.committer.commit([submission], now_ms=self.now.ms, block_height=self.now.height)
        assert isinstance(committed.outcomes[0], Receipt), committed.outcomes
        return submission.process_id

    def monitored(self, *tags: tuple[str, str]) -> str:
        process = self.spawn(*tags)
        self.ticker.monitor(process, self.now, order())
        return process

    def look(self, *, later_ms: int = 0, blocks: int = 0, evaluate: bool = True) -> list[LogEntry]:
        """The ticks that a look so much later makes."""
        self.now = Moment(self.now.ms + later_ms, self.now.height + blocks)
        self.last: CronRun = self.ticker.run_due(self.now)
        works = [work for works in self.last.committed.work.values() for work in works]
        if evaluate:
            self.done.update((work.entry.process_id, work.entry.nonce) for work in works)
        return [work.entry for work in works]

    def ticks(self, process: str) -> list[Tick]:
        """All ticks in a process's log, each of them right by the rules of `aoray verify`."""
        reader = reader_of(self.place)
        entries = reader.entries(process)
        reader.close()
        check_process(entries)
        item, spawned = parse(entries[0].item), moment_of(parse(entries[0].assignment))
        found = []
        for entry in entries[1:]:
            tick = tick_of(parse(entry.item), process, self.signer.public_key)
            if tick:
                slot = moment_of(parse(entry.assignment))
                assert not wrong(tick, parse(entry.item), item, spawned, slot)
                found.append(tick)
        return found


SECOND = (("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick"))


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


class FailsAt(SqliteLog):
    """A log whose append fails, or whose process dies there, before or after the commit."""

    how = ""

    def append(self, *arguments: Any, **named: Any) -> None:
        how, FailsAt.how = FailsAt.how, ""
        if how.startswith("after"):
            super().append(*arguments, **named)
        if how.endswith("dies"):
            raise KeyboardInterrupt
        if how.endswith("fails"):
            raise Unavailable("the disk is full")
        if not how:
            super().append(*arguments, **named)


FAULTS = [" ".join(pair) for pair in itertools.product(("before", "after"), ("dies", "fails"))]


class Ticking(RuleBasedStateMachine):
    """Any sequence of looks, slow evaluations, clock jumps, failing disks, crashes and monitors."""

    @initialize(missed=st.sampled_from(POLICIES))
    def begin(self, missed: Missed) -> None:
        self.directory = tempfile.TemporaryDirectory()
        FailsAt.how = ""
        self.clocked = Failing(Path(self.directory.name) / "log")
        tags = (*SECOND, ("Cron-Interval", "3-seconds"), ("Cron-Missed", missed))
        self.processes = [self.clocked.monitored(*tags) for _ in range(2)]

    @rule(later_ms=st.integers(-5000, 9000), how=st.sampled_from(["", "", *FAULTS]), evaluate=st.booleans())
    def look(self, later_ms: int, how: str, evaluate: bool) -> None:
        FailsAt.how = how
        try:
            self.clocked.look(later_ms=later_ms, evaluate=evaluate)
        except KeyboardInterrupt:
            self.clocked.restart()
        except Unavailable:
            assert how
        FailsAt.how = ""

    @rule(later_ms=st.integers(0, 9000))
    def restart(self, later_ms: int) -> None:
        self.clocked.restart(later_ms=later_ms)

    @rule(number=st.integers(0, 1))
    def evaluate(self, number: int) -> None:
        self.clocked.done[self.processes[number]] = 10**6

    @rule(number=st.integers(0, 1))
    def monitor(self, number: int) -> None:
        if self.clocked.ticker.describe(self.processes[number])["monitored"]:
            self.clocked.ticker.unmonitor(self.processes[number], order())
        else:
            self.clocked.ticker.monitor(self.processes[number], self.clocked.now, order())

    @invariant()
    def every_tick_is_there_once_and_right(self) -> None:
        for process in self.processes:
            found = [(tick.cron, tick.due) for tick in self.clocked.ticks(process)]
            assert len(found) == len(set(found))

    @invariant()
    def no_cron_is_left_behind(self) -> None:
        self.clocked.look()
        for process in self.processes:
            state = self.clocked.ticker.describe(process)
            for cron in state["crons"]:
                if state["monitored"]:
                    assert self.clocked.now.ms < cron["next"]
                    assert cron["next"] - cron["step"] <= self.clocked.now.ms

    def teardown(self) -> None:
        self.clocked.committer.close()
        self.directory.cleanup()


class Failing(Clocked):
    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(path)

    def start(self) -> None:
        self.committer = Committer(lambda: FailsAt(self.path), Placement(2), SCHEDULER, lambda _: self.done)
        self.ticker = Ticker(self.committer, self.signer, self.now.ms)


TestTicking = Ticking.TestCase
TestTicking.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


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
