"""Pushing: the outboxes of results become signed items, and go the same way in as a client's (design.md §1,
point 4).

Actors announce results with outboxes; what nobody announced, or was announced to a gateway that died, is
found by a scan of the store. A result is marked as pushed once every item of it is accepted, so after a
crash it is pushed again, whole: items are signed deterministically, so they are the same, and the scheduler
takes an id once. That makes push exactly once.

On failure: a shard or Arweave that is away is tried again until it takes the item. An entry that can never
be accepted (a module that is not there, too many tags) is logged and left out; it does not hold up the
rest. Targets that are no process are wallets: their message is uploaded to Arweave, and the chain ends
there.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

import orjson

from aoray import limits
from aoray.actors.results import ResultRow
from aoray.errors import ClientError, InfrastructureError, NotFound, UnknownProcess
from aoray.gateway.batcher import Batcher, Sleep
from aoray.gateway.ingress import Ingress
from aoray.gateway.knowledge import Arweave, Knowledge
from aoray.gateway.push import (
    EMPTY_DATA,
    AssignmentSpec,
    MessageSpec,
    Outbox,
    Sender,
    SpawnSpec,
    outbox,
    success_tags,
)
from aoray.protocol.items import build
from aoray.protocol.keys import Signer
from aoray.protocol.tags import ao_tag
from aoray.scheduler.rules import Receipt, Submission

log = logging.getLogger(__name__)

Reference = tuple[str, int]  # process id, nonce
BACKOFF_FIRST_S = 0.2


class Outboxes(Protocol):
    """The part of the results store that pushing needs."""

    def at(self, process_id: str, nonce: int) -> ResultRow | None: ...
    def get(self, process_id: str, any_id: str) -> ResultRow | None: ...
    def unpushed(self, limit: int) -> Sequence[Reference]: ...
    def mark_pushed(self, references: Sequence[Reference]) -> None: ...


class Pusher:
    def __init__(
        self,
        ingress: Ingress,
        knowledge: Knowledge,
        arweave: Arweave,
        results: Outboxes,
        signer: Signer,
        is_ours: Callable[[str], bool],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.pushed_total = 0
        self._ingress = ingress
        self._knowledge = knowledge
        self._arweave = arweave
        self._results = results
        self._signer = signer
        self._is_ours = is_ours
        self._sleep = sleep
        self._waiting: dict[Reference, None] = {}  # in order, each once
        self._under_way: dict[Reference, asyncio.Task[None]] = {}
        self._marks: Batcher[Reference, None] = Batcher(self._mark)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def push(self, references: Iterable[Reference]) -> None:
        """Take note of results with outboxes. Beyond the bound they are left to the next scan."""
        for reference in references:
            if len(self._waiting) >= limits.PUSH_QUEUE_RESULTS_MAX:
                break
            if reference not in self._under_way:
                self._waiting[reference] = None
        self._begin()

    async def scan_forever(self) -> None:
        """Find what nobody announced: after a start, and now and then."""
        while True:
            try:
                found = await asyncio.to_thread(self._results.unpushed, limits.PUSH_QUEUE_RESULTS_MAX)
                self.push(reference for reference in found if self._is_ours(reference[0]))
            except InfrastructureError as error:
                log.warning("the scan for outboxes is tried again: %s", error)
            await self._sleep(limits.PUSH_SCAN_S)

    async def push_again(self, process_id: str, any_id: str, number: int) -> None:
        """Push one message of a result again, by its place in the outbox."""
        sender = self._sender(process_id)
        row = self._results.get(process_id, any_id)
        if row is None:
            raise NotFound(f"no result of {any_id[:60]}", process_id=process_id)
        found = _outbox(row, sender).messages
        chosen = [spec for spec in found if spec.place == number]
        if not chosen:
            raise NotFound(f"its outbox has no message {number}", process_id=process_id, messages=len(found))
        await self._send_message(chosen[0])

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) < limits.PUSHES_IN_FLIGHT_MAX:
            reference = next(iter(self._waiting))
            del self._waiting[reference]
            push = self._under_way[reference] = asyncio.create_task(self._push(reference))
            push.add_done_callback(functools.partial(self._ended, reference))

    def _ended(self, reference: Reference, push: asyncio.Task[None]) -> None:
        del self._under_way[reference]
        if not push.cancelled() and (error := push.exception()):
            log.error("the outbox of %s failed; the next scan finds it again", reference, exc_info=error)
        self._begin()

    async def _push(self, reference: Reference) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                await self._push_once(reference)
                await self._marks.put(reference)
            except InfrastructureError as error:
                log.info("the outbox of %s is tried again: %s", reference, error)
            else:
                self.pushed_total += 1
                return
            await self._sleep(backoff_s)
            backoff_s = min(2 * backoff_s, limits.PUSH_BACKOFF_MAX_S)

    async def _push_once(self, reference: Reference) -> None:
        row = self._results.at(*reference)
        if row is None or row.pushed:
            return
        sender = self._sender(row.process_id)
        box = _outbox(row, sender)
        for fault in box.faults:
            log.warning("left out of the outbox of %s: %s", reference, fault)
        sendings: list[Coroutine[Any, Any, object]] = [
            *(self._send_message(spec) for spec in box.messages),
            *(self._send_spawn(spec, sender) for spec in box.spawns),
            *(self._send_assignment(spec) for spec in box.assignments),
        ]
        await _all_accepted(reference, sendings)

    async def _send_message(self, spec: MessageSpec) -> None:
        item = build(self._signer, target=spec.target, anchor=spec.anchor, tags=spec.tags, data=spec.data)
        try:
            await self._ingress.submit(Submission("message", spec.target, item.id, item.raw))
        except UnknownProcess:
            await self._arweave.post_item(item.raw)
        for process_id in spec.assign_to:
            await self._ingress.submit(Submission("assignment", process_id, item.id, item.raw))

    async def _send_spawn(self, spec: SpawnSpec, sender: Sender) -> None:
        process = build(self._signer, tags=spec.tags, data=spec.data)
        await self._ingress.spawn(process)
        success = build(
            self._signer,
            target=sender.process_id,
            tags=success_tags(spec, sender, process.id),
            data=EMPTY_DATA,
        )
        await self._ingress.submit(Submission("message", sender.process_id, success.id, success.raw))

    async def _send_assignment(self, spec: AssignmentSpec) -> Receipt:
        return await self._ingress.assign(spec.process_id, spec.message_id, spec.exclude)

    def _sender(self, process_id: str) -> Sender:
        tags = self._knowledge.process(process_id).tags
        return Sender(process_id, ao_tag(tags, "Module", ""), ao_tag(tags, "Scheduler", ""))

    async def _mark(self, references: list[Reference]) -> Sequence[None]:
        await asyncio.to_thread(self._results.mark_pushed, references)
        return [None] * len(references)


def _outbox(row: ResultRow, sender: Sender) -> Outbox:
    return outbox(orjson.loads(row.result), sender, row.nonce, row.pushed_for)


async def _all_accepted(reference: Reference, sendings: Sequence[Awaitable[object]]) -> None:
    """Wait for all. What can never be accepted is left out; what may be later is raised, and tried again."""
    outcomes: list[object] = []
    for start in range(0, len(sendings), limits.PUSH_SLICE_MESSAGES):
        slice = sendings[start : start + limits.PUSH_SLICE_MESSAGES]
        outcomes += await asyncio.gather(*slice, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, ClientError):
            log.warning("left out of the outbox of %s: %s", reference, outcome)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ClientError):
            raise outcome
