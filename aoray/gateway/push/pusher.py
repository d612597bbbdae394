"""Pushing: the outboxes of results become signed items, and go the same way in as a client's.

Messages to processes of this computer go there from the actor of their sender (`actors.direct_push`); of what
else is in outboxes, or is left of them, the actors tell the gateways. What nobody told of, or told a gateway
that died, is found by a scan of the store. A result is marked as pushed once everything of its outbox has
come to its end (`outbox/attempts`), in one transaction with the rows that say to which; after a crash before
that it is pushed again, and `deliverer` says why that is still exactly once.

Processes take turns: one with thousands of outboxes holds up no other, and one over its quota
(`outbox.push_quota`) waits in the store. Attempts that failed since Arweave does not show a module or a
message are charged to that quota too: whoever sends thousands of those has Arweave asked no more often.

On failure: what is away is tried again with backoff, for as long as it takes if it is ours. A result that
waits, for its next attempt or for Arweave to answer, does not hold up the others; beyond a bound those that
wait are left to the scan, which goes through all of the store, round after round. An entry that can never be
accepted is skipped, with the reason in its row; it does not hold up the rest.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal, NamedTuple, Protocol

from aoray import limits
from aoray.cluster.names import gateway_actor
from aoray.contracts.gateway import Reference
from aoray.contracts.shard import stopped_error
from aoray.errors import InfrastructureError, MalformedInput, NotFound, RateLimited, Unavailable
from aoray.gateway.core.store_executor import StoreExecutor
from aoray.gateway.push.deliverer import OutboxDeliverer
from aoray.outbox.attempts import OutboxEntry, new_delivery, settlement
from aoray.outbox.push_quota import PushQuota
from aoray.storage.deliveries import Deliveries
from aoray.storage.records import Delivery, ResultRow, Settlement
from aoray.util.backoff import Backoff
from aoray.util.batcher import Batcher, Sleep
from aoray.util.bounded_dict import BoundedDict
from aoray.util.fair_queue import FairQueue
from aoray.util.metrics import StageMetrics

log = logging.getLogger(__name__)

CameTo = Literal["ended", "waits", "held"]  # for its next attempt, or for the quota of its process


class Round(NamedTuple):
    """The outcome of attempts at an outbox, and how many of them need what Arweave does not show."""

    came_to: CameTo
    absent: int = 0


BACKOFF = Backoff(0.2, limits.PUSH_BACKOFF_MAX_S)
BEGIN: Reference = ("", -1)  # before all


class Outboxes(Protocol):
    """The part of the results store that pushing needs."""

    deliveries: Deliveries

    def at(self, process_id: str, nonce: int) -> ResultRow | None:
        """Return the result of a slot; None if it is not stored."""

    def find(self, process_id: str, name: str) -> ResultRow | None:
        """Return the result of a slot, by its nonce or by the id of its message or assignment."""

    def unpushed(self, limit: int, after: Reference) -> Sequence[Reference]:
        """Return up to `limit` results that still have entries to push, in order, those after `after`."""


class Pusher:
    """The queue of results whose outboxes are to be pushed, with bounds and turns for all processes of a
    gateway."""

    def __init__(
        self,
        deliverer: OutboxDeliverer,
        results: Outboxes,
        owns: Callable[[str], bool],
        look: StoreExecutor,
        quota: PushQuota,
        *,
        sleep: Sleep = asyncio.sleep,
        name: str = gateway_actor(0),
    ) -> None:
        self.pushed_total = 0
        self.stage = StageMetrics("pushed", name, self.__len__)
        self._deliverer = deliverer
        self._results = results
        self._owns = owns
        self._look = look
        self.quota = quota
        self.stopped: Collection[str] = ()  # processes that the operator stopped
        self._sleep = sleep
        self._waiting: FairQueue[Reference] = FairQueue()
        self._listed: set[Reference] = set()  # what waits, each once
        self._under_way: dict[Reference, asyncio.Task[None]] = {}
        self._resting = 0  # of those under way: wait for their next attempt, or for Arweave
        self._scanned = BEGIN
        self._settlements: Batcher[Settlement, None] = Batcher(
            self._settle, gather_s=limits.PUSH_SETTLE_S, sleep=sleep
        )
        self._handed: BoundedDict[Reference, ResultRow] = BoundedDict(
            limits.PUSH_QUEUE_RESULTS_MAX, limits.PUSH_HELD_BYTES_MAX, lambda row: len(row.result)
        )

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def push(self, announced: Iterable[Reference | ResultRow]) -> None:
        """Note results with outboxes that are to be pushed. Beyond the bound they are left to the next
        scan.

        One that comes as it is was evaluated just now, and its actor has not tried to push it.
        """
        for each in announced:
            reference = each[0], each[1]
            known = reference in self._under_way or reference in self._listed
            if not known and self._waiting.put(
                reference[0], reference, 0, count_max=limits.PUSH_QUEUE_RESULTS_MAX, bytes_max=0
            ):
                self._listed.add(reference)
                if isinstance(each, ResultRow):
                    self._handed[reference] = each
        self._begin()

    async def scan_forever(self) -> None:
        """Find outboxes that nobody announced, or that had to wait: after a start, and now and then."""
        while True:
            try:
                await self._scan()
            except InfrastructureError as error:
                log.warning("the scan for outboxes is tried again: %s", error)
            await self._sleep(limits.PUSH_SCAN_S)

    async def _scan(self) -> None:
        """Go on in the store until its end, or until there is enough to do; the next scan goes on there."""
        while len(self._waiting) < limits.PUSH_QUEUE_RESULTS_MAX:
            limit = limits.PAGE_ENTRIES_MAX
            found = await asyncio.to_thread(self._results.unpushed, limit, self._scanned)
            self.push(reference for reference in found if self._owns(reference[0]))
            self._scanned = found[-1] if len(found) == limit else BEGIN
            if self._scanned == BEGIN:
                break

    async def push_again(self, process_id: str, any_id: str, index: int) -> Delivery:
        """Push one message of a result's outbox again, whatever its state. The result is named by the id
        of its message or assignment, or by its nonce."""
        nonce, entry, found = await self._look(self._entry, process_id, any_id, index)
        if process_id in self.stopped:
            raise stopped_error(process_id)
        if wait_s := self.quota.held_s(process_id):
            raise RateLimited(
                "the process is over its quota of outbox messages", retry_after_s=math.ceil(wait_s)
            )
        after, _ = await self._deliverer.deliver(entry, found[index], nullcontext)
        found[index] = after
        await self._settlements.put(settlement(process_id, nonce, found), process_id)
        if after.state == "pending":
            raise Unavailable(after.error, hint="It will be tried again.")
        if after.state == "dead":
            raise Unavailable(after.error, hint="It is tried by hand only: push it again later.")
        if after.state == "skipped":
            raise MalformedInput(after.error, field="outbox")
        return after

    def _entry(self, process_id: str, any_id: str, index: int) -> tuple[int, OutboxEntry, list[Delivery]]:
        """One of a result's outbox: the slot, what it is, and how far all of that outbox is."""
        self._deliverer.sender(process_id)
        row = self._results.find(process_id, any_id)
        if row is None:
            raise NotFound(f"no result of {any_id[:60]!r}", process_id=process_id)
        found = self.outbox_of(row)
        if not 0 <= index < len(found):
            raise NotFound(
                f"the outbox of slot {row.nonce} has no message {index}",
                process_id=process_id,
                nonce=row.nonce,
                messages=len(found),
            )
        return row.nonce, self._deliverer.entries(row)[index], found

    def outbox_of(self, row: ResultRow) -> list[Delivery]:
        """Return the deliveries of a result's outbox."""
        known = self._results.deliveries.of(row.process_id, row.nonce)
        if known or row.pushed:
            return known
        return [self._deliverer.new_delivery(row, entry) for entry in self._deliverer.entries(row)]

    def sent(self, row: ResultRow) -> list[tuple[Delivery, list[tuple[str, str]]]]:
        """Return the deliveries of a result's outbox, each with its follow-ups
        (`OutboxDeliverer.follow_ups`)."""
        deliveries = self.outbox_of(row)
        entries = self._deliverer.entries(row) if deliveries else []
        return [
            (delivery, self._deliverer.follow_ups(row, entries[delivery.place])) for delivery in deliveries
        ]

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) - self._resting < limits.PUSHES_IN_FLIGHT_MAX:
            reference = self._waiting.take()
            self._listed.remove(reference)
            push = self._under_way[reference] = asyncio.create_task(self._push(reference))
            push.add_done_callback(functools.partial(self._ended, reference))

    def _ended(self, reference: Reference, push: asyncio.Task[None]) -> None:
        del self._under_way[reference]
        if not push.cancelled() and (error := push.exception()):
            log.error("the outbox of %s failed; the next scan finds it again", reference, exc_info=error)
        self._begin()

    async def _push(self, reference: Reference) -> None:
        if reference[0] in self.stopped or self.quota.held_s(reference[0]):
            return  # a scan comes back to it, here and below
        rounds = 1
        came_to, absent = await self._push_once(reference, None)
        while came_to == "waits":
            if self._resting >= limits.PUSH_RESTING_RESULTS_MAX:
                return
            with self._release_slot(Counter()):
                await self._sleep(BACKOFF.after(rounds))
            rounds += 1
            came_to, absent = await self._push_once(reference, absent)
        self.pushed_total += came_to == "ended"

    @contextmanager
    def _release_slot(self, waits: Counter[str]) -> Iterator[None]:
        """While something of a result waits, another result has its turn; `waits` counts them for it."""
        self._resting += not waits.total()
        waits["now"] += 1
        self._begin()
        try:
            yield
        finally:
            waits["now"] -= 1
            self._resting -= not waits.total()

    async def _push_once(self, reference: Reference, charge: int | None) -> Round:
        """Attempt what of an outbox is pending. It has ended when all has, and that is written. `charge`: how
        many messages the quota is asked for; None: all that are pending."""
        try:
            handed = self._handed.pop(reference)
            row, entries, before = await self._look(self._read, reference, handed)
            if row is None:
                return Round("ended")
            count = _pending(before) if charge is None else charge
            if count and not await self._may_send(reference[0], count):
                return Round("held")
            after, absent = await self._attempt(entries, before)
            settled = settlement(*reference, after)
            await self._settlements.put(settled, reference[0])
        except InfrastructureError as error:
            log.info("the outbox of %s is tried again: %s", reference, error)
            return Round("waits", charge or 0)
        _report(reference, before, after)
        if settled.done:
            self.stage.done_since([row.timestamp])
        return Round("ended" if settled.done else "waits", absent)

    async def _may_send(self, process_id: str, count: int) -> bool:
        """Whether the quota of a process has room for so many messages."""
        return self.quota.take(process_id, await self._deliverer.wallets.of(process_id), count)

    def _read(
        self, reference: Reference, handed: ResultRow | None
    ) -> tuple[ResultRow | None, list[OutboxEntry], list[Delivery]]:
        """A result that is not pushed yet, its outbox, and how far that is."""
        row = handed or self._results.at(*reference)
        if row is None or row.pushed:
            return None, [], []
        entries = self._deliverer.entries(row)
        known = [] if handed else self._results.deliveries.of(*reference)
        return row, entries, known or [new_delivery(*reference, entry) for entry in entries]

    async def _attempt(
        self, entries: Sequence[OutboxEntry], before: Sequence[Delivery]
    ) -> tuple[list[Delivery], int]:
        """One attempt at all that is pending; and for how many Arweave does not show what they need."""
        after, absent = list(before), 0
        release_slot = functools.partial(self._release_slot, Counter())
        todo = [index for index, delivery in enumerate(before) if delivery.state == "pending"]
        for start in range(0, len(todo), limits.PUSH_SLICE_MESSAGES):
            chosen = todo[start : start + limits.PUSH_SLICE_MESSAGES]
            attempts = (
                self._deliverer.deliver(entries[index], before[index], release_slot) for index in chosen
            )
            for index, attempted in zip(chosen, await asyncio.gather(*attempts), strict=True):
                after[index] = attempted.delivery
                absent += attempted.absent
        return after, absent

    async def _settle(self, settlements: list[Settlement]) -> Sequence[None]:
        await asyncio.to_thread(self._results.deliveries.settle, settlements)
        return [None] * len(settlements)


def _pending(deliveries: Sequence[Delivery]) -> int:
    return sum(delivery.state == "pending" for delivery in deliveries)


def _report(reference: Reference, before: Sequence[Delivery], after: Sequence[Delivery]) -> None:
    """Say in the log what did not go through."""
    for was, now in zip(before, after, strict=True):
        if now.attempts > was.attempts and now.error:
            level = logging.INFO if now.state == "pending" else logging.WARNING
            log.log(level, "%s %d of the outbox of %s: %s", now.state, now.place, reference, now.error)
