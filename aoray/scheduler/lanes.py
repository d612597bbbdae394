"""Telling the process actors: one lane for each actor, at most one call in flight on it, nothing forgotten.

Where in a message's journey: after the log. An entry is durable by now, so a lost call loses nothing; what
may not happen is that an actor is never told. So a lane keeps either the entry itself (`pending`) or, when
the lane is full or a call failed, the name of its process (`behind`), and the actor reads that process's
entries from the log.

One call at a time keeps the order (Ray's asyncio actors do not), and while it runs the next batch gathers. A
lane asks its actor every few seconds who it is: when Ray has restarted it, or a call fails, the lane
activates every process of that actor that has entries beyond its last result.
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
from aoray.calls import Peer
from aoray.errors import AorayError
from aoray.fair import Fair
from aoray.scheduler.committer import Work, fits

logger = logging.getLogger(__name__)

HEALTH_SECONDS = 2.0
READY_SECONDS_MAX = 30.0  # one that Ray makes just now takes a while
BACKOFF_SECONDS = (0.05, 2.0)  # first and longest wait after a failed call
UNKNOWN = object()  # the incarnation of an actor that has to be asked

Terms = Mapping[str, int]  # process id -> term
LANE_ERRORS = (ray.exceptions.RayError, AorayError, OSError, ValueError)  # ValueError: no actor of that name


class Backlog:
    """What an actor has still to be told; processes take turns. Pure, and bounded by the number of these."""

    def __init__(self) -> None:
        self.pending: Fair[Work] = Fair(lambda work: len(work.entry.item))
        self.behind: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.pending or self.behind)

    def add(self, works: Iterable[Work]) -> None:
        """Take entries, or only note their processes where there is no more room."""
        for work in works:
            process_id = work.entry.process_id
            if self.pending.fits(process_id, work, limits.ACTOR_QUEUE_MESSAGES_MAX, limits.LANE_BYTES_MAX):
                self.pending.put(process_id, work)
            else:
                self.behind[process_id] = work.term

    def take(self) -> list[Work]:
        """The next batch for one call."""
        batch: list[Work] = []
        size = 0
        while self.pending and fits(len(batch), size, self.pending.peek().entry.item):
            work = self.pending.take()
            size += len(work.entry.item)
            batch.append(work)
        return batch

    def take_behind(self) -> dict[str, int]:
        """The next processes for one `activate`."""
        taken = dict(itertools.islice(self.behind.items(), limits.BATCH_MESSAGES_MAX))
        for process_id in taken:
            del self.behind[process_id]
        return taken

    def lost(self, works: Iterable[Work]) -> None:
        """A call failed: from these and from all that waits, only the processes remain."""
        for work in itertools.chain(works, self.pending):
            self.behind[work.entry.process_id] = work.term
        self.pending.clear()


class Lane:
    """Tells one actor. `connect` gives its handle, `lagging` the processes to catch up on."""

    def __init__(
        self,
        name: str,
        connect: Callable[[str], Any],
        lagging: Callable[[str], Awaitable[Terms]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.backlog = Backlog()
        self.failures = 0
        self._connect = connect
        self._lagging = lagging
        self._sleep = sleep
        self._clock = clock
        self._wake = asyncio.Event()
        self._handle: Any = None
        self._peer = Peer(None)
        self._incarnation: Any = UNKNOWN
        self._checked = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def push(self, works: Iterable[Work]) -> None:
        """Queue entries for the actor."""
        self.backlog.add(works)
        self._wake.set()

    def activate(self, terms: Terms) -> None:
        """Queue processes that the actor is to look at."""
        self.backlog.behind.update(terms)
        self._wake.set()

    async def run(self) -> None:
        """Tell the actor, for ever."""
        while True:
            try:
                await self.step()
            except LANE_ERRORS as error:
                await self._failed(error)

    async def step(self) -> None:
        """See that the actor is the one we know, then one call if there is anything to tell; else wait."""
        if self._incarnation is UNKNOWN or self._clock() - self._checked >= HEALTH_SECONDS:
            await self._check()
        if not self.backlog:
            await self._idle()
        if self.backlog.behind:
            await self._activate(self.backlog.take_behind())
        if self.backlog.pending:
            await self._assign(self.backlog.take())
        self.failures = 0

    async def _check(self) -> None:
        """Connect, and catch up when this is an actor that has just (re)started."""
        self._checked = self._clock()
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._connect, self.name)
            self._peer = Peer(self._handle)
        async with asyncio.timeout(READY_SECONDS_MAX):  # one that is frozen does not answer
            incarnation = (await self._handle.ready.remote()).get("incarnation")
        if incarnation != self._incarnation:
            self.backlog.behind.update(await self._lagging(self.name))
        self._incarnation = incarnation

    async def _assign(self, batch: list[Work]) -> None:
        try:
            await self._peer.call("assign", batch)
        except LANE_ERRORS:
            self.backlog.lost(batch)
            raise

    async def _activate(self, terms: Terms) -> None:
        try:
            await self._peer.call("activate", list(terms.items()))
        except LANE_ERRORS:
            self.backlog.behind.update({**terms, **self.backlog.behind})
            raise

    async def _idle(self) -> None:
        """Until there is something to tell, or it is time to look after the actor. One timer for many waits:
        this is done for each batch."""
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(HEALTH_SECONDS, self._rings)
        self._wake.clear()
        await self._wake.wait()

    def _rings(self) -> None:
        self._alarm = None
        self._wake.set()

    async def _failed(self, error: Exception) -> None:
        """Ask anew who is there. The handle stays while it can: Ray ends an actor that nobody holds."""
        self._incarnation = UNKNOWN
        if isinstance(error, ray.exceptions.ActorDiedError):
            self._handle = None
        self.failures += 1
        first, longest = BACKOFF_SECONDS
        logger.warning("process actor %s was not told (%d times): %r", self.name, self.failures, error)
        await self._sleep(min(longest, first * 2 ** min(self.failures - 1, 10)))
