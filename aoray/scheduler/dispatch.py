"""Dispatch: tells the process actors what to evaluate, with one dispatcher for each actor.

Where in a message's journey: after the log. The entry is durable by now, so a lost call loses nothing, but
each actor must be told in the end. A dispatcher keeps the entry itself (`pending`), or, if its queue is full
or a call failed, the id of the process (`behind`); the actor then reads the entries of this process from the
log.

A dispatcher has at most one call in flight. This keeps the order, which Ray's asyncio actors do not, and lets
the next batch gather. Every few seconds the dispatcher asks its actor for its incarnation. If Ray has
restarted the actor, or a call fails, the dispatcher activates every process of this actor that has entries
after its last result.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import ray.exceptions

from aoray import limits
from aoray.cluster.calls import Peer
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.contracts.shard import Work
from aoray.errors import AorayError
from aoray.util.backoff import Backoff
from aoray.util.fair_queue import FairQueue

logger = logging.getLogger(__name__)

HEALTH_SECONDS = 2.0
BACKOFF = Backoff(0.05, 2.0)  # after a failed call
UNKNOWN = object()  # the incarnation of an actor that must be checked first

Terms = Mapping[str, int]  # process id -> term
DISPATCH_ERRORS = (
    ray.exceptions.RayError,
    AorayError,
    OSError,
    ValueError,
)  # ValueError: no actor of that name


class DispatchQueue:
    """What an actor has not been told yet. Processes take turns. Pure; its size is bounded by
    ACTOR_QUEUE_MESSAGES_MAX and the number of processes."""

    def __init__(self) -> None:
        self.pending: FairQueue[Work] = FairQueue()
        self.behind: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.pending.count or self.behind)

    def add(self, works: Iterable[Work]) -> None:
        """Queue entries; of entries for which there is no room, keep only the process id."""
        for work in works:
            process_id = work.entry.process_id
            if not self.pending.put(
                process_id,
                work,
                len(work.entry.item),
                count_max=limits.ACTOR_QUEUE_MESSAGES_MAX,
                bytes_max=limits.DISPATCH_QUEUE_BYTES_MAX,
            ):
                self.behind[process_id] = work.term

    def take(self) -> list[Work]:
        """Take the next batch of entries for one call."""
        return self.pending.take_batch(limits.BATCH_MESSAGES_MAX, limits.BATCH_BYTES_MAX)

    def take_behind(self) -> dict[str, int]:
        """Take the next processes, with their terms, for one call of `activate`."""
        taken = dict(itertools.islice(self.behind.items(), limits.BATCH_MESSAGES_MAX))
        for process_id in taken:
            del self.behind[process_id]
        return taken

    def lost(self, works: Iterable[Work]) -> None:
        """Reduce these entries, whose call failed, and all queued entries to the ids of their processes."""
        for work in itertools.chain(works, self.pending):
            self.behind[work.entry.process_id] = work.term
        self.pending.clear()


class ActorDispatcher:
    """The dispatcher of one actor. `connect` returns the actor's handle, `processes_behind` the processes
    with entries that it must catch up on."""

    def __init__(
        self,
        name: str,
        connect: Callable[[str], Any],
        processes_behind: Callable[[str], Awaitable[Terms]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.queue = DispatchQueue()
        self.failures = 0
        self._connect = connect
        self._processes_behind = processes_behind
        self._sleep = sleep
        self._clock = clock
        self._wake = asyncio.Event()
        self._handle: Any = None
        self._actor = ProcessActorCaller(Peer(None), name)
        self._incarnation: Any = UNKNOWN
        self._checked = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def push(self, works: Iterable[Work]) -> None:
        """Queue entries for the actor."""
        self.queue.add(works)
        self._wake.set()

    def activate(self, terms: Terms) -> None:
        """Queue processes (id to term) whose log the actor should check for new entries."""
        self.queue.behind.update(terms)
        self._wake.set()

    async def run(self) -> None:
        """Tell the actor what is queued, forever."""
        while True:
            try:
                await self.step()
            except DISPATCH_ERRORS as error:
                await self._failed(error)

    async def step(self) -> None:
        """Check the actor if that is due, then make one call if something is queued, or else wait."""
        if self._incarnation is UNKNOWN or self._clock() - self._checked >= HEALTH_SECONDS:
            await self._check()
        if not self.queue:
            await self._idle()
        if self.queue.behind:
            await self._activate(self.queue.take_behind())
        if self.queue.pending.count:
            await self._assign(self.queue.take())
        self.failures = 0

    async def _check(self) -> None:
        """Connect, and if the actor has (re)started, queue the processes that it must catch up on."""
        self._checked = self._clock()
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._connect, self.name)
            self._actor = ProcessActorCaller(Peer(self._handle), self.name)
        async with asyncio.timeout(limits.ACTOR_READY_SECONDS_MAX):  # a frozen actor does not answer
            incarnation = (await self._handle.ready.remote()).get("incarnation")
        if incarnation != self._incarnation:
            self.queue.behind.update(await self._processes_behind(self.name))
        self._incarnation = incarnation

    async def _assign(self, batch: list[Work]) -> None:
        try:
            await self._actor.assign(batch)
        except DISPATCH_ERRORS:
            self.queue.lost(batch)
            raise

    async def _activate(self, terms: Terms) -> None:
        try:
            await self._actor.activate(list(terms.items()))
        except DISPATCH_ERRORS:
            self.queue.behind.update({**terms, **self.queue.behind})
            raise

    async def _idle(self) -> None:
        """Wait until something is queued or the actor is to be checked. One timer serves many waits, since
        this runs for each batch."""
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(HEALTH_SECONDS, self._rings)
        self._wake.clear()
        await self._wake.wait()

    def _rings(self) -> None:
        self._alarm = None
        self._wake.set()

    async def _failed(self, error: Exception) -> None:
        """Wait before the next attempt, and check the actor first then. The handle is kept unless the actor
        died: Ray ends an actor that has no handles."""
        self._incarnation = UNKNOWN
        if isinstance(error, ray.exceptions.ActorDiedError):
            self._handle = None
        self.failures += 1
        logger.warning("process actor %s was not told (%d times): %r", self.name, self.failures, error)
        await self._sleep(BACKOFF.after(self.failures))
