"""The process actor: a Ray actor that holds many processes' instances, and evaluates their messages.

Where in a message's journey: after the log. A shard's dispatcher calls `assign` with entries that are
durable, or `activate` with processes to look after; the results go to the store, and to the gateways that
`watch`; what they send, to the shards directly, or to the gateways that push. One event loop takes calls and
drives the machine (order), one thread evaluates, another reads the log and the store. Processes that are idle
for long, or too many, hibernate: a checkpoint is taken, their instances go, and whatever is asked wakes them.

Invariants: the machine is touched by the event loop alone, instances by the evaluating thread alone. A
lost, repeated or reordered call changes nothing: nonces decide, and the log fills gaps. A watch is
registered before the store is looked at, so no result falls between.

On failure: killed at any moment, the actor begins empty; its dispatchers see another `incarnation` and
activate what lags behind, and gateways watch again. A fault in aoray in a process's activation or evaluation
is logged, and the process made again from the log after a growing wait, forever; that other infrastructure is
down is never a result. If the evaluating loop itself ends, so does this OS process, and Ray starts another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import orjson

from aoray import limits
from aoray.actors.activation import Activation, StartOutcome, log_fault, not_here
from aoray.actors.dependencies import Dependencies, dependencies_of, open_checkpoints
from aoray.actors.direct_push import DirectPush
from aoray.actors.evaluation import Evaluation, Slice, Started, StartRequest, diverged
from aoray.actors.gateway_notifier import GatewayNotifier
from aoray.actors.planner import Activate, Close, Effect, EvaluationPlanner, Hibernate, Process, Read
from aoray.actors.residency import Residency
from aoray.actors.standing import Standing
from aoray.cluster import nodes
from aoray.cluster.calls import wire_host
from aoray.cluster.names import actor_label
from aoray.cluster.rpc import RpcAddress, RpcServer
from aoray.errors import AorayError, ClientError, Diverged, StaleTerm, Unavailable, UnknownProcess
from aoray.execution.loader import SpawnedProcess, spawned_process
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import is_id
from aoray.protocol.signed import SignedMessage
from aoray.settings import Settings
from aoray.storage.checkpoints import sweep_later
from aoray.storage.factory import open_results
from aoray.storage.key_files import load_key
from aoray.storage.records import ResultRow
from aoray.storage.results import checkpoint_wal_forever
from aoray.util import heap, log_setup
from aoray.util.backoff import Backoff
from aoray.util.metrics import ExportsMetrics, StageMetrics
from aoray.util.tasks import SupervisedTasks
from aoray.vm.interface import Limits

logger = logging.getLogger(__name__)

NICENESS = 5  # beside shards and gateways: however much guests compute, messages are ordered and answers sent
SWITCH_SECONDS = 0.001  # as in a shard: the evaluating thread must not keep the event loop waiting
ACTIVATION_BACKOFF = Backoff(0.1, limits.ACTIVATION_BACKOFF_SECONDS_MAX)
T = TypeVar("T")
Key = tuple[str, str]  # process id, message id


class ProcessActor(ExportsMetrics):
    """The Ray actor that evaluates processes."""

    def __init__(self, settings: Settings, name: str, parts: Dependencies | None = None) -> None:
        log_setup.begin(settings.log_level)
        sys.setswitchinterval(SWITCH_SECONDS)
        heap.prepare(limits.COLLECT_AFTER)
        if parts is None:  # in a process of its own
            os.nice(NICENESS)
        self.name = name
        self._settings = settings = nodes.localized_settings(settings)
        self._wire = RpcServer(self, wire_host(settings))
        self._incarnation = secrets.token_hex(8)
        self._log, self._results, self._loader, call, built_in = parts or dependencies_of(settings)
        self._planner = EvaluationPlanner()
        messenger = load_key(settings, "authority").address
        self._evaluation = Evaluation(open_results(settings), open_checkpoints(settings), messenger)
        self._residency = Residency(
            processes_max=settings.resident_processes_max,
            idle_seconds_max=settings.idle_seconds_max,
            bytes_max=settings.resident_bytes_max or nodes.memory_bytes(settings),
        )
        self._evaluation.long.bytes_max = self._residency.bytes_max
        self._asked: Counter[str] = Counter()  # processes whose state somebody is waiting for
        self._notifier = GatewayNotifier(call, settings.gateways)
        self._evaluating = ThreadPoolExecutor(1, thread_name_prefix="evaluating")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._tasks = SupervisedTasks(name)
        self._activation = Activation(self._planner, self._loader, self, self._tasks)
        self._watchers: dict[Key, set[str]] = {}
        self._catching_up: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._dry_running = asyncio.Lock()
        self._dry_runs: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._long_dry_running = asyncio.Semaphore(limits.LONG_DRY_RUNS_MAX)
        self._wake = asyncio.Event()
        self._direct_push = DirectPush(
            name, settings, call, self._results, self._reading, self.items, self._notifier.push, self._tasks
        )
        self.counted = (
            StageMetrics("evaluated", actor_label(name), lambda: self._planner.queued),
            self._direct_push.stage,
        )
        self._standing = Standing(time.monotonic)
        self._counts = dict.fromkeys(("replayed", "slices", "faults", "fenced", "dry_runs"), 0)
        self._tasks.start(self._evaluate_forever())
        self._tasks.start(self._hibernate_forever())
        self._tasks.start(self._retry_resting_forever())
        self._tasks.start(sweep_later(partial(open_checkpoints, settings)))
        self._tasks.start(checkpoint_wal_forever(self._results, lambda: self.counted[0].total))
        self._tasks.start(self.export_forever())
        self._tasks.start(heap.give_back_forever())
        if built_in:
            self._tasks.start(self._warm(built_in))

    # What others call

    async def wire(self) -> RpcAddress:
        """Return the address where other actors call this one without Ray."""
        return await self._wire.address()

    async def ready(self) -> dict[str, Any]:
        """Answer once the actor accepts work."""
        waiting = {"waiting": len(self._standing)}
        return {"actor": self.name, "incarnation": self._incarnation, **waiting, **nodes.actor_identity()}

    async def standing(self, process_ids: list[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return which of these processes (or of all) wait for this machine, for what, and how long."""
        return self._standing.shown(process_ids)

    async def stats(self) -> dict[str, Any]:
        """Return counters for people and metrics."""
        return {
            "actor": self.name,
            "processes": len(self._planner.processes),
            "live": sum(process.live for process in self._planner.processes.values()),
            "asleep": len(self._planner.hibernated),
            "checkpoints": self._evaluation.checkpoints_written,
            "restored": self._evaluation.checkpoints_used,
            "queued": self._planner.queued,
            "resident_bytes": self._residency.bytes,
            "resident_bytes_max": self._residency.bytes_max,
            "evicted": self._residency.evicted_total,
            "long": len(self._evaluation.long),
            "long_waiting": self._evaluation.long.waiting,
            "watches": len(self._watchers),
            "cron_lag_ms": self._evaluation.cron_lags.summary(),
            "evaluated": self.counted[0].total,
            "waiting": len(self._standing),
            "diverged": len(self._planner.halted),
            **self._counts,
        }

    async def assign(self, works: list[tuple[int, LogEntry, str]]) -> None:
        """Take entries to evaluate, the terms in which their shard holds the processes, and the gateways
        to notify."""
        late = []
        for _, entry, gateway in works:
            if gateway:
                self._watched_by(gateway, key := (entry.process_id, entry.message_id))
                process = self._planner.processes.get(entry.process_id)
                has_been_here = entry.nonce > 0 or entry.process_id in self._planner.hibernated
                if entry.nonce < process.next_nonce if process else has_been_here:
                    late.append(key)  # perhaps read from the log before
        self._apply(self._planner.assign((term, entry) for term, entry, _ in works))
        if late:
            await self._tell_stored(late)

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        """Take processes to look after: their logs may hold entries that never arrived here."""
        for process_id, term in terms:
            self._apply(self._planner.activate(process_id, term))

    async def watch(self, keys: list[Key], gateway: str) -> None:
        """Deliver results to this gateway, once they are there."""
        again = [key for key in keys if gateway in self._watchers.get(key, ())]
        for key in keys:
            self._watched_by(gateway, key)
        await self._tell_stored(keys)
        # It takes long: was a call lost? (A nonce may be that of a slot that is still to come.)
        for process_id in {process_id for process_id, any_id in again if is_id(any_id)}:
            self._apply(self._planner.recheck_log(process_id))

    async def dry_run(self, process_id: str, message: dict[str, Any], ticket: str = "") -> dict[str, Any]:
        """Return the result of a message on the present state of a process, of which nothing stays. With
        a `ticket` it may be dropped."""
        running = asyncio.ensure_future(self._present_dry_run(process_id, message))
        self._dry_runs[ticket] = running
        try:
            return await running
        except asyncio.CancelledError:
            if not running.cancelled():  # the caller was, and not what it waits for
                running.cancel()
                raise
            raise ClientError("the dry run was dropped: nobody waits for it") from None
        finally:
            self._dry_runs.pop(ticket, None)

    async def drop_dry_run(self, ticket: str) -> None:
        """Drop a dry run that nobody waits for any more: if it has not begun, it never does."""
        if (running := self._dry_runs.get(ticket)) is not None:
            running.cancel()

    async def _present_dry_run(self, process_id: str, message: dict[str, Any]) -> dict[str, Any]:
        self._counts["dry_runs"] += 1
        async with self._present(process_id):
            process = self._planner.processes.get(process_id)
            try:
                result = await self._dry_run(process_id, message)
            except ClientError:
                raise
            except Exception as error:
                if process is not None:  # its instance may still hold what the dry run did
                    self._fail(process_id, process.generation, error)
                raise
        return dict(orjson.loads(result))

    async def _dry_run(self, process_id: str, message: dict[str, Any]) -> bytes:
        async with self._dry_running:  # one at a time: messages have their turn
            result = await self._on(self._evaluating, self._evaluation.dry_run, process_id, message)
        if result is not None:
            return result
        async with self._long_dry_running:
            sliced = await self._on(self._evaluating, self._evaluation.start_dry_run, process_id, message)
            try:
                while result is None:
                    result = await self._on(self._evaluating, self._evaluation.step_dry_run, sliced)
            finally:  # also when nobody waits for it any longer
                self._submit(sliced.close)
        return result

    async def progress(self, process_id: str) -> dict[str, Any] | None:
        """Return how far the message is that a process evaluates in slices; None if there is none."""
        return self._evaluation.long.progress(process_id)

    async def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """Return the memory of a process, with the nonce, timestamp and block height of its last message."""
        async with self._present(process_id):
            return await self._on(self._evaluating, self._evaluation.memory, process_id)

    @asynccontextmanager
    async def _present(self, process_id: str) -> AsyncIterator[None]:
        """Here, awake, and caught up with the log; and not let go of meanwhile.

        Not for longer than the gateway waits: what it asked for would else pile up behind a process that
        takes long.
        """
        self._asked[process_id] += 1
        try:
            async with asyncio.timeout(limits.PRESENT_SECONDS_MAX):
                await self._catch_up(process_id)
                yield
        except TimeoutError as error:
            raise Unavailable(
                f"process {process_id} was not placed on this actor in time",
                process_id=process_id,
                hint="Try again.",
            ) from error
        finally:
            self._asked[process_id] -= 1
            if not self._asked[process_id]:
                del self._asked[process_id]
            if process_id in self._planner.processes:
                self._residency.used(process_id, time.monotonic())

    # The evaluating loop

    async def _evaluate_forever(self) -> None:
        while True:
            turns = self._planner.plan(
                entries_max=limits.SLICE_ENTRIES_MAX,
                entries_per_process_max=limits.SLICE_ENTRIES_PER_PROCESS_MAX,
            )
            if turns:
                self._finish(await self._on(self._evaluating, self._evaluation.run, turns))
            if self._evaluation.long.messages:
                seconds = limits.LONG_SLICE_SECONDS if turns else limits.SLICE_SECONDS
                self._finish(await self._on(self._evaluating, self._evaluation.step, seconds))
            elif not turns:
                self._wake.clear()
                await self._wake.wait()

    def _finish(self, done: Slice) -> None:
        """A slice is evaluated and written: tell whom it concerns, and go on."""
        self._counts["slices"] += 1
        self._counts["replayed"] += done.replayed
        self.counted[0].done_since(row.timestamp for row in done.rows)
        for row in done.rows:
            self._tell_watchers(row)
            if not row.pushed:
                self._direct_push.push(row)
        for process_id, term in done.fenced:
            self._counts["fenced"] += 1
            self._apply(self._planner.fenced(process_id, term))
        for process_id, seconds in done.seconds.items():
            self._planner.charge(process_id, seconds)
        for process_id, (generation, nonce) in done.progress.items():
            self._apply(self._planner.evaluated(process_id, generation, nonce))
            self._used(process_id)
        for process_id, generation in done.long:
            self._planner.long(process_id, generation)
            self._tasks.start(self._own(process_id))
        for process_id in done.weighed:
            self._weigh(process_id)
        for process_id, generation, error in done.failed:
            self._fail(process_id, generation, error)
        for process_id in done.diverged:
            self._halt(process_id)
        self._let_go()

    async def _own(self, process_id: str) -> None:
        """Say whose the long message of a process is: it begins then."""
        owner = ""  # while the log can't be read; all such share one owner's places
        try:
            owner = await self._direct_push.wallets.of(process_id)
        except AorayError as error:
            logger.warning("whose process %s is, is not known just now: %s", process_id, error)
        finally:
            self._submit(self._evaluation.long.owned, process_id, owner)

    def _fail(self, process_id: str, generation: int, error: Exception) -> None:
        """A fault of this machine: the process waits, and is tried again. Those that can't start are not
        all kept in memory for that: a stranger may have any number of them."""
        self._counts["faults"] += 1
        self._standing.failed(process_id, error)
        process = self._planner.current(process_id, generation)
        starting = process is not None and not process.live and process_id not in self._catching_up
        if starting and len(self._standing) > limits.ACTIVATIONS_RETRIED_MAX:
            self._apply(self._planner.rest(process_id))
        else:
            self._apply(self._planner.failed(process_id, generation))

    def _retry_resting(self, count: int) -> None:
        """Start processes again that could not start and are kept as terms, those first that were tried
        longest ago."""
        resting = (each for each in self._standing.waits if each in self._planner.hibernated)
        for process_id in list(islice(resting, count)):
            self._apply(self._planner.recheck_log(process_id))

    async def _retry_resting_forever(self) -> None:
        while True:
            await asyncio.sleep(limits.ACTIVATION_BACKOFF_SECONDS_MAX)
            self._retry_resting(limits.ACTIVATIONS_RETRIED_MAX)

    def _halt(self, process_id: str) -> None:
        """Its results differ: nothing of it is evaluated any more."""
        self._standing.recovered(process_id)
        self._apply(self._planner.halt(process_id))

    # Effects of the machine

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Activate):
                if effect.attempt:
                    self._tasks.start(self._activate_again(effect))
                else:
                    self._activation.put(effect)
            elif isinstance(effect, Read):
                self._tasks.start(self._read(effect))
            elif isinstance(effect, Hibernate):
                self._residency.gone(effect.process_id)
                self._submit(self._evaluation.hibernate, *effect)
            else:
                self._close(effect)
        self._wake.set()

    # The hops of an activation

    async def spawned(self, process_ids: Sequence[str]) -> Sequence[SpawnedProcess | None]:
        """Return nonce 0 of these processes, from the log."""
        records = await self._on(self._reading, lambda: [self._log.process(each) for each in process_ids])
        return [spawned_process(each) for each in records]

    async def items(self, process_ids: Sequence[str]) -> Sequence[SignedMessage | None]:
        """Return the items that spawned these processes, from the log."""
        return [each.message if each else None for each in await self.spawned(process_ids)]

    async def begin(self, batch: Sequence[StartRequest]) -> Sequence[StartOutcome]:
        """Start processes, in the thread that evaluates."""
        return await self._on(self._evaluating, self._evaluation.begin, batch)

    def ended(self, effect: Activate, term: int, outcome: StartOutcome) -> None:
        """Note the outcome of an activation."""
        process_id, generation, _ = effect
        if isinstance(outcome, Started):
            self._apply(self._planner.activated(process_id, generation, *outcome))
            self._used(process_id)
            self._weigh(process_id)
        elif isinstance(outcome, StaleTerm):
            self._apply(self._planner.fenced(process_id, term))
        elif isinstance(outcome, UnknownProcess):
            logger.warning("process %s is not in the log", process_id)
            self._apply(self._planner.drop(process_id))
        elif isinstance(outcome, Diverged):
            self._halt(process_id)
        else:  # a fault of this machine, or of the gateway: never the process's result; tried again
            self._fail(process_id, generation, outcome)

    async def _activate_again(self, effect: Activate) -> None:
        await asyncio.sleep(ACTIVATION_BACKOFF.after(effect.attempt))
        self._activation.put(effect)

    async def _warm(self, wasm: bytes) -> None:
        """Have the boot image of the built-in module before its first process comes."""
        try:
            program = await asyncio.to_thread(self._loader.load, wasm)
            instance = await self._on(self._evaluating, program.boot, Limits())
            self._submit(instance.close)
        except AorayError as error:  # whoever needs it finds that out for himself
            logger.warning("the built-in module is not ready yet: %s", error)

    async def _read(self, effect: Read) -> None:
        """A page of the log, however often it takes."""
        process_id, generation, after_nonce, count = effect
        attempt = 0
        while self._planner.current(process_id, generation) is not None:
            try:
                page = await self._on(self._reading, self._log.entries, process_id, after_nonce, count)
            except Unavailable as error:
                attempt += 1
                self._standing.failed(process_id, error)
                logger.warning("the log of %s can't be read (%d times): %s", process_id, attempt, error)
                await asyncio.sleep(ACTIVATION_BACKOFF.after(attempt))
            else:
                self._apply(self._planner.read(process_id, generation, page, more=page.more))
                return

    def _close(self, effect: Close) -> None:
        """After whatever the evaluating thread has yet to do, and before whatever comes."""
        self._residency.gone(effect.process_id)
        self._submit(self._evaluation.close, effect.process_id)
        if effect.process_id not in self._planner.processes:
            for _, waiter in self._catching_up.pop(effect.process_id, ()):
                if not waiter.done():
                    waiter.set_exception(not_here(effect.process_id))

    # Watchers, and those who want the present state

    def _watched_by(self, gateway: str, key: Key) -> None:
        self._watchers.setdefault(key, set()).add(gateway)
        while len(self._watchers) > limits.WATCHES_MAX:
            self._watchers.pop(next(iter(self._watchers)))

    async def _tell_stored(self, keys: Sequence[Key]) -> None:
        for row in await self._on(self._reading, lambda: [self._results.find(*key) for key in keys]):
            if row is not None:
                self._tell_watchers(row)

    def _tell_watchers(self, row: ResultRow) -> None:
        for any_id in {row.message_id, row.assignment_id, str(row.nonce)}:
            for gateway in self._watchers.pop((row.process_id, any_id), ()):
                self._notifier.deliver(gateway, row.process_id, any_id, row.result)

    async def _catch_up(self, process_id: str) -> None:
        """Wait until all that is in the log by now is evaluated."""
        if process_id in self._planner.halted:
            found = await self._on(self._reading, self._results.diverged)
            raise diverged(found[process_id])
        if process_id in self._planner.hibernated:
            self._apply(self._planner.recheck_log(process_id))
        latest = await self._on(self._reading, self._log.latest, process_id)
        process = self._planner.processes.get(process_id)
        if process is None or latest is None:
            raise not_here(process_id)
        if process.next_nonce > latest.nonce:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = latest.nonce, waiter
        self._catching_up.setdefault(process_id, []).append(waiting)
        self._apply(self._planner.recheck_log(process_id))
        try:
            await waiter
        finally:
            if waiting in (waiters := self._catching_up.get(process_id, [])):  # who waited is gone
                waiters.remove(waiting)

    def _caught_up(self, process: Process, waiters: Iterable[tuple[int, asyncio.Future[None]]]) -> None:
        for nonce, waiter in waiters:
            if nonce >= process.next_nonce:
                self._catching_up.setdefault(process.process_id, []).append((nonce, waiter))
            elif not waiter.done():  # who waited may be gone
                waiter.set_result(None)

    # Who stays in memory

    def _used(self, process_id: str) -> None:
        process = self._planner.processes.get(process_id)
        if process is not None:
            self._residency.used(process_id, time.monotonic())
            if process_id in self._catching_up:
                self._caught_up(process, self._catching_up.pop(process_id))
            if process_id in self._standing.waits and (process.idle or not process.attempt):
                self._standing.recovered(process_id)
                self._retry_resting(2)  # what kept it may be over for the others too

    def _weigh(self, process_id: str) -> None:
        resident = self._evaluation.residents.get(process_id)
        if resident is not None and process_id in self._planner.processes:
            self._residency.weighs(process_id, resident.bytes)

    def _let_go(self) -> bool:
        """Let those hibernate whose time it is; whether there were any."""
        leaving = self._residency.leaving(time.monotonic(), self._may_go)
        for process_id in leaving:
            self._apply(self._planner.hibernate(process_id))
        return bool(leaving)

    def _may_go(self, process_id: str) -> bool:
        return process_id not in self._asked and self._planner.is_idle(process_id)

    async def _hibernate_forever(self) -> None:
        """Also when no slice follows; few at a time, so that messages come in between."""
        while True:
            await asyncio.sleep(limits.HIBERNATION_SCAN_SECONDS)
            while self._let_go() | await self._compact_idle():
                pass
            await self._on(self._evaluating, self._evaluation.trim_heap)

    async def _compact_idle(self) -> bool:
        rested = await self._on(self._evaluating, self._evaluation.compact)
        for process_id in rested:
            self._weigh(process_id)
        return bool(rested)

    # Threads and tasks

    async def _on(self, executor: Executor, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    def _submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """For the evaluating thread, in order; nobody waits for it."""
        self._evaluating.submit(function, *arguments).add_done_callback(log_fault)

    async def close(self) -> None:
        """Release everything (for tests; a real actor is killed)."""
        self._evaluation.closing.set()
        await self._tasks.cancel()
        await self._on(self._evaluating, self._evaluation.close_all)
        self._evaluating.shutdown()
        self._reading.shutdown()
        self._results.close()
        self._log.close()
