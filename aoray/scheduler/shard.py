"""The scheduler shard: the Ray actor that orders the messages of its processes and tells the process actors
of them.

Where in a message's journey: gateways, and process actors by direct push, call `submit` with batches. One
loop takes everything that has queued, commits it in one thread (rules, signatures, one durable transaction),
answers the callers, and hands the entries to the dispatchers of the process actors. Under load the batches
grow by themselves; an idle shard answers at once. If the last batch had more than one message, the loop waits
GATHER_MS for more before the next: the later steps cost by the batch, so on a full machine larger batches
make everybody wait less.

Invariants: nobody gets a receipt before the message is on disk. Only the holder of the shard's term writes; a
shard that finds a later term ends its OS process (if it is the rightful shard, Ray restarts it and it takes
over). The queue is bounded in messages and bytes; beyond that callers get `Overloaded`. Processes take turns
in the queue.

On failure: killed at any moment, a shard recovers heads, placements and the flush cursor from its log, and
activates the processes whose entries have no result yet. Callers retry with the same batch and get the same
receipts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.arweave.own_way import own_client
from aoray.arweave.uploaders import uploader_of
from aoray.cluster import nodes
from aoray.cluster.actor_classes import ProcessActor
from aoray.cluster.calls import wire_host
from aoray.cluster.names import shard_actor
from aoray.cluster.rpc import RpcAddress, RpcServer
from aoray.contracts.shard import Receipt, Submission, fairness_key
from aoray.errors import AorayError, Overloaded, StaleTerm, Unavailable
from aoray.protocol.cron import Moment
from aoray.protocol.decisions import decision_of
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import ANS104, SignedMessage, parse
from aoray.protocol.spawn_chain import root_wallet
from aoray.scheduler.attester import Attester
from aoray.scheduler.committer import Committed, Committer
from aoray.scheduler.cron import Ticker
from aoray.scheduler.dispatch import ActorDispatcher, Terms
from aoray.scheduler.flusher import Flusher
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage import durable_files
from aoray.storage.decisions import Decision, describe
from aoray.storage.factory import open_log, open_readers, open_results
from aoray.storage.key_files import arweave_wallet, load_key
from aoray.storage.key_files import schedulers as schedulers_of
from aoray.storage.log import Log
from aoray.util import heap, log_setup
from aoray.util.clock import clock_ms
from aoray.util.fair_queue import FairQueue
from aoray.util.metrics import ExportsMetrics, StageMetrics
from aoray.util.rates import rates_of
from aoray.util.serial_executor import SerialExecutor
from aoray.util.tasks import SupervisedTasks

logger = logging.getLogger(__name__)

HEIGHT_SECONDS = 10.0
RETRY_SECONDS = 0.2
SWITCH_SECONDS = (
    0.001  # the log's thread computes, and with Python's default of 5 ms the event loop would wait that long
)


class SubmitCall:
    """A call of `submit`; it is answered when each of its submissions has its outcome."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.since_s = loop.time()
        self.answer: asyncio.Future[list[Receipt | AorayError]] = loop.create_future()
        self._outcomes: dict[int, Receipt | AorayError] = {}
        self._size = size

    def settle(self, index: int, outcome: Receipt | AorayError) -> None:
        """Record the outcome of the submission at this index of the call."""
        self._outcomes[index] = outcome
        if len(self._outcomes) == self._size and not self.answer.done():  # its caller may be gone
            self.answer.set_result([self._outcomes[index] for index in range(self._size)])


class Queued(NamedTuple):
    """A submission, with the call that waits for its outcome and the submission's position in this call."""

    submission: Submission
    call: SubmitCall
    position: int


class ShardActor(ExportsMetrics):
    """The Ray actor of one shard, named `shard-<index>`."""

    process_actor_class: type = ProcessActor

    def __init__(self, settings: Settings, index: int) -> None:
        log_setup.begin(settings.log_level)
        self._given, settings = settings, nodes.localized_settings(settings)
        sys.setswitchinterval(SWITCH_SECONDS)
        heap.prepare(limits.COLLECT_AFTER)
        self._settings = settings
        self._index = index
        self._wire = RpcServer(self, wire_host(settings))
        self._thread = SerialExecutor("log")  # the only one that touches the log
        self._queue: FairQueue[Queued] = FairQueue()
        self._wake = asyncio.Event()
        self._dispatchers: dict[str, ActorDispatcher] = {}
        self._tasks = SupervisedTasks(shard_actor(index))
        self._committed = 0
        self._stage = StageMetrics("scheduled", shard_actor(index), self._queue.__len__)
        signer = load_key(settings, "scheduler")
        self._operator = signer.address
        schedulers = schedulers_of(settings)
        self._after_ms = schedulers[-1].after_ms if schedulers else 0
        size = settings.pool
        offset = index * size // settings.shards  # the actor at which ties start: another for each shard
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
        self._height_said = False  # whether Arweave has told its height since this shard started
        self._ticker = self._make_ticker(settings, signer)
        self._cron_wake = asyncio.Event()
        self._height_fault = ""
        self._arweave = own_client(settings, self._heights())
        self._flusher = self._make_flusher(signer)
        self.counted = (self._stage, self._flusher.stage)
        self._tasks.start(self._commit_loop())
        self._to_scan = self._scan_again = False
        self._begin_scan()
        self._tasks.start(self._flusher.run(settings.flush_interval_ms / 1000))
        self._tasks.start(self._flusher.watch(settings.flush_interval_ms / 1000))
        results = open_results(settings)  # a connection of its own, since the attester reads for long
        self._attester = Attester(self._on_log, results, load_key(settings, "compute"))
        self._tasks.start(self._attester.run(settings.attest_interval_ms / 1000))
        self._tasks.start(self._watch_height())
        self._tasks.start(self._tick_forever())
        self._tasks.start(self.export_forever())
        self._tasks.start(heap.give_back_forever())

    # Calls from other actors

    async def submit(self, submissions: list[Submission]) -> list[Receipt | AorayError]:
        """Schedule submissions, those of one process in this order. The outcomes are returned once they are
        durable."""
        if not submissions:
            return []
        call = SubmitCall(len(submissions), asyncio.get_running_loop())
        for index, submission in enumerate(submissions):
            self._enqueue(Queued(submission, call, index))
        self._wake.set()
        return await call.answer

    def _enqueue(self, queued: Queued) -> None:
        """Put a submission into the queue, or answer it with `Overloaded`."""
        if not self._queue.put(
            fairness_key(queued.submission),
            queued,
            len(queued.submission.item),
            count_max=limits.SHARD_QUEUE_MESSAGES_MAX,
            bytes_max=limits.SHARD_QUEUE_BYTES_MAX,
        ):
            refused = Overloaded("the scheduler has too much waiting", retry_after_s=1)
            queued.call.settle(queued.position, refused)

    async def locate(self, process_ids: list[str]) -> list[str | AorayError]:
        """Return the actor of each process; processes without an actor are placed now, and the actors are
        told soon after."""
        names: list[str | AorayError]
        names, by_actor = await self._run(self._committer.locate, process_ids)
        self._activate(by_actor)
        return names

    async def monitor(self, process_id: str, order: str) -> None:
        """Start the crons of a process. `order` is the id of the item in which its owner asks for it."""
        await self._run(self._ticker.monitor, process_id, self._now(), order)
        self._cron_wake.set()

    async def unmonitor(self, process_id: str, order: str) -> None:
        """Stop the crons of a process. `order` is the id of the item in which its owner asks for it."""
        await self._run(self._ticker.unmonitor, process_id, order)

    async def monitored(self, process_id: str) -> dict[str, Any]:
        """Return the crons of a process, and whether they run."""
        return dict(await self._run(self._ticker.describe, process_id))

    async def decide(self, raw: bytes) -> dict[str, Any]:
        """Store the operator's signed decision to stop or resume a process, publish it, and carry it out.

        Once this returns, no actor can write a result of a stopped process. The call may be repeated by a
        caller that got no answer.
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
        """Return the operator's last decision about a process."""
        found = await self._on_log(lambda log: log.decisions.last(process_id))
        return describe(found) if found else {"process": process_id, "stopped": False}

    async def stopped(self) -> list[str]:
        """Return the ids of the processes that the operator stopped."""
        return sorted(self._committer.stopped)

    async def publish(self, items: list[bytes]) -> None:
        """Bring signed data items to Arweave, beside the entries of the log.

        On return the items are on disk, and each will be on Arweave once, however often it is published.
        Raises `ClientError` if an item does not parse or is larger than ITEM_BYTES_MAX; then none of the
        items is stored. The caller must have verified the signatures. After `Unavailable`, publish the items
        again.
        """
        parsed = await asyncio.to_thread(lambda: [parse(raw, ANS104) for raw in items])
        await self._on_log(lambda log: log.uploads.publish(parsed))

    async def flush(self) -> None:
        """Bring everything in the log to Arweave now, for a reader that is about to look there."""
        await self._flusher.flush()

    async def wire(self) -> RpcAddress:
        """Return the address where this actor answers RPC calls."""
        return await self._wire.address()

    async def ready(self) -> dict[str, Any]:
        """Return the shard's term and place, once it accepts work. Raises `Unavailable` while its disk is
        full or its log is broken."""
        if fault := durable_files.disk_fault(self._settings.data):
            raise Unavailable(fault, hint="Messages are refused until there is room.")
        if self._committer.broken:
            await self._run(self._reopen_if_broken)
            self._forward(Committed([]))
        return {
            "shard": self._index,
            "term": self._term,
            "incarnation": os.getpid(),
            "node": nodes.own_node(),
        }

    async def stats(self) -> dict[str, Any]:
        """Return counters for people and metrics."""
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
                dispatcher.name: {
                    "pending": len(dispatcher.queue.pending),
                    "behind": len(dispatcher.queue.behind),
                }
                for dispatcher in self._dispatchers.values()
            },
        }

    def _reopen_if_broken(self) -> None:
        """Open a broken log again. Raises `Unavailable` that says why the log can't be written."""
        try:
            self._committer.reopen_if_broken()
        except Unavailable as error:
            raise Unavailable(f"the log can't be written: {error.message}", hint=error.hint) from error

    # The committing loop

    async def _commit_loop(self) -> None:
        crowded = False
        while True:
            await self._wake.wait()
            if crowded and self._queue.count < limits.GATHER_MESSAGES_MAX:
                await asyncio.sleep(limits.GATHER_MS / 1000)
            if not self._queue.count:
                self._wake.clear()
                continue
            batch = self._queue.take_batch(limits.BATCH_MESSAGES_MAX, limits.BATCH_BYTES_MAX)
            submissions = [queued.submission for queued in batch]
            committed = await self._run(self._commit, submissions)
            self._answer(batch, committed)
            crowded = len(batch) > 1 or self._queue.count > 0

    def _commit(self, submissions: Sequence[Submission]) -> Committed:
        return self._committer.commit(submissions, now_ms=self._now().ms, block_height=self._height)

    def _answer(self, batch: Sequence[Queued], committed: Committed) -> None:
        for queued, outcome in zip(batch, committed.outcomes, strict=True):
            queued.call.settle(queued.position, outcome)
        now = asyncio.get_running_loop().time()
        pairs = zip(batch, committed.outcomes, strict=True)
        self._stage.done([(now - each.call.since_s) * 1000 for each, to in pairs if isinstance(to, Receipt)])
        self._forward(committed)

    def _forward(self, committed: Committed) -> None:
        """Tell the process actors of the committed entries."""
        self._committed += sum(len(works) for works in committed.work.values())
        for name, works in committed.work.items():
            self._dispatcher(name).push(works)
        # A failed commit may have been written all the same, so the processes are scanned for new entries.
        if self._committer.broken or self._committer.term != self._term:
            self._term = self._committer.term
            self._begin_scan()

    # Cron

    async def _tick_forever(self) -> None:
        """Make the ticks that are due, then sleep until the next is due or a cron changes; forever."""
        while True:
            self._cron_wake.clear()
            try:
                look = await self._run(self._ticker.run_due, self._now())
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

        def item_of(process_id: str) -> SignedMessage | None:
            found = reader.process(process_id)
            return found.message if found else None

        return Ticker(
            self._committer,
            signer,
            self._now().ms,
            rates=rates_of(settings.cron_rate_per_wallet, settings.push_burst_seconds),
            wallet_of=lambda process: root_wallet(process, messenger, item_of),
        )

    def _now(self) -> Moment:
        """Return the time for new slots. It is never before the time when the scheduler key was handed over,
        even if the clock is: assignments from before that time are signed by the earlier key."""
        return Moment(max(clock_ms(), self._after_ms + 1), self._height if self._height_said else -1)

    # The actors of processes

    def _dispatcher(self, name: str) -> ActorDispatcher:
        dispatcher = self._dispatchers.get(name)
        if dispatcher is None:
            dispatcher = self._dispatchers[name] = ActorDispatcher(
                name, self._connect, self._processes_behind
            )
            self._tasks.start(dispatcher.run())
        return dispatcher

    def _activate(self, by_actor: Mapping[str, Terms]) -> None:
        for name, terms in by_actor.items():
            self._dispatcher(name).activate(terms)

    def _connect(self, name: str) -> Any:
        """Return the handle of an actor. Whoever started the computer made the actors of the pool; actors of
        single processes are made here.

        An actor of a single process ends with this shard's OS process, and the next shard makes it again; so
        none is left over.
        """
        if name in self._pool:
            return ray.get_actor(name)
        options = nodes.options(self._given, "process") | {"name": name, "get_if_exists": True}
        return ray.remote(self.process_actor_class).options(**options).remote(self._given, name)

    async def _processes_behind(self, name: str) -> Terms:
        """Return the processes of one actor that have entries after their last result."""
        return (await self._all_processes_behind(name)).get(name, {})

    def _begin_scan(self) -> None:
        """Start a scan, or make the running scan start again: there is one at a time."""
        if not self._to_scan:
            self._to_scan = True
            self._tasks.start(self._scan())
        self._scan_again = True

    async def _scan(self) -> None:
        """Activate every process that has entries after its last result."""
        while self._to_scan:
            self._scan_again = False
            try:
                self._activate(await self._all_processes_behind(None))
                self._to_scan = self._scan_again
            except Unavailable as error:
                logger.warning("shard %d can't see yet what is to be evaluated: %r", self._index, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _all_processes_behind(self, actor: str | None) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        after = ""
        while True:
            page, after = await self._run(
                self._committer.processes_behind, after, limits.PAGE_ENTRIES_MAX, actor
            )
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
            now_ms=clock_ms,
            name=shard_actor(self._index),
        )

    def _heights(self) -> Heights | None:
        """Return the check of heights that a gateway reports; None for the embedded Arweave, which is trusted
        and makes a block for each upload."""
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
        """Run a function in the log's thread. If this shard has a successor, end this OS process."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except StaleTerm:
            logger.critical("shard %d has a successor; this one ends", self._index)
            os._exit(1)

    async def _on_log(self, function: Callable[[Log], Any]) -> Any:
        return await self._run(self._committer.on_log, function)
