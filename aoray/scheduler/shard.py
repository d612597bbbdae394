"""The scheduler shard: the Ray actor that orders the messages of its processes, and tells where they are
evaluated.

Where in a message's journey: gateways, and process actors by the short way, `submit` batches; one loop drains
all that has queued meanwhile, commits it (rules, signatures, one durable transaction) in one thread, answers
the callers, and hands the entries to the lanes of the process actors. Under load the batches grow by
themselves; an idle shard answers at once. One that is not idle, where others came beside the last, gathers
for GATHER_MS first: everything behind it costs by the batch, and so on a full machine the last of all waits
less.

Invariants: nobody gets a receipt before it is on the disk. Only the holder of the shard's term writes; a
shard that finds a later term ends its process (if it is the rightful one, Ray starts it again, and it takes
over). The queue is bounded in messages and bytes, beyond that `Overloaded`; and processes take turns in it.

On failure: killed at any moment, it recovers heads, placements and the flush cursor from its log by itself,
and activates the processes whose entries have no result yet. Callers retry with the same batch and get the
same receipts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from aoray import durable, limits, logs, nodes
from aoray.actors.placement import Placement
from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.arweave.uploaders import uploader_of
from aoray.calls import wire_host
from aoray.errors import AorayError, Overloaded, StaleTerm, Unavailable
from aoray.fair import Fair
from aoray.keyfiles import arweave_wallet, load_key
from aoray.keyfiles import schedulers as schedulers_of
from aoray.metrics import Counted, Stage
from aoray.protocol.decisions import decision_of
from aoray.protocol.items import DataItem, parse
from aoray.protocol.keys import Signer
from aoray.protocol.spawn_chain import root_wallet
from aoray.protocol.ticks import Moment
from aoray.rates import rates_of
from aoray.scheduler.attester import Attester
from aoray.scheduler.committer import Committed, Committer, fits
from aoray.scheduler.decisions import Decision, describe
from aoray.scheduler.flusher import Flusher
from aoray.scheduler.lanes import Lane, Terms
from aoray.scheduler.log import Log
from aoray.scheduler.reader import open_readers
from aoray.scheduler.rules import Receipt, Submission, turn_of
from aoray.scheduler.stores import open_log, open_results
from aoray.scheduler.ticker import Ticker
from aoray.settings import Settings
from aoray.tasks import Tasks
from aoray.threads import OneThread
from aoray.wire import Address, Wire

logger = logging.getLogger(__name__)

HEIGHT_SECONDS = 10.0
RETRY_SECONDS = 0.2
SWITCH_SECONDS = (
    0.001  # the log's thread computes: with Python's 5 ms, each call waits that long for the loop
)


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class Call:
    """A call of `submit`: it is answered when each of its submissions has its outcome."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.since_s = loop.time()
        self.answer: asyncio.Future[list[Receipt | AorayError]] = loop.create_future()
        self._outcomes: dict[int, Receipt | AorayError] = {}
        self._size = size

    def settle(self, place: int, outcome: Receipt | AorayError) -> None:
        """The outcome of the submission at this place."""
        self._outcomes[place] = outcome
        if len(self._outcomes) == self._size and not self.answer.done():  # its caller may be gone
            self.answer.set_result([self._outcomes[place] for place in range(self._size)])


class Queued(NamedTuple):
    """A submission, and its place in the call that waits for its outcome."""

    submission: Submission
    call: Call
    place: int


class ShardActor(Counted):
    """One shard. Made by name (`shard-<index>`), without Ray's own retries."""

    def __init__(self, settings: Settings, index: int) -> None:
        logs.begin(settings.log_level)
        self._given, settings = settings, nodes.here(settings)
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.set_threshold(*limits.COLLECT_AFTER)
        self._settings = settings
        self._index = index
        self._wire = Wire(self, wire_host(settings))
        self._thread = OneThread("log")  # the only one that touches the log
        self._queue: Fair[Queued] = Fair(lambda queued: len(queued.submission.item))
        self._wake = asyncio.Event()
        self._lanes: dict[str, Lane] = {}
        self._tasks = Tasks(f"shard-{index}")
        self._committed = 0
        self._stage = Stage("scheduled", f"shard-{index}", self._queue.__len__)
        signer = load_key(settings, "scheduler")
        self._operator = signer.address
        schedulers = schedulers_of(settings)
        self._after_ms = schedulers[-1].after_ms if schedulers else 0
        size = settings.pool
        offset = index * size // settings.shards  # where its ties begin: the shards spread over the pool
        placement = Placement(size, offset=offset, all_own=settings.actor_per_process)
        self._pool = frozenset(placement.pool)
        self._results = open_results(settings)
        self._committer = Committer(
            lambda: open_log(settings, index),
            placement,
            signer,
            self._results.last_nonces,
            earlier=[held.address for held in schedulers[:-1]],
        )
        self._term = self._committer.term
        self._height = self._committer.log.block_height()
        self._height_said = False  # by Arweave, since this shard began
        self._ticker = self._make_ticker(settings, signer)
        self._cron_wake = asyncio.Event()
        self._height_fault = ""
        self._arweave = ArweaveClient(settings.arweave_url, heights=self._heights())
        self._flusher = self._make_flusher(signer)
        self.counted = (self._stage, self._flusher.stage)
        self._tasks.start(self._commit_loop())
        self._to_scan = self._scan_afresh = False
        self._begin_scan()
        self._tasks.start(self._flusher.run(settings.flush_interval_ms / 1000))
        self._tasks.start(self._flusher.watch(settings.flush_interval_ms / 1000))
        results = open_results(settings)  # its own: it reads for long
        self._attester = Attester(self._on_log, results, load_key(settings, "compute"))
        self._tasks.start(self._attester.run(settings.attest_interval_ms / 1000))
        self._tasks.start(self._watch_height())
        self._tasks.start(self._tick_for_ever())
        self._tasks.start(self.export_for_ever())

    # What others call

    async def submit(self, submissions: list[Submission]) -> list[Receipt | AorayError]:
        """Schedule these, those of a process in this order; answers once they are durable."""
        if not submissions:
            return []
        call = Call(len(submissions), asyncio.get_running_loop())
        for place, submission in enumerate(submissions):
            self._enqueue(Queued(submission, call, place))
        self._wake.set()
        return await call.answer

    def _enqueue(self, queued: Queued) -> None:
        """Into the queue, or with `Overloaded` back at once."""
        key = turn_of(queued.submission)
        if self._queue.fits(key, queued, limits.SHARD_QUEUE_MESSAGES_MAX, limits.SHARD_QUEUE_BYTES_MAX):
            self._queue.put(key, queued)
        else:
            refused = Overloaded("the scheduler has too much waiting", retry_after_s=1)
            queued.call.settle(queued.place, refused)

    async def locate(self, process_ids: list[str]) -> list[str | AorayError]:
        """The actor that holds each process, placed if need be; the actor is told of it soon after."""
        names: list[str | AorayError]
        names, by_actor = await self._run(self._committer.locate, process_ids)
        self._activate(by_actor)
        return names

    async def monitor(self, process_id: str, order: str) -> None:
        """Start the crons of a process; `order` is the item by which its owner asks for it."""
        await self._run(self._ticker.monitor, process_id, self._now(), order)
        self._cron_wake.set()

    async def unmonitor(self, process_id: str, order: str) -> None:
        """Stop them."""
        await self._run(self._ticker.unmonitor, process_id, order)

    async def monitored(self, process_id: str) -> dict[str, Any]:
        """The crons of a process, and whether they run."""
        return dict(await self._run(self._ticker.describe, process_id))

    async def decide(self, raw: bytes) -> dict[str, Any]:
        """Keep the operator's signed decision about a process, publish it, and act on it.

        Once it returns a stopped process has no actor that could write a result; sent again it is done again,
        so who gets no answer repeats it.
        """
        decided = decision_of(raw, self._operator)
        decision = Decision(*decided, raw)
        term = await self._run(self._committer.decide, decision)
        if decided.stopped:
            await asyncio.to_thread(self._results.claim, decided.process_id, term)
        else:
            await self.locate([decided.process_id])
            self._cron_wake.set()
        await self.publish([raw])
        return describe(decision)

    async def decided(self, process_id: str) -> dict[str, Any]:
        """The last decision about a process."""
        found = await self._on_log(lambda log: log.decisions.last(process_id))
        return describe(found) if found else {"process": process_id, "stopped": False}

    async def stopped(self) -> list[str]:
        """The processes that the operator stopped."""
        return sorted(self._committer.stopped)

    async def publish(self, items: list[bytes]) -> None:
        """Bring these signed data items to Arweave, beside the entries of the log.

        On return they are on the disk, and they will get there, each once, however often it is published. An
        item that doesn't parse or is larger than ITEM_BYTES_MAX is a `ClientError`, and none of them is kept;
        signatures are the caller's to verify. `Unavailable`: publish them again.
        """
        parsed = await asyncio.to_thread(lambda: [parse(raw) for raw in items])
        await self._on_log(lambda log: log.uploads.publish(parsed))

    async def flush(self) -> None:
        """Bring all that is in the log by now to Arweave, for who is about to read it there."""
        await self._flusher.flush()

    async def wire(self) -> Address:
        """Where other actors call this one without Ray in between."""
        return await self._wire.address()

    async def ready(self) -> dict[str, Any]:
        """Answers once the shard takes work; `Unavailable` while its disk is full, or its log is broken."""
        if fault := durable.disk_fault(self._settings.data):
            raise Unavailable(fault, hint="Messages are refused until there is room.")
        if self._committer.broken:
            await self._run(self._mend)
            self._forward(Committed([]))
        return {
            "shard": self._index,
            "term": self._term,
            "incarnation": os.getpid(),
            "node": nodes.own_node(),
        }

    async def stats(self) -> dict[str, Any]:
        """Counters for people and metrics."""
        backlog = await self._on_log(lambda log: log.uploads.backlog())
        return {
            "shard": self._index,
            "term": self._term,
            "queued": len(self._queue),
            "queued_bytes": self._queue.bytes,
            "committed": self._committed,
            "block_height": self._height,
            "cron": await self._run(self._ticker.stats),
            "attested": self._attester.attested,
            "arweave": self._flusher.stats(backlog)
            | {"height": self._height, "height_error": self._height_fault},
            "lanes": {
                lane.name: {"pending": len(lane.backlog.pending), "behind": len(lane.backlog.behind)}
                for lane in self._lanes.values()
            },
        }

    def _mend(self) -> None:
        """Open a log that broke, if that is possible by now; else say why not."""
        try:
            self._committer.mend()
        except Unavailable as error:
            raise Unavailable(f"the log can't be written: {error.message}", hint=error.hint) from error

    # The committing loop

    async def _commit_loop(self) -> None:
        crowded = False
        while True:
            await self._wake.wait()
            if crowded and len(self._queue) < limits.GATHER_MESSAGES_MAX:
                await asyncio.sleep(limits.GATHER_MS / 1000)
            batch = self._drain()
            if not batch:
                self._wake.clear()
                continue
            submissions = [queued.submission for queued in batch]
            committed = await self._run(self._commit, submissions)
            self._answer(batch, committed)
            crowded = len(batch) > 1 or bool(self._queue)

    def _drain(self) -> list[Queued]:
        """All that is queued, up to one batch; processes take turns."""
        batch: list[Queued] = []
        size = 0
        while self._queue and fits(len(batch), size, self._queue.peek().submission.item):
            queued = self._queue.take()
            size += len(queued.submission.item)
            batch.append(queued)
        return batch

    def _commit(self, submissions: Sequence[Submission]) -> Committed:
        return self._committer.commit(submissions, now_ms=self._now().ms, block_height=self._height)

    def _answer(self, batch: Sequence[Queued], committed: Committed) -> None:
        for queued, outcome in zip(batch, committed.outcomes, strict=True):
            queued.call.settle(queued.place, outcome)
        now = asyncio.get_running_loop().time()
        pairs = zip(batch, committed.outcomes, strict=True)
        self._stage.done([(now - each.call.since_s) * 1000 for each, to in pairs if isinstance(to, Receipt)])
        self._forward(committed)

    def _forward(self, committed: Committed) -> None:
        """Tell the process actors what is in the log by now."""
        self._committed += sum(len(works) for works in committed.work.values())
        for name, works in committed.work.items():
            self._lane(name).push(works)
        # What failed may have been written all the same: open the log anew, now and not at the next batch.
        if self._committer.broken or self._committer.term != self._term:
            self._term = self._committer.term
            self._begin_scan()

    # Cron

    async def _tick_for_ever(self) -> None:
        """Make the ticks that are due, and sleep until the next is, or something changes."""
        while True:
            self._cron_wake.clear()
            try:
                look = await self._run(self._ticker.look, self._now())
                self._forward(look.committed)
                wait_s = (look.next_ms - self._now().ms) / 1000
            except Unavailable as error:
                logger.warning("shard %d can't make ticks just now: %r", self._index, error)
                wait_s = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                wait_s = min(max(wait_s, 0.001), limits.CRON_SLEEP_SECONDS_MAX)
                await asyncio.wait_for(self._cron_wake.wait(), wait_s)

    def _make_ticker(self, settings: Settings, signer: Signer) -> Ticker:
        reader = open_readers(settings)  # a process's parent may be another shard's
        messenger = load_key(settings, "authority").address

        def item_of(process_id: str) -> DataItem | None:
            found = reader.process(process_id)
            return parse(found.item) if found else None

        return Ticker(
            self._committer,
            signer,
            self._now().ms,
            rates=rates_of(settings.cron_rate_per_wallet, settings.push_burst_seconds),
            wallet_of=lambda process: root_wallet(process, messenger, item_of),
        )

    def _now(self) -> Moment:
        """Never before the time when the key was handed over, though the clock may be: before, another key
        signed."""
        return Moment(max(now_ms(), self._after_ms + 1), self._height if self._height_said else -1)

    # Where processes live

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, self._connect, self._lagging)
            self._tasks.start(lane.run())
        return lane

    def _activate(self, by_actor: Mapping[str, Terms]) -> None:
        for name, terms in by_actor.items():
            self._lane(name).activate(terms)

    def _connect(self, name: str) -> Any:
        """The handle of an actor. Pool actors are made by whoever started the computer, own ones here.

        An own actor ends with this shard's process, and is made again by the next: so none is left behind.
        """
        if name in self._pool:
            return ray.get_actor(name)
        options = nodes.options(self._given, "process") | {"name": name, "get_if_exists": True}
        return ray.remote(self._process_actor()).options(**options).remote(self._given, name)

    def _process_actor(self) -> type:
        from aoray.actors.actor import ProcessActor  # it needs wasmtime, which shards mostly do without

        return ProcessActor

    async def _lagging(self, name: str) -> Terms:
        """The processes of one actor that have entries beyond their last result."""
        return (await self._lagging_all(name)).get(name, {})

    def _begin_scan(self) -> None:
        """One at a time; one that runs begins again."""
        if not self._to_scan:
            self._to_scan = True
            self._tasks.start(self._scan())
        self._scan_afresh = True

    async def _scan(self) -> None:
        """After a start: activate every process that has entries beyond its last result."""
        while self._to_scan:
            self._scan_afresh = False
            try:
                self._activate(await self._lagging_all(None))
                self._to_scan = self._scan_afresh
            except Unavailable as error:
                logger.warning("shard %d can't see yet what is to be evaluated: %r", self._index, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _lagging_all(self, actor: str | None) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        after = ""
        while True:
            page, after = await self._run(self._committer.lagging, after, limits.PAGE_ENTRIES_MAX, actor)
            for name, terms in page.items():
                found.setdefault(name, {}).update(terms)
            if not after:
                return found

    # Arweave

    def _make_flusher(self, signer: Signer) -> Flusher:
        settings = self._settings
        bundler = ArweaveClient(settings.bundler_url) if settings.bundler_url else self._arweave
        wallet = arweave_wallet(settings)
        return Flusher(
            self._on_log,
            uploader_of(settings, self._arweave, bundler, signer, wallet),
            confirmations_min=settings.confirmations_min,
            repost_seconds=settings.repost_seconds,
            now_ms=now_ms,
            name=f"shard-{self._index}",
        )

    def _heights(self) -> Heights | None:
        """What a gateway is believed; the embedded Arweave is ours, and makes a block for each upload."""
        if not self._settings.gateway_url:
            return None
        last_ms = self._committer.log.last_timestamp()
        return Heights(self._height, last_ms / 1000) if self._height and last_ms else Heights()

    async def _watch_height(self) -> None:
        while True:
            try:
                height = await self._arweave.height()
                if height > self._height or not self._height_said:
                    self._cron_wake.set()
                self._height, self._height_said = max(self._height, height), True
                self._height_fault = ""
            except AorayError as error:
                logger.warning("the block height stays %d: %r", self._height, error)
                self._height_fault = error.message
            await asyncio.sleep(HEIGHT_SECONDS)

    # Threads and tasks

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in the log's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except StaleTerm:
            logger.critical("shard %d has a successor; this one ends", self._index)
            os._exit(1)

    async def _on_log(self, function: Callable[[Log], Any]) -> Any:
        return await self._run(self._committer.on_log, function)
