"""Waiting for results: who asked for which, and those that arrived a moment ago.

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
from aoray.batcher import Batcher
from aoray.bounded import Bounded
from aoray.calls import Call
from aoray.errors import InfrastructureError
from aoray.gateway.places import Places
from aoray.gateway.pressure import Key, Pressure

log = logging.getLogger(__name__)

Delivery = tuple[str, str, bytes]
Stored = Callable[[], Awaitable[bytes | None]]


class Waiting:
    def __init__(
        self, name: str, call: Call, places: Places, *, rewatch_s: float = limits.RESULT_REWATCH_S
    ) -> None:
        self._name = name
        self.calls_total = 0
        self.deliveries_total = 0
        self._call = call
        self._places = places
        self._rewatch_s = rewatch_s
        self._fresh: Bounded[Key, bytes] = Bounded(
            limits.FRESH_RESULTS_MAX, limits.FRESH_RESULTS_BYTES_MAX, len
        )
        self.pressure = Pressure()
        self._waiters: dict[Key, set[asyncio.Future[bytes]]] = {}
        self._watches: Bounded[str, Batcher[Key, None]] = Bounded(limits.PROCESSES_KNOWN_MAX)

    def __len__(self) -> int:
        return len(self._waiters)

    def fresh(self, process_id: str, message_id: str) -> bytes | None:
        return self._fresh.get((process_id, message_id))

    def expect(self, key: Key, actor: str) -> None:
        """This result comes unasked, if it is not here: its message came in by this gateway just now."""
        if key not in self._fresh:
            self.pressure.accepted(key, actor, time.monotonic())

    def refuses(self, process_id: str) -> bool:
        """Whether the results of this process, or of its actor, are too late for one more message."""
        actor, now_s = self._places.known(process_id), time.monotonic()
        return self.pressure.refuses(process_id, actor, now_s) or self.pressure.stands_still(
            process_id, actor, now_s
        )

    def waiter(self, key: Key) -> asyncio.Future[bytes]:
        """The result, once it is delivered; `forget` it otherwise."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        return waiter

    def deliver(self, results: Sequence[Delivery]) -> None:
        self.deliveries_total += 1
        self.pressure.delivered([(process_id, id) for process_id, id, _ in results], time.monotonic())
        for process_id, message_id, result in results:
            key = process_id, message_id
            self._fresh[key] = result
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
        """The result of a message, or None after `timeout_s`, or sooner if who asked is gone.

        `stored` looks into the store. One that is expected comes unasked, unless it is `overdue`: waited for
        in vain already.
        """
        waiter = self.waiter(key)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._wait(key, waiter, stored, is_gone, key in self.pressure and not overdue)
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
        afresh = False
        while True:
            if not expected:
                await self._watch(key, afresh)
            expected = False
            done, _ = await asyncio.wait([waiter], timeout=self._rewatch_s)
            found = waiter.result() if done else await stored()
            if found is not None or await is_gone():
                return found
            afresh = True

    async def _watch(self, key: Key, afresh: bool) -> None:
        """Ask the process's actor for the result. A failure is no loss: it is asked again in a moment."""
        try:
            actor = await self._places.actor(key[0], afresh=afresh)
            self._batcher(actor).put(key).add_done_callback(_note_failure)
        except InfrastructureError as error:
            log.info("the watch on %s is tried again: %s", key, error)

    def _batcher(self, actor: str) -> Batcher[Key, None]:
        batcher = self._watches.get(actor)
        if batcher is None:
            batcher = self._watches[actor] = Batcher(
                self._watcher(actor), key_of=lambda key: key[0], patience_s=0
            )
        return batcher

    def _watcher(self, actor: str) -> Callable[[list[Key]], Awaitable[Sequence[None]]]:
        async def watch(keys: list[Key]) -> Sequence[None]:
            self.calls_total += 1
            await self._call(actor, "watch", keys, self._name)
            return [None] * len(keys)

        return watch

    def forget(self, key: Key, waiter: asyncio.Future[bytes]) -> None:
        waiters = self._waiters.get(key)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[key]


def _note_failure(watch: asyncio.Future[None]) -> None:
    if not watch.cancelled() and (error := watch.exception()):
        log.info("a watch is tried again: %s", error)
