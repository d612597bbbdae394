"""Cron: makes the ticks of a shard's processes when they are due, as messages in the log.

Where in a message's journey: at its beginning, inside the shard. `POST /monitor/{process}` starts the crons
of a process, `DELETE` stops them; between the two a process ticks, whether anybody reads it or not (in AO's
reference, ticks are made when somebody reads the process; docs/wire-contract.md). The shard calls `run_due`
whenever something may be due; `cron_rules` decides which ticks are made.

Quota: all processes of one wallet, and those that they spawned, share a rate of ticks. Ticks beyond this rate
are left out and counted, like those of a process that is too slow for its crons.

Invariants: everything runs in the log's thread. A tick's slot and the state that records the tick are one
commit. If a tick is made twice all the same, it is the same item, which has one slot. A cron starts at the
first time of its grid after it was monitored; times at which it was not monitored get no tick.

On failure: if the log can't be written, nothing has changed, and `run_due` says when to try again. After a
crash the state is read from the log, and ticks that fell due meanwhile count as *missed*. If the clock goes
back, the next times go back with it; ticks that were made already are not made again, since they have the
same ids.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.contracts.shard import Receipt, Submission
from aoray.errors import ClientError, NotFound, UnknownProcess
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.cron import Cron, Crons, Moment, crons_of, origin, tick_item
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import ANS104, SignedMessage, parse
from aoray.protocol.tags import first
from aoray.scheduler.committer import Committed, Committer
from aoray.scheduler.cron_rules import Due, due, first_after
from aoray.storage.crontab import CronState
from aoray.util.bounded_dict import BoundedDict
from aoray.util.metrics import LatencyWindow
from aoray.util.rates import Rates

logger = logging.getLogger(__name__)

NEVER = 2**62
RETRY_MS = 200


class CronProcess(NamedTuple):
    """A process with crons: its spawn item, the moment of its spawn, and the crons that the item asks for."""

    item: SignedMessage
    moment: Moment
    asked: Crons
    wallet: str  # the wallet behind the process (protocol/spawn_chain.py)


class CronPlan(NamedTuple):
    """What to do about one cron that is due: its ticks by due time, its state afterwards, and how many ticks
    are left out."""

    cron: Cron
    ticks: Sequence[tuple[int, DataItem]]
    after: CronState
    skipped: int


class CronRun(NamedTuple):
    """What one run of the crons committed, and when the next run is due (Unix time in ms)."""

    committed: Committed
    next_ms: int


class Ticker:
    """The crons of one shard. While Arweave has not told its height (`now.height` is -1), crons that count
    blocks wait."""

    def __init__(
        self,
        committer: Committer,
        signer: Signer,
        now_ms: int,
        *,
        rates: Rates | None = None,
        wallet_of: Callable[[SignedMessage], str] = lambda process: process.address,
    ) -> None:
        """`rates` bound the ticks of one wallet (None: no bound); `wallet_of` returns the wallet behind a
        process, given its spawn item."""
        self._committer = committer
        self._signer = signer
        self._rates = rates
        self._wallet_of = wallet_of
        self._passed_ms = 0  # the sum of the clock's steps forward; steps back are left out
        self._looked_ms = now_ms
        self._over_quota = 0
        self._since = Moment(now_ms, -1)
        self._seen_ms = NEVER  # so the first run assumes that the clock went back
        self._known: BoundedDict[str, CronProcess] = BoundedDict(
            limits.PROCESSES_KNOWN_MAX, limits.PROCESSES_KNOWN_BYTES_MAX, lambda known: len(known.item.raw)
        )
        self._lags = LatencyWindow(limits.CRON_LAGS_KEPT)
        self._skipped = 0

    # Who is monitored

    def monitor(self, process_id: str, now: Moment, order: str) -> None:
        """Start the crons of a process. Raises `ClientError` if it is monitored already or the order (an
        item's id) was used before."""
        with self._committer.open_log() as log:
            added = log.crons.monitor(process_id, self._states(process_id, now), order)
        if not added:
            raise ClientError("Process already being monitored", process_id=process_id)

    def _states(self, process_id: str, now: Moment) -> list[CronState]:
        spawned = self._spawned(process_id)
        now = self._height_known(now)
        return [
            CronState(process_id, cron.place, cron.unit, cron.step, _next(spawned, cron, now), "")
            for cron in spawned.asked.crons
        ]

    def unmonitor(self, process_id: str, order: str) -> None:
        """Stop the crons of a process. Raises `NotFound` if it is not monitored, `ClientError` if the order
        was used before."""
        with self._committer.open_log() as log:
            removed = log.crons.unmonitor(process_id, order)
        if not removed:
            raise NotFound("Process monitor not found", process_id=process_id)

    def describe(self, process_id: str) -> dict[str, Any]:
        """Return the answer to `GET /monitor/{process}`: the crons of a process, and whether they run."""
        self._committer.reopen_if_broken()
        crontab, asked = self._committer.log.crons, self._spawned(process_id).asked
        states = {state.place: state for state in crontab.of(process_id)}
        return {
            "process": process_id,
            "monitored": crontab.is_monitored(process_id),
            "missed": asked.missed,
            "crons": [_described(cron, states.get(cron.place)) for cron in asked.crons],
        }

    def stats(self) -> dict[str, Any]:
        """Return counters. `lag_ms` is the time from when a tick was due until it had its slot."""
        self._committer.reopen_if_broken()
        monitored, crons = self._committer.log.crons.counts()
        return {
            "monitored": monitored,
            "crons": crons,
            "skipped": self._skipped,
            "over_quota": self._over_quota,
            "lag_ms": self._lags.summary(),
        }

    # Ticks

    def run_due(self, now: Moment) -> CronRun:
        """Make the ticks that are due."""
        self._committer.reopen_if_broken()
        if self._since.height < 0 <= now.height:
            self._since = self._since._replace(height=now.height)
        self._passed_ms += max(0, now.ms - self._looked_ms)
        self._looked_ms = now.ms
        if now.ms < self._seen_ms:
            self._aim_again(now)
        self._seen_ms = now.ms
        crontab = self._committer.log.crons
        blocks = crontab.due("blocks", now.height, limits.CRON_BATCH)
        due_now = [*blocks, *crontab.due("ms", now.ms, limits.CRON_BATCH)]
        plans = self._plans(due_now, now)
        committed = self._commit(plans, now)
        if self._committer.broken:
            return CronRun(committed, now.ms + RETRY_MS)
        if len(plans) < len(due_now) or len(blocks) == limits.CRON_BATCH:  # more ticks are due at once
            return CronRun(committed, now.ms)
        following = self._committer.log.crons.next_ms()
        return CronRun(committed, NEVER if following is None else following)

    def _plans(self, due_now: Sequence[CronState], now: Moment) -> list[CronPlan]:
        """Return plans for as many crons as fit into one batch, so that messages get their turn between
        runs."""
        plans: list[CronPlan] = []
        ticks = 0
        for state in due_now:
            if ticks >= limits.BATCH_MESSAGES_MAX:
                break
            plans.append(self._plan(state, now))
            ticks += len(plans[-1].ticks)
        return plans

    def _plan(self, state: CronState, now: Moment) -> CronPlan:
        spawned = self._spawned(state.process_id)
        cron = spawned.asked.crons[state.place]
        found = due(
            state.next,
            state.step,
            now.by(state.unit),
            self._since.by(state.unit),
            waiting=not self._is_evaluated(state),
            missed=spawned.asked.missed,
        )
        is_stopped = state.process_id in self._committer.stopped
        if found.times and (is_stopped or not self._may_tick(spawned, len(found.times))):
            self._over_quota += 0 if is_stopped else len(found.times)
            found = Due([], found.next, found.skipped + len(found.times))
        ticks = [(time, tick_item(self._signer, spawned.item, cron, time)) for time in found.times]
        last = ticks[-1][1].id if ticks else state.message_id
        return CronPlan(cron, ticks, state._replace(next=found.next, message_id=last), found.skipped)

    def _may_tick(self, spawned: CronProcess, ticks: int) -> bool:
        """Return whether the quota of the process's wallet has room for this many ticks, and if so count
        them."""
        if self._rates is None:
            return True
        return not self._rates.take(spawned.wallet, self._passed_ms / 1000, ticks)

    def _is_evaluated(self, state: CronState) -> bool:
        return not state.message_id or self._committer.is_evaluated(state.process_id, state.message_id)

    def _commit(self, plans: Sequence[CronPlan], now: Moment) -> Committed:
        """Commit all ticks in one transaction: ticks by blocks first, then by due time, then short intervals
        first."""
        if not plans:
            return Committed([])
        order = sorted(
            (plan.cron.unit, time, plan.cron.step, plan.cron.place, item.target_id, item.id, item.raw)
            for plan in plans
            for time, item in plan.ticks
        )
        batch = [Submission("message", target, item_id, raw) for *_, target, item_id, raw in order]
        states = [plan.after for plan in plans]
        height = self._height_known(now).height
        committed = self._committer.commit(batch, now_ms=now.ms, block_height=height, crons=states)
        if self._committer.broken:
            return committed
        self._skipped += sum(plan.skipped for plan in plans)
        for (unit, time, *_), outcome in zip(order, committed.outcomes, strict=True):
            if not isinstance(outcome, Receipt):
                logger.error("a tick was not scheduled: %r", outcome)
            elif unit == "ms":
                self._lags.add(max(0, outcome.timestamp - time))
        return committed

    def _aim_again(self, now: Moment) -> None:
        """Move the next times of crons back, after the clock went back, so that each is at most one step
        ahead."""
        self._since = self._since._replace(ms=min(self._since.ms, now.ms))
        while ahead := self._committer.log.crons.ahead(now.ms, limits.CRON_BATCH):
            aimed = [state._replace(next=first_after(state.next, state.step, now.ms)) for state in ahead]
            with self._committer.open_log() as log:
                log.append([], {}, 0, aimed)

    def _height_known(self, now: Moment) -> Moment:
        """Return the moment with the last height that the log used, while Arweave has not told a height."""
        return now._replace(height=max(now.height, self._committer.log.block_height()))

    def _spawned(self, process_id: str) -> CronProcess:
        known = self._known.get(process_id)
        if known is None:
            known = self._known[process_id] = self._read(process_id)
        return known

    def _read(self, process_id: str) -> CronProcess:
        found = self._committer.log.spawned(process_id)
        if found is None:
            raise UnknownProcess(f"no process {process_id} was spawned here", process_id=process_id)
        item, slot = parse(*found[0]), parse(found[1], ANS104).tags
        moment = Moment(int(first(slot, "Timestamp", "")), int(first(slot, "Block-Height", "")))
        return CronProcess(item, moment, crons_of(item.tags), self._wallet_of(item))


def _next(spawned: CronProcess, cron: Cron, now: Moment) -> int:
    return first_after(origin(spawned.moment, cron.unit), cron.step, now.by(cron.unit))


def _described(cron: Cron, state: CronState | None) -> dict[str, Any]:
    found = {"cron": cron.name, "unit": cron.unit, "step": cron.step}
    return found | ({"next": state.next, "last": state.message_id or None} if state else {})
