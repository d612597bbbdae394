"""What this gateway knows of each message between its order and its result: its receipt, who waits for it,
how late it is, and the result that arrived a moment ago.

A `GET /result` that finds nothing yet registers here and asks the process actor to `watch` (unless the
message came in through this gateway: then the shard told the actor whom to tell); the actor answers with
`deliver`, which wakes everyone who waits. Both may be lost when an actor dies, so while
somebody waits the store is looked at and the actor asked again every `limits.RESULT_REWATCH_S`. Watches are
batched for each actor.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from aoray import limits
from aoray.cluster.calls import Call
from aoray.contracts.gateway import ResultDelivery
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.contracts.shard import Receipt, Submission
from aoray.errors import InfrastructureError
from aoray.gateway.core.locations import ProcessLocations
from aoray.gateway.core.pressure import Backpressure, Key
from aoray.util.batcher import Batcher
from aoray.util.bounded_dict import BoundedDict

log = logging.getLogger(__name__)

Stored = Callable[[], Awaitable[bytes | None]]


class PendingResults:
    """The messages of one gateway between order and result: receipts, lags, waiters."""

    def __init__(
        self,
        name: str,
        call: Call,
        locations: ProcessLocations,
        *,
        rewatch_s: float = limits.RESULT_REWATCH_S,
    ) -> None:
        self._name = name
        self.calls_total = 0
        self.deliveries_total = 0
        self._call = call
        self._locations = locations
        self._rewatch_s = rewatch_s
        self.receipts: BoundedDict[Key, Receipt] = BoundedDict(limits.RECEIPTS_MAX)
        self.fresh: BoundedDict[Key, bytes] = BoundedDict(
            limits.FRESH_RESULTS_MAX, limits.FRESH_RESULTS_BYTES_MAX, len
        )
        self.backpressure = Backpressure()
        self._waiters: dict[Key, set[asyncio.Future[bytes]]] = {}
        self._watches: BoundedDict[str, Batcher[Key, None]] = BoundedDict(limits.PROCESSES_KNOWN_MAX)

    def __len__(self) -> int:
        return len(self._waiters)

    def ordered(self, submission: Submission, receipt: Receipt) -> None:
        """Note a message that a shard ordered. Its result comes unasked, if this gateway is to be told.

        One that was ordered before has been told of already, perhaps to another gateway.
        """
        key = receipt.process_id, receipt.message_id
        self.receipts[key] = receipt
        if submission.gateway and receipt.is_new and self.fresh.get(key) is None:
            self.backpressure.accepted(key, receipt.actor, time.monotonic())
        if receipt.actor and receipt.actor != self._locations.get(receipt.process_id):
            self._locations.set(receipt.process_id, receipt.actor)

    def waiter(self, key: Key) -> asyncio.Future[bytes]:
        """Return a future of the result; `forget` it if it is not delivered."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        return waiter

    def deliver(self, results: Sequence[ResultDelivery]) -> None:
        """Take results that an actor delivers, and wake everyone who waits for one of them."""
        self.deliveries_total += 1
        self.backpressure.delivered([(process_id, id) for process_id, id, _ in results], time.monotonic())
        for process_id, message_id, result in results:
            key = process_id, message_id
            self.fresh[key] = result
            for waiter in self._waiters.pop(key, ()):
                if not waiter.done():
                    waiter.set_result(result)

    async def result(
        self,
        key: Key,
        stored: Stored,
        timeout_s: float,
        is_gone: Callable[[], Awaitable[bool]],
        *,
        overdue: bool = False,
    ) -> bytes | None:
        """Wait for the result of a message; None after `timeout_s`, or sooner if the caller is gone.

        `stored` looks into the store. One that is expected comes unasked, unless it is `overdue`: waited for
        in vain already.
        """
        waiter = self.waiter(key)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._wait(
                    key, waiter, stored, is_gone, key in self.backpressure and not overdue
                )
        except TimeoutError:
            return await stored()
        finally:
            self.forget(key, waiter)

    async def _wait(
        self,
        key: Key,
        waiter: asyncio.Future[bytes],
        stored: Stored,
        is_gone: Callable[[], Awaitable[bool]],
        expected: bool,
    ) -> bytes | None:
        refresh = False
        while True:
            if not expected:
                await self._subscribe(key, refresh)
            expected = False
            done, _ = await asyncio.wait([waiter], timeout=self._rewatch_s)
            found = waiter.result() if done else await stored()
            if found is not None or await is_gone():
                return found
            refresh = True

    async def _subscribe(self, key: Key, refresh: bool) -> None:
        """Ask the process's actor for the result. A failure is not a loss: it is asked again in a moment."""
        try:
            actor = await self._locations.actor(key[0], refresh=refresh)
            self._batcher(actor).put(key, key[0]).add_done_callback(_note_failure)
        except InfrastructureError as error:
            log.info("the watch on %s is tried again: %s", key, error)

    def _batcher(self, actor: str) -> Batcher[Key, None]:
        batcher = self._watches.get(actor)
        if batcher is None:
            batcher = self._watches[actor] = Batcher(self._watcher(actor), patience_s=0)
        return batcher

    def _watcher(self, actor: str) -> Callable[[list[Key]], Awaitable[Sequence[None]]]:
        caller = ProcessActorCaller(self._call, actor)

        async def watch(keys: list[Key]) -> Sequence[None]:
            self.calls_total += 1
            await caller.watch(keys, self._name)
            return [None] * len(keys)

        return watch

    def forget(self, key: Key, waiter: asyncio.Future[bytes]) -> None:
        """Remove a waiter that is no longer needed."""
        waiters = self._waiters.get(key)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[key]


def _note_failure(watch: asyncio.Future[None]) -> None:
    if not watch.cancelled() and (error := watch.exception()):
        log.info("a watch is tried again: %s", error)
