"""A ticker over a real log, with a clock of its own."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ordering import SCHEDULER, check_process, committer, reader_of, spawn

from aoray.contracts.shard import Receipt
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.cron import Missed, Moment, Tick, tick_of, wrong
from aoray.protocol.ids import b64url_encode
from aoray.scheduler.cron import CronRun, Ticker
from aoray.settings import Settings
from aoray.util.rates import Rates
from aoray.verify.rules import moment_of

T0 = 1_700_000_000_000
POLICIES: tuple[Missed, ...] = ("one", "all", "none")
numbers = itertools.count()


def order() -> str:
    """The id of an item that was not used before."""
    return b64url_encode(next(numbers).to_bytes(32, "big"))


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
