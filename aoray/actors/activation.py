"""Activation: processes that came here get their instances, many in one hop of each thread.

Between a shard's call and evaluation. What is to be activated waits in one queue; what the loop takes from
it is prepared together (the items that spawned the processes came with their work, or are read from the log
in one hop) and begun together (`Evaluation.begin`: one transaction for all their terms). So a spawn costs an
instance, and hardly anything beside it. Modules that are not loaded are fetched and compiled in threads.

Invariants: one loop, so an activation is begun once. A long batch ends with a slice's time: messages that
wait for the evaluating thread have their turn, then the rest is begun.

On failure: what an activation came to is told to `ended`, one by one: a fault of one process is not that of
another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from aoray import limits
from aoray.actors.evaluation import Started, StartRequest
from aoray.actors.planner import Activate, EvaluationPlanner
from aoray.errors import AorayError, Unavailable, UnknownEngine, UnknownProcess
from aoray.execution.loader import Loader, SpawnedProcess, spawned_process
from aoray.util.tasks import SupervisedTasks
from aoray.vm.registry import PreparedProgram

logger = logging.getLogger(__name__)

StartOutcome = Started | Exception


class PendingActivation(NamedTuple):
    """An activation, and what the instance is made of once that is known."""

    effect: Activate
    prepared: PreparedProgram | None = None


class ActivationIO(Protocol):
    """The work of an activation that other threads do."""

    def spawned(self, process_ids: Sequence[str]) -> Awaitable[Sequence[SpawnedProcess | None]]:
        """Return the spawn of each process; None for one that the log does not have."""

    def begin(self, batch: Sequence[StartRequest]) -> Awaitable[Sequence[StartOutcome]]:
        """Start a batch of processes on the evaluating thread; an outcome for each."""

    def ended(self, effect: Activate, term: int, outcome: StartOutcome) -> None:
        """Note how the activation of a process ended."""


class Activation:
    """The queue of activations of one process actor. For its event loop."""

    def __init__(
        self, planner: EvaluationPlanner, loader: Loader, io: ActivationIO, tasks: SupervisedTasks
    ) -> None:
        self._planner = planner
        self._loader = loader
        self._io = io
        self._tasks = tasks
        self._queue: deque[PendingActivation] = deque()
        self._running = False

    def put(self, effect: Activate) -> None:
        """Queue an activation."""
        self._put(PendingActivation(effect))

    def _put(self, waiting: PendingActivation) -> None:
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

    async def _activate(self, batch: Sequence[PendingActivation]) -> None:
        known = [waiting for waiting in batch if waiting.prepared]
        known += await self._prepare([waiting.effect for waiting in batch if not waiting.prepared])
        requests, ready = list[StartRequest](), list[PendingActivation]()
        for waiting in known:
            process = self._planner.current(*waiting.effect[:2])
            if process is not None and waiting.prepared is not None:
                ready.append(waiting)
                requests.append(StartRequest(process.process_id, process.term, waiting.prepared))
        if not ready:
            return
        try:
            outcomes = await self._io.begin(requests)
        except Exception as error:  # a fault in aoray: nothing of the batch was begun
            logger.exception("%d processes do not begin", len(ready))
            outcomes = [error] * len(ready)
        self._queue.extendleft(reversed(ready[len(outcomes) :]))  # there was no more time
        for waiting, request, outcome in zip(ready, requests, outcomes, strict=False):
            self._io.ended(waiting.effect, request.term, outcome)

    async def _prepare(self, effects: Sequence[Activate]) -> list[PendingActivation]:
        """Return the activations whose modules are loaded; the others are queued once theirs are."""
        items: dict[Activate, SpawnedProcess | None] = {}
        for effect in effects:
            process = self._planner.current(*effect[:2])
            if process is not None:
                first = process.pending.get(0)
                items[effect] = spawned_process(first)
        if missing := [effect for effect, item in items.items() if item is None]:
            items.update(await self._read(missing))
        ready = []
        for effect, item in items.items():
            if item is not None:
                prepared = self._ready(effect.process_id, item)
                if prepared is None:
                    self._tasks.start(self._load(effect, item))
                else:
                    ready.append(PendingActivation(effect, prepared))
        return ready

    def _ready(self, process_id: str, item: SpawnedProcess) -> PreparedProgram | None:
        try:
            return self._loader.ready(process_id, item)
        except UnknownEngine:  # of this process alone: it is told when its module is to be loaded
            return None

    async def _read(self, effects: Sequence[Activate]) -> dict[Activate, SpawnedProcess | None]:
        """The items of processes from the log; None of those that ended here."""
        try:
            found = await self._io.spawned([effect.process_id for effect in effects])
        except Exception as error:
            logger.exception("%d processes can't be looked up", len(effects))
            for effect in effects:
                self._io.ended(effect, 0, error)
            return dict.fromkeys(effects)
        for effect, item in zip(effects, found, strict=True):
            if item is None:
                self._io.ended(
                    effect,
                    0,
                    UnknownProcess(
                        f"no process {effect.process_id} in the log", process_id=effect.process_id
                    ),
                )
        return dict(zip(effects, found, strict=True))

    async def _load(self, effect: Activate, item: SpawnedProcess) -> None:
        """Fetch and compile its module, which may take long."""
        try:
            prepared = await self._loader.prepared(effect.process_id, item)
        except Exception as error:
            logger.exception("the module of %s can't be loaded", effect.process_id)
            self._io.ended(effect, 0, error)
        else:
            self._put(PendingActivation(effect, prepared))


def log_fault(done: Future[object]) -> None:
    """Log the exception of a future that nobody waits for, if it has one."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("a fault on the evaluating thread: %r", error, exc_info=error)


def not_here(process_id: str) -> AorayError:
    """Return the error for a call about a process that this actor does not hold."""
    return Unavailable(
        f"process {process_id} is not on this actor", process_id=process_id, hint="It is being placed."
    )
