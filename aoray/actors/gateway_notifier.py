"""What an actor tells the gateways: results that were waited for, and results with an outbox.

After a slice is written. One queue for each gateway and method, one call in flight on it; what is put
meanwhile goes with the next call, so batches grow under load and an idle actor tells at once.

On failure nothing is repeated: what was to be told is in the results store, and gateways look there
themselves (they watch again, and scan for outboxes). The queue is bounded, in count and in bytes, for the
same reason: the oldest goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from aoray import limits
from aoray.cluster.calls import Call
from aoray.cluster.names import gateway_actor, gateway_of
from aoray.contracts.gateway import Announced, GatewayCaller, ResultDelivery
from aoray.errors import AorayError
from aoray.storage.records import ResultRow

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class GatewayQueue(Generic[ItemT]):
    """A queue of notices to one gateway, sent in order and in as few calls as possible."""

    def __init__(self, send: Callable[[list[ItemT]], Awaitable[None]]) -> None:
        self._send = send
        self._queue: deque[tuple[ItemT, int]] = deque()  # each with its size
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None

    def put(self, item: ItemT, size: int) -> None:
        """Queue a notice of this size."""
        self._queue.append((item, size))
        self._bytes += size
        while len(self._queue) > limits.NOTIFIER_QUEUE_MAX or self._bytes > limits.NOTIFIER_QUEUE_BYTES_MAX:
            self._bytes -= self._queue.popleft()[1]
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._queue:
                batch = self._take()
                try:
                    await self._send(batch)
                except AorayError as error:
                    logger.warning("%d announcements were lost: %s", len(batch), error)
        finally:
            self._sending = None

    def _take(self) -> list[ItemT]:
        batch: list[ItemT] = []
        taken = 0
        while self._queue and len(batch) < limits.BATCH_MESSAGES_MAX and taken < limits.BATCH_BYTES_MAX:
            item, size = self._queue.popleft()
            batch.append(item)
            taken += size
        self._bytes -= taken
        return batch


class GatewayNotifier:
    """The queues of one actor, made as they are needed."""

    def __init__(self, call: Call, gateways: int) -> None:
        self._call = call
        self._gateways = gateways
        self._delivered: dict[str, GatewayQueue[ResultDelivery]] = {}  # by gateway
        self._pushed: dict[str, GatewayQueue[Announced]] = {}

    def deliver(self, gateway: str, process_id: str, message_id: str, result: bytes) -> None:
        """Send a gateway a result that it waits for."""
        queue = self._delivered.get(gateway)
        if queue is None:
            queue = self._delivered[gateway] = GatewayQueue(GatewayCaller(self._call, gateway).deliver)
        queue.put((process_id, message_id, result), len(result))

    def push(self, row: Announced) -> None:
        """Let the process's gateway push a result's outbox that is not pushed directly, or not all of it.
        One that nobody has tried is told as it is, unless it is large: it need not be read from the
        store."""
        gateway = gateway_actor(gateway_of(row[0], self._gateways))
        queue = self._pushed.get(gateway)
        if queue is None:
            queue = self._pushed[gateway] = GatewayQueue(GatewayCaller(self._call, gateway).push)
        if isinstance(row, ResultRow) and len(row.result) <= limits.PUSH_HANDED_BYTES_MAX:
            queue.put(row, len(row.result))
        else:
            queue.put(row[:2], 0)
