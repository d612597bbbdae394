"""Direct push, from process to process: from the actor that evaluated a message straight to the shard of its
target, with no messenger in between.

Where in a message's journey: after a slice is written, before the gateway's push. What an outbox holds of
messages to processes of this computer goes this way; they are made by the same rules (`entries_of`) and
signed with the same key as the messenger's, so a message is the same item whichever way it goes.

Invariants: nothing leaves before its result is written, and a shard answers when the message is durable; an
id is scheduled once, so what goes twice, or both ways, arrives once. One outbox is sent after the other, so
messages to one target keep the order of the log, unless some have to be pushed by a gateway: outboxes that
are large or too many at once, and what a shard refused. What became of each message is written as the
messenger does.

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

from aoray import limits
from aoray.cluster.calls import Call
from aoray.cluster.names import actor_label, shard_of
from aoray.contracts.gateway import Announced
from aoray.contracts.shard import Receipt, Shards, Submission
from aoray.errors import AorayError, Overloaded
from aoray.outbox.attempts import (
    DELIVERED,
    OutboxEntry,
    after_attempt,
    entries_of,
    new_delivery,
    settlement,
    sign_if_possible,
    with_item_id,
)
from aoray.outbox.entries import MessageSpec, Sender, sender_of
from aoray.outbox.push_quota import PushQuota
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signed import SignedMessage
from aoray.protocol.spawn_chain import RootWallets
from aoray.settings import Settings
from aoray.storage.key_files import load_key
from aoray.storage.records import ResultRow, Settlement
from aoray.storage.results import Results
from aoray.util.batcher import Batcher
from aoray.util.bounded_dict import BoundedDict
from aoray.util.clock import clock_ms
from aoray.util.metrics import StageMetrics
from aoray.util.tasks import SupervisedTasks

logger = logging.getLogger(__name__)

ItemsByIndex = Mapping[int, DataItem]  # by place in the outbox


class DirectPush:
    """The sender of what one actor's processes send, straight to the shards. For the actor's event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        call: Call,
        results: Results,
        writing: Executor,
        items: Callable[[Sequence[str]], Awaitable[Sequence[SignedMessage | None]]],
        push_by_gateway: Callable[[Announced], None],
        tasks: SupervisedTasks,
    ) -> None:
        """`writing`: the thread that writes deliveries. `items`: those that spawned processes.
        `push_by_gateway`: have the messenger push it; a row is what nobody has tried yet."""
        self.stage = StageMetrics("pushed", actor_label(name), lambda: len(self._queue) + self._under_way)
        self._signer = load_key(settings, "authority")
        self._results = results
        self._items = items
        self._writing = writing
        self._push_by_gateway = push_by_gateway
        self._tasks = tasks
        self.quota = PushQuota(settings, time.monotonic)
        self.wallets = RootWallets(self._signer.address, self._item)
        self._queue: deque[ResultRow] = deque()
        self._sending = False
        self._under_way = 0  # outboxes
        self._processes: BoundedDict[str, Sender] = BoundedDict(limits.SENDERS_KNOWN_MAX)
        self._no_processes: BoundedDict[str, float] = BoundedDict(limits.SENDERS_KNOWN_MAX)  # until when
        self._shards = [
            Batcher[Submission, Receipt](shard.submit, patience_s=0)
            for shard in Shards(call, settings.shards)
        ]
        self._settlements: Batcher[Settlement, None] = Batcher(self._settle, gather_s=limits.PUSH_SETTLE_S)

    def push(self, row: ResultRow) -> None:
        """Send the outbox of a result that was written just now."""
        if self.quota.held_s(row.process_id):
            return
        full = len(self._queue) + self._under_way >= limits.DIRECT_PUSH_RESULTS_MAX
        if full or len(row.result) > limits.PUSH_HANDED_BYTES_MAX:
            self._push_by_gateway(row)
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
                logger.info("slot %d of %s is left to a gateway: %s", row.nonce, row.process_id, error)
                self._push_by_gateway(row)
            except Exception:  # a guest wrote it: it must not end the others' actor
                logger.exception("slot %d of %s is left to a gateway", row.nonce, row.process_id)
                self._push_by_gateway(row)
            await asyncio.sleep(0)  # one may hold many messages: others have their turn
        self._sending = False

    async def _send(self, row: ResultRow) -> None:
        await self._find_processes([row.process_id])
        sender = self._processes.get(row.process_id)
        found = entries_of(row, sender) if sender else []
        if len(found) > limits.PUSH_SLICE_MESSAGES:
            self._push_by_gateway(row)
            return
        await self._find_processes(
            {entry.spec.target for entry in found if isinstance(entry.spec, MessageSpec)}
        )
        plain = {entry.place for entry in found if self._is_plain(entry)}
        if not plain:
            self._push_by_gateway(row)
            return
        wallet = await self.wallets.of(row.process_id)
        if not self.quota.take(row.process_id, wallet, len(found)):
            return  # the messenger's scan comes back to it
        items = {entry.place: item for entry in found if (item := sign_if_possible(self._signer, entry.spec))}
        waiting = {index: self._put(item) for index, item in items.items() if index in plain}
        self._under_way += 1
        self._tasks.start(self._sent(row, found, items, waiting))

    async def _sent(
        self,
        row: ResultRow,
        found: Sequence[OutboxEntry],
        items: ItemsByIndex,
        waiting: Mapping[int, asyncio.Future[Receipt]],
    ) -> None:
        """Once the shards have answered: what became of it."""
        answers = await asyncio.gather(*waiting.values(), return_exceptions=True)
        self._under_way -= 1
        arrived = {index for index, each in zip(waiting, answers, strict=True) if isinstance(each, Receipt)}
        settled = settled_by(row, found, items, arrived)
        try:
            await self._settlements.put(settled, row.process_id)
        except AorayError as error:
            logger.info("slot %d of %s is left to a gateway: %s", row.nonce, row.process_id, error)
            self._push_by_gateway(row[:2])
            return
        if settled.done:
            self.stage.done_since([row.timestamp])
        else:
            self._push_by_gateway(row[:2])

    # What goes where

    async def _find_processes(self, ids: Iterable[str]) -> None:
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
                self._processes[process_id] = sender_of(item)
                self.wallets.note(item)

    async def _item(self, process_id: str) -> SignedMessage | None:
        (item,) = await self._items([process_id])
        return item

    def _is_plain(self, entry: OutboxEntry) -> bool:
        spec = entry.spec
        return isinstance(spec, MessageSpec) and not spec.assign_to and spec.target in self._processes

    def _put(self, item: DataItem) -> asyncio.Future[Receipt]:
        shard = self._shards[shard_of(item.target_id, len(self._shards))]
        try:
            submission = Submission("message", item.target_id, item.id, item.raw)
            return shard.put(submission, submission.process_id, len(item.raw))
        except Overloaded as error:
            refused: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def _settle(self, settlements: list[Settlement]) -> Sequence[None]:
        settle = self._results.deliveries.settle
        await asyncio.get_running_loop().run_in_executor(self._writing, settle, settlements)
        return [None] * len(settlements)


def settled_by(
    row: ResultRow, found: Iterable[OutboxEntry], items: ItemsByIndex, arrived: set[int]
) -> Settlement:
    """Return the outcome of an attempt at a part of an outbox; the rest of the outbox stays untried."""
    now_ms = clock_ms()
    deliveries = []
    for entry in found:
        delivery = new_delivery(row.process_id, row.nonce, entry)
        if entry.place in items:
            delivery = with_item_id(delivery, items[entry.place].id)
        if entry.place in arrived:
            delivery = after_attempt(delivery, DELIVERED, now_ms)
        deliveries.append(delivery)
    return settlement(row.process_id, row.nonce, deliveries)
