"""Pushing: the outboxes of results become signed items, and go the same way in as a client's (design.md §1,
point 4).

Messages to processes of this computer go there from the actor of their sender (`actors.short_way`); of what
else is in outboxes, or is left of them, the actors tell the gateways. What nobody told of, or told a gateway
that died, is found by a scan of the store. A result is marked as pushed once everything of its outbox has
come to its end (`delivery`), in one transaction with the rows that say to which; after a crash before that it
is pushed again, and `courier` says why that is still exactly once.

Processes take turns: one with thousands of outboxes holds up no other, and one over its quota
(`actors.push_quota`) waits in the store.

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
from typing import Literal, Protocol

from aoray import limits
from aoray.actors.deliveries import Deliveries, Delivery, Settlement
from aoray.actors.delivery import Parcel, settlement, untried
from aoray.actors.push_quota import PushQuota
from aoray.actors.results import ResultRow
from aoray.batcher import Batcher, Sleep
from aoray.bounded import Bounded
from aoray.errors import InfrastructureError, MalformedInput, NotFound, RateLimited, Unavailable
from aoray.fair import Fair
from aoray.gateway.courier import Courier
from aoray.gateway.look import Look
from aoray.metrics import Stage
from aoray.scheduler.rules import stopped_error

log = logging.getLogger(__name__)

Reference = tuple[str, int]  # process id, nonce
CameTo = Literal["ended", "waits", "held"]  # for its next attempt, or for the quota of its process
BACKOFF_FIRST_S = 0.2
BEGIN: Reference = ("", -1)  # before all


class Outboxes(Protocol):
    """The part of the results store that pushing needs."""

    deliveries: Deliveries

    def at(self, process_id: str, nonce: int) -> ResultRow | None: ...
    def find(self, process_id: str, name: str) -> ResultRow | None: ...
    def unpushed(self, limit: int, after: Reference) -> Sequence[Reference]: ...


class Pusher:
    def __init__(
        self,
        courier: Courier,
        results: Outboxes,
        is_ours: Callable[[str], bool],
        look: Look,
        quota: PushQuota,
        *,
        sleep: Sleep = asyncio.sleep,
        name: str = "gateway-0",
    ) -> None:
        self.pushed_total = 0
        self.stage = Stage("pushed", name, self.__len__)
        self._courier = courier
        self._results = results
        self._is_ours = is_ours
        self._look = look
        self.quota = quota
        self.stopped: Collection[str] = ()  # processes that the operator stopped
        self._sleep = sleep
        self._waiting: Fair[Reference] = Fair(lambda _: 0)
        self._listed: set[Reference] = set()  # what waits, each once
        self._under_way: dict[Reference, asyncio.Task[None]] = {}
        self._resting = 0  # of those under way: wait for their next attempt, or for Arweave
        self._scanned = BEGIN
        self._settlements: Batcher[Settlement, None] = Batcher(
            self._settle,
            key_of=lambda settlement: settlement.process_id,
            gather_s=limits.PUSH_SETTLE_S,
            sleep=sleep,
        )
        self._handed: Bounded[Reference, ResultRow] = Bounded(
            limits.PUSH_QUEUE_RESULTS_MAX, limits.PUSH_HELD_BYTES_MAX, lambda row: len(row.result)
        )

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def push(self, announced: Iterable[Reference | ResultRow]) -> None:
        """Take note of results with outboxes. Beyond the bound they are left to the next scan.

        One that comes as it is was evaluated just now, and its actor has not tried to push it.
        """
        for each in announced:
            reference = each[0], each[1]
            known = reference in self._under_way or reference in self._listed
            if not known and self._waiting.fits(reference[0], reference, limits.PUSH_QUEUE_RESULTS_MAX, 0):
                self._waiting.put(reference[0], reference)
                self._listed.add(reference)
                if isinstance(each, ResultRow):
                    self._handed[reference] = each
        self._begin()

    async def scan_forever(self) -> None:
        """Find what nobody announced, or had to be left: after a start, and now and then."""
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
            self.push(reference for reference in found if self._is_ours(reference[0]))
            self._scanned = found[-1] if len(found) == limit else BEGIN
            if self._scanned == BEGIN:
                break

    async def push_again(self, process_id: str, any_id: str, index: int) -> Delivery:
        """Push one of a result's outbox again, whatever its state. The result is named by the id of its
        message or assignment, or by its nonce."""
        nonce, parcel, found = await self._look(self._entry, process_id, any_id, index)
        if process_id in self.stopped:
            raise stopped_error(process_id)
        if wait_s := self.quota.held_s(process_id):
            raise RateLimited(
                "the process is over its quota of outbox messages", retry_after_s=math.ceil(wait_s)
            )
        found[index] = after = await self._courier.deliver(parcel, found[index], nullcontext)
        await self._settlements.put(settlement(process_id, nonce, found))
        if after.state == "pending":
            raise Unavailable(after.error, hint="It will be tried again.")
        if after.state == "dead":
            raise Unavailable(after.error, hint="It is tried by hand only: push it again later.")
        if after.state == "skipped":
            raise MalformedInput(after.error, field="outbox")
        return after

    def _entry(self, process_id: str, any_id: str, index: int) -> tuple[int, Parcel, list[Delivery]]:
        """One of a result's outbox: the slot, what it is, and how far all of that outbox is."""
        self._courier.sender(process_id)
        row = self._results.find(process_id, any_id)
        if row is None:
            raise NotFound(f"no result of {any_id[:60]}", process_id=process_id)
        found = self.outbox_of(row)
        if not 0 <= index < len(found):
            raise NotFound(f"its outbox has no message {index}", process_id=process_id, messages=len(found))
        return row.nonce, self._courier.parcels(row)[index], found

    def outbox_of(self, row: ResultRow) -> list[Delivery]:
        """How far everything of a result's outbox is."""
        known = self._results.deliveries.of(row.process_id, row.nonce)
        if known or row.pushed:
            return known
        return [self._courier.untried(row, parcel) for parcel in self._courier.parcels(row)]

    def sent(self, row: ResultRow) -> list[tuple[Delivery, list[tuple[str, str]]]]:
        """`outbox_of`, each with what else it leads to (`Courier.follow_ups`)."""
        deliveries = self.outbox_of(row)
        parcels = self._courier.parcels(row) if deliveries else []
        return [(delivery, self._courier.follow_ups(row, parcels[delivery.place])) for delivery in deliveries]

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
        backoff_s = BACKOFF_FIRST_S
        came_to = await self._push_once(reference, charge=True)
        while came_to == "waits":
            if self._resting >= limits.PUSH_RESTING_RESULTS_MAX:
                return
            with self._aside(Counter()):
                await self._sleep(backoff_s)
            backoff_s = min(2 * backoff_s, limits.PUSH_BACKOFF_MAX_S)
            came_to = await self._push_once(reference, charge=False)
        self.pushed_total += came_to == "ended"

    @contextmanager
    def _aside(self, waits: Counter[str]) -> Iterator[None]:
        """While something of a result waits, another result has its turn; `waits` counts them for it."""
        self._resting += not waits.total()
        waits["now"] += 1
        self._begin()
        try:
            yield
        finally:
            waits["now"] -= 1
            self._resting -= not waits.total()

    async def _push_once(self, reference: Reference, *, charge: bool) -> CameTo:
        """Attempt what of an outbox is pending. It has ended when all has, and that is written."""
        try:
            handed = self._handed.pop(reference)
            row, parcels, before = await self._look(self._read, reference, handed)
            if row is None:
                return "ended"
            if charge and not await self._may_send(reference[0], before):
                return "held"
            after = await self._attempt(parcels, before)
            settled = settlement(*reference, after)
            await self._settlements.put(settled)
        except InfrastructureError as error:
            log.info("the outbox of %s is tried again: %s", reference, error)
            return "waits"
        _report(reference, before, after)
        if settled.done:
            self.stage.done_since([row.timestamp])
        return "ended" if settled.done else "waits"

    async def _may_send(self, process_id: str, before: Sequence[Delivery]) -> bool:
        """Whether the quota of a process has room for what is pending of an outbox."""
        pending = sum(delivery.state == "pending" for delivery in before)
        return self.quota.take(process_id, await self._courier.wallets.of(process_id), pending)

    def _read(
        self, reference: Reference, handed: ResultRow | None
    ) -> tuple[ResultRow | None, list[Parcel], list[Delivery]]:
        """A result that is not pushed yet, its outbox, and how far that is."""
        row = handed or self._results.at(*reference)
        if row is None or row.pushed:
            return None, [], []
        parcels = self._courier.parcels(row)
        known = [] if handed else self._results.deliveries.of(*reference)
        return row, parcels, known or [untried(*reference, parcel) for parcel in parcels]

    async def _attempt(self, parcels: Sequence[Parcel], before: Sequence[Delivery]) -> list[Delivery]:
        after = list(before)
        aside = functools.partial(self._aside, Counter())
        todo = [index for index, delivery in enumerate(before) if delivery.state == "pending"]
        for start in range(0, len(todo), limits.PUSH_SLICE_MESSAGES):
            chosen = todo[start : start + limits.PUSH_SLICE_MESSAGES]
            attempts = (self._courier.deliver(parcels[index], before[index], aside) for index in chosen)
            for index, delivery in zip(chosen, await asyncio.gather(*attempts), strict=True):
                after[index] = delivery
        return after

    async def _settle(self, settlements: list[Settlement]) -> Sequence[None]:
        await asyncio.to_thread(self._results.deliveries.settle, settlements)
        return [None] * len(settlements)


def _report(reference: Reference, before: Sequence[Delivery], after: Sequence[Delivery]) -> None:
    """Say in the log what did not go through."""
    for was, now in zip(before, after, strict=True):
        if now.attempts > was.attempts and now.error:
            level = logging.INFO if now.state == "pending" else logging.WARNING
            log.log(level, "%s %d of the outbox of %s: %s", now.state, now.place, reference, now.error)
