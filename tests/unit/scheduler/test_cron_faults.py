"""Ticks come once each and are not left behind, whatever crashes, fails or jumps."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from clocked_ticker import POLICIES, SECOND, Clocked, order
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ordering import SCHEDULER

from aoray.errors import Unavailable
from aoray.protocol.cron import Missed
from aoray.scheduler.committer import Committer
from aoray.scheduler.cron import Ticker
from aoray.scheduler.placement import Placement
from aoray.storage.log import SqliteLog


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
