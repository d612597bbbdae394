"""The short way from process to process: from the actor that evaluated a message straight to the shard of its
target, with no messenger in between (issue 4, point 3).

Where in a message's journey: after a slice is written, in place of the gateway's push. An outbox goes this
way if all it holds is messages; they are made by the same rules (`push`) and signed with the same key as the
messenger's, so a message is the same item whichever way it goes.

Invariants: nothing leaves before its result is written, and a shard answers when the message is durable; an
id is scheduled once, so what goes twice, or both ways, arrives once. Messages of a process to one target are
put in order. Deliveries are written as the messenger writes them.

On failure nothing is repeated here: what goes to a wallet, what a shard refuses, what is too much at once, is
handed to the messenger with its whole outbox; what was under way when the actor died is found by its scan.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import orjson

from aoray import limits
from aoray.actors.deliveries import Delivery, Settlement
from aoray.actors.delivery import Attempt, Parcel, attempted, named, parcels, settlement, signed, untried
from aoray.actors.faults import not_here
from aoray.actors.push import MessageSpec, Sender, outbox, sender_of
from aoray.actors.results import ResultRow, Results
from aoray.batcher import Batcher
from aoray.bounded import Bounded
from aoray.calls import Call
from aoray.errors import AorayError, UnknownProcess
from aoray.keyfiles import load_key
from aoray.metrics import Stage
from aoray.protocol.items import DataItem, parse
from aoray.scheduler.reader import shard_of
from aoray.scheduler.rules import Receipt, Submission, turn_of
from aoray.settings import Settings
from aoray.tasks import Tasks

logger = logging.getLogger(__name__)

DELIVERED = Attempt("delivered")
Sent = tuple[Parcel, DataItem]
Answers = Sequence[Receipt | AorayError]


class ShortWay:
    """That of one actor; in its event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        call: Call,
        results: Results,
        items: Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]],
        long_way: Callable[[ResultRow], None],
        tasks: Tasks,
    ) -> None:
        """`items`: those that spawned processes. `long_way`: have the messenger push it."""
        self.stage = Stage("pushed", name, lambda: self._under_way)
        self._signer = load_key(settings, "authority")
        self._results = results
        self._items = items
        self._long_way = long_way
        self._tasks = tasks
        self._under_way = 0  # outboxes
        self._senders: Bounded[str, Sender] = Bounded(limits.SENDERS_KNOWN_MAX)
        self._no_processes: Bounded[str, None] = Bounded(limits.SENDERS_KNOWN_MAX)  # wallets, most likely
        self._shards = [
            Batcher[Submission, Receipt](
                _submitter(call, f"shard-{index}"),
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
        if self._under_way < limits.SHORT_WAY_RESULTS_MAX and len(row.result) <= limits.PUSH_HANDED_BYTES_MAX:
            self._under_way += 1
            self._tasks.start(self._push(row))
        else:
            self._long_way(row)

    async def _push(self, row: ResultRow) -> None:
        try:
            sender = self._senders.get(row.process_id) or await self._sender(row.process_id)
            sent = self._sent(row, sender)
            if sent and await self._submit(sent):
                await self._settlements.put(_settlement(row, sent))
                self.stage.done_since([row.timestamp])
            else:
                self._long_way(row)
        except AorayError as error:
            logger.info("slot %d of %s goes the long way: %s", row.nonce, row.process_id, error)
            self._long_way(row)
        finally:
            self._under_way -= 1

    async def _sender(self, process_id: str) -> Sender:
        item = (await self._items([process_id]))[0]
        if item is None:
            raise not_here(process_id)
        sender = self._senders[process_id] = sender_of(parse(item))
        return sender

    def _sent(self, row: ResultRow, sender: Sender) -> list[Sent]:
        """All of an outbox as items; none if something else than messages to processes is in it."""
        result = orjson.loads(row.result)
        found = parcels(result, outbox(result, sender, row.nonce, row.pushed_for))
        if len(found) > limits.PUSH_SLICE_MESSAGES or not all(map(self._is_plain, found)):
            return []
        return [(parcel, item) for parcel in found if (item := signed(self._signer, parcel.spec))]

    def _is_plain(self, parcel: Parcel) -> bool:
        spec = parcel.spec
        return isinstance(spec, MessageSpec) and not spec.assign_to and spec.target not in self._no_processes

    async def _submit(self, sent: Sequence[Sent]) -> bool:
        """Whether the shards have taken all."""
        waiting = [self._put(item) for _, item in sent]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        for (_, item), answer in zip(sent, answers, strict=True):
            if isinstance(answer, UnknownProcess):
                self._no_processes[item.target_id] = None
            elif isinstance(answer, BaseException) and not isinstance(answer, AorayError):
                raise answer
        return not any(isinstance(answer, AorayError) for answer in answers)

    def _put(self, item: DataItem) -> asyncio.Future[Receipt]:
        shard = self._shards[shard_of(item.target_id, len(self._shards))]
        return shard.put(Submission("message", item.target_id, item.id, item.raw))

    async def _settle(self, settlements: list[Settlement]) -> Sequence[None]:
        await asyncio.to_thread(self._results.deliveries.settle, settlements)
        return [None] * len(settlements)


def _submitter(
    call: Call, shard: str
) -> Callable[[list[Submission]], Awaitable[Sequence[Receipt | AorayError]]]:
    async def submit(batch: list[Submission]) -> Sequence[Receipt | AorayError]:
        answers: list[Receipt | AorayError] = await call(shard, "submit", batch)
        return answers

    return submit


def _settlement(row: ResultRow, sent: Sequence[Sent]) -> Settlement:
    now_ms = time.time_ns() // 1_000_000

    def deliveries() -> Iterator[Delivery]:
        for parcel, item in sent:
            before = named(untried(row.process_id, row.nonce, parcel), item.id)
            yield attempted(before, DELIVERED, now_ms)

    return settlement(row.process_id, row.nonce, list(deliveries()))
