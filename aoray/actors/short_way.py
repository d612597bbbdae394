"""The short way from process to process: from the actor that evaluated a message straight to the shard of its
target, with no messenger in between (issue 4, point 3).

Where in a message's journey: after a slice is written, before the gateway's push. What an outbox holds of
messages to processes of this computer goes this way; they are made by the same rules (`push`) and signed with
the same key as the messenger's, so a message is the same item whichever way it goes.

Invariants: nothing leaves before its result is written, and a shard answers when the message is durable; an
id is scheduled once, so what goes twice, or both ways, arrives once. One outbox is sent after the other, so
messages to one target keep the order of the log, unless some have to go the long way: outboxes that are large
or too many at once, and what a shard refused. What became of each message is written as the messenger does.

On failure nothing is repeated here. What is pending after one attempt (as is what goes to wallets, spawns,
and assignments) is left to the messenger, which is told; so is all that an error or a bound keeps from going.
What was under way when the actor died is found by the messenger's scan (`limits.PUSH_SCAN_S`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import orjson

from aoray import limits
from aoray.actors.couriers import Announced
from aoray.actors.deliveries import Settlement
from aoray.actors.delivery import Attempt, Parcel, attempted, named, parcels, settlement, signed, untried
from aoray.actors.push import MessageSpec, Sender, outbox, sender_of
from aoray.actors.push_quota import PushQuota
from aoray.actors.results import ResultRow, Results
from aoray.batcher import Batcher
from aoray.bounded import Bounded
from aoray.calls import Call
from aoray.errors import AorayError, ClientError, Overloaded
from aoray.keyfiles import load_key
from aoray.metrics import Stage
from aoray.protocol.items import DataItem, parse
from aoray.protocol.spawn_chain import RootWallets
from aoray.scheduler.reader import shard_of
from aoray.scheduler.rules import Receipt, Submission, turn_of
from aoray.settings import Settings
from aoray.tasks import Tasks

logger = logging.getLogger(__name__)

DELIVERED = Attempt("delivered")
Items = Mapping[int, DataItem]  # by place in the outbox


class ShortWay:
    """That of one actor; in its event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        call: Call,
        results: Results,
        writing: Executor,
        items: Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]],
        long_way: Callable[[Announced], None],
        tasks: Tasks,
    ) -> None:
        """`writing`: the thread that writes deliveries. `items`: those that spawned processes. `long_way`:
        have the messenger push it; a row is what nobody has tried yet."""
        self.stage = Stage("pushed", name, lambda: len(self._queue) + self._under_way)
        self._signer = load_key(settings, "authority")
        self._results = results
        self._items = items
        self._writing = writing
        self._long_way = long_way
        self._tasks = tasks
        self.quota = PushQuota(settings)
        self._wallets = RootWallets(self._signer.address, self._item)
        self._queue: deque[ResultRow] = deque()
        self._sending = False
        self._under_way = 0  # outboxes
        self._processes: Bounded[str, Sender] = Bounded(limits.SENDERS_KNOWN_MAX)
        self._no_processes: Bounded[str, float] = Bounded(limits.SENDERS_KNOWN_MAX)  # until when
        self._shards = [
            Batcher[Submission, Receipt](
                partial(call, f"shard-{index}", "submit"),
                size_of=lambda submission: len(submission.item),
                key_of=turn_of,
                patience_s=0,
            )
            for index in range(settings.shards)
        ]
        self._settlements: Batcher[Settlement, None] = Batcher(
            self._settle, key_of=lambda settled: settled.process_id, gather_s=limits.PUSH_SETTLE_S
        )

    def push(self, row: ResultRow) -> None:
        """Send the outbox of a result that was written just now."""
        if self.quota.held_s(row.process_id):
            return
        full = len(self._queue) + self._under_way >= limits.SHORT_WAY_RESULTS_MAX
        if full or len(row.result) > limits.PUSH_HANDED_BYTES_MAX:
            self._long_way(row)
            return
        self._queue.append(row)
        if not self._sending:
            self._sending = True
            self._tasks.start(self._send_all())

    async def _send_all(self) -> None:
        while self._queue:
            row = self._queue.popleft()
            try:
                await self._send(row)
            except AorayError as error:
                logger.info("slot %d of %s goes the long way: %s", row.nonce, row.process_id, error)
                self._long_way(row)
            except Exception:  # a guest wrote it: it must not end the others' actor
                logger.exception("slot %d of %s goes the long way", row.nonce, row.process_id)
                self._long_way(row)
            await asyncio.sleep(0)  # one may hold many messages: others have their turn
        self._sending = False

    async def _send(self, row: ResultRow) -> None:
        await self._look([row.process_id])
        sender = self._processes.get(row.process_id)
        found = self._parcels(row, sender) if sender else []
        if len(found) > limits.PUSH_SLICE_MESSAGES:
            self._long_way(row)
            return
        await self._look({parcel.spec.target for parcel in found if isinstance(parcel.spec, MessageSpec)})
        plain = {parcel.place for parcel in found if self._is_plain(parcel)}
        if not plain:
            self._long_way(row)
            return
        wallet = await self._wallets.of(row.process_id)
        if not self.quota.take(row.process_id, wallet, len(found)):
            return  # the messenger's scan comes back to it
        items = {parcel.place: item for parcel in found if (item := self._signed(parcel))}
        waiting = {place: self._put(item) for place, item in items.items() if place in plain}
        self._under_way += 1
        self._tasks.start(self._sent(row, found, items, waiting))

    async def _sent(
        self,
        row: ResultRow,
        found: Sequence[Parcel],
        items: Items,
        waiting: Mapping[int, asyncio.Future[Receipt]],
    ) -> None:
        """Once the shards have answered: what became of it."""
        answers = await asyncio.gather(*waiting.values(), return_exceptions=True)
        self._under_way -= 1
        arrived = {place for place, each in zip(waiting, answers, strict=True) if isinstance(each, Receipt)}
        settled = settled_by(row, found, items, arrived)
        try:
            await self._settlements.put(settled)
        except AorayError as error:
            logger.info("slot %d of %s goes the long way: %s", row.nonce, row.process_id, error)
            self._long_way(row[:2])
            return
        if settled.done:
            self.stage.done_since([row.timestamp])
        else:
            self._long_way(row[:2])

    # What goes where

    async def _look(self, ids: Iterable[str]) -> None:
        """Find out which of these are processes."""
        now = asyncio.get_running_loop().time()
        unknown = [
            each
            for each in ids
            if each not in self._processes and (self._no_processes.get(each) or 0.0) < now
        ]
        if not unknown:
            return
        for process_id, item in zip(unknown, await self._items(unknown), strict=True):
            if item is None:  # a wallet, most likely, and hardly a process soon
                self._no_processes[process_id] = now + limits.NO_PROCESS_SECONDS
            else:
                process = parse(item)
                self._processes[process_id] = sender_of(process)
                self._wallets.note(process)

    async def _item(self, process_id: str) -> DataItem | None:
        (item,) = await self._items([process_id])
        return None if item is None else parse(item)

    def _parcels(self, row: ResultRow, sender: Sender) -> list[Parcel]:
        result = orjson.loads(row.result)
        return parcels(result, outbox(result, sender, row.nonce, row.pushed_for))

    def _is_plain(self, parcel: Parcel) -> bool:
        spec = parcel.spec
        return isinstance(spec, MessageSpec) and not spec.assign_to and spec.target in self._processes

    def _signed(self, parcel: Parcel) -> DataItem | None:
        try:
            return signed(self._signer, parcel.spec)
        except ClientError:  # it can't be built; the messenger will say why
            return None

    def _put(self, item: DataItem) -> asyncio.Future[Receipt]:
        shard = self._shards[shard_of(item.target_id, len(self._shards))]
        try:
            return shard.put(Submission("message", item.target_id, item.id, item.raw))
        except Overloaded as error:
            refused: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def _settle(self, settlements: list[Settlement]) -> Sequence[None]:
        settle = self._results.deliveries.settle
        await asyncio.get_running_loop().run_in_executor(self._writing, settle, settlements)
        return [None] * len(settlements)


def settled_by(row: ResultRow, found: Iterable[Parcel], items: Items, arrived: set[int]) -> Settlement:
    """What an attempt at a part of an outbox came to; the rest of it is as untried as before."""
    now_ms = time.time_ns() // 1_000_000
    deliveries = []
    for parcel in found:
        delivery = untried(row.process_id, row.nonce, parcel)
        if parcel.place in items:
            delivery = named(delivery, items[parcel.place].id)
        if parcel.place in arrived:
            delivery = attempted(delivery, DELIVERED, now_ms)
        deliveries.append(delivery)
    return settlement(row.process_id, row.nonce, deliveries)
