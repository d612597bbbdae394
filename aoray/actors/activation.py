"""Activation: processes that came here get their instances, many in one hop of each thread.

Between a shard's call and evaluation. What is to be activated waits in one queue; what the loop takes from
it is prepared together (the items that spawned the processes came with their work, or are read from the log
in one hop) and begun together (`Evaluation.begin`: one transaction for all their terms). So a spawn costs an
instance, and hardly anything beside it. Modules that are not loaded are fetched and compiled aside.

Invariants: one loop, so an activation is begun once. A long batch ends with a slice's time: messages that
wait for the evaluating thread have their turn, then the rest is begun.

On failure: what an activation came to is told to `ended`, one by one: a fault of one process is not that of
another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol

from aoray import limits
from aoray.actors.evaluation import Beginning, Begun, Prepared
from aoray.actors.loading import Loader, Spawned
from aoray.actors.machine import Activate, Machine
from aoray.errors import UnknownEngine, UnknownProcess
from aoray.tasks import Tasks

logger = logging.getLogger(__name__)

Outcome = Begun | Exception


class Waiting(NamedTuple):
    """An activation, and what the instance is made of, once that is known."""

    effect: Activate
    prepared: Prepared | None = None


class Hops(Protocol):
    """What is done in other threads."""

    def spawned(self, process_ids: Sequence[str]) -> Awaitable[Sequence[Spawned | None]]: ...
    def begin(self, batch: Sequence[Beginning]) -> Awaitable[Sequence[Outcome]]: ...
    def ended(self, effect: Activate, term: int, outcome: Outcome) -> None: ...


class Activation:
    """The queue of one process actor. For its event loop."""

    def __init__(self, machine: Machine, loader: Loader, hops: Hops, tasks: Tasks) -> None:
        self._machine = machine
        self._loader = loader
        self._hops = hops
        self._tasks = tasks
        self._queue: deque[Waiting] = deque()
        self._running = False

    def put(self, effect: Activate) -> None:
        """Activate this, soon."""
        self._put(Waiting(effect))

    def _put(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        if not self._running:
            self._running = True
            self._tasks.start(self._run())

    async def _run(self) -> None:
        try:
            while self._queue:
                count = min(len(self._queue), limits.ACTIVATIONS_AT_ONCE_MAX)
                await self._activate([self._queue.popleft() for _ in range(count)])
        finally:
            self._running = False

    async def _activate(self, batch: Sequence[Waiting]) -> None:
        known = [waiting for waiting in batch if waiting.prepared]
        known += await self._prepare([waiting.effect for waiting in batch if not waiting.prepared])
        beginnings, ready = list[Beginning](), list[Waiting]()
        for waiting in known:
            process = self._machine.current(*waiting.effect[:2])
            if process is not None and waiting.prepared is not None:
                ready.append(waiting)
                beginnings.append(Beginning(process.process_id, process.term, waiting.prepared))
        if not ready:
            return
        try:
            outcomes = await self._hops.begin(beginnings)
        except Exception as error:  # a fault of ours: nothing of the batch was begun
            logger.exception("%d processes do not begin", len(ready))
            outcomes = [error] * len(ready)
        self._queue.extendleft(reversed(ready[len(outcomes) :]))  # there was no more time
        for waiting, beginning, outcome in zip(ready, beginnings, outcomes, strict=False):
            self._hops.ended(waiting.effect, beginning.term, outcome)

    async def _prepare(self, effects: Sequence[Activate]) -> list[Waiting]:
        """Those whose modules are loaded; the others come when they are."""
        items: dict[Activate, Spawned | None] = {}
        for effect in effects:
            process = self._machine.current(*effect[:2])
            if process is not None:
                first = process.pending.get(0)
                items[effect] = Spawned(first.item, first.assignment) if first else None
        if missing := [effect for effect, item in items.items() if item is None]:
            items.update(await self._read(missing))
        ready = []
        for effect, item in items.items():
            if item is not None:
                prepared = self._ready(effect.process_id, item)
                if prepared is None:
                    self._tasks.start(self._load(effect, item))
                else:
                    ready.append(Waiting(effect, prepared))
        return ready

    def _ready(self, process_id: str, item: Spawned) -> Prepared | None:
        try:
            return self._loader.ready(process_id, item)
        except UnknownEngine:  # of this process alone: it is told when its module is to be loaded
            return None

    async def _read(self, effects: Sequence[Activate]) -> dict[Activate, Spawned | None]:
        """The items of processes from the log; None of those that ended here."""
        try:
            found = await self._hops.spawned([effect.process_id for effect in effects])
        except Exception as error:
            logger.exception("%d processes can't be looked up", len(effects))
            for effect in effects:
                self._hops.ended(effect, 0, error)
            return dict.fromkeys(effects)
        for effect, item in zip(effects, found, strict=True):
            if item is None:
                self._hops.ended(effect, 0, UnknownProcess("not in the log", process=effect.process_id))
        return dict(zip(effects, found, strict=True))

    async def _load(self, effect: Activate, item: Spawned) -> None:
        """Fetch and compile its module, which may take long."""
        try:
            prepared = await self._loader.prepared(effect.process_id, item)
        except Exception as error:
            logger.exception("the module of %s can't be loaded", effect.process_id)
            self._hops.ended(effect, 0, error)
        else:
            self._put(Waiting(effect, prepared))
