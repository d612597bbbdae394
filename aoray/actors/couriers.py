"""What an actor tells the gateways: results that were waited for, and results with an outbox.

After a slice is written. One courier for each gateway and method, one call in flight on it; what is put
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
from typing import Any

from aoray import limits
from aoray.actors.placement import gateway_of
from aoray.actors.results import ResultRow
from aoray.calls import Call
from aoray.errors import AorayError

Announced = ResultRow | tuple[str, int]  # the latter its process and its nonce

logger = logging.getLogger(__name__)


class Courier:
    """Sends what is put, in order, as few calls as possible."""

    def __init__(self, send: Callable[[list[Any]], Awaitable[None]], size_of: Callable[[Any], int]) -> None:
        self._send = send
        self._size_of = size_of
        self._queue: deque[Any] = deque()
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None

    def put(self, item: Any) -> None:
        """Send this, soon."""
        self._queue.append(item)
        self._bytes += self._size_of(item)
        while len(self._queue) > limits.COURIER_QUEUE_MAX or self._bytes > limits.COURIER_QUEUE_BYTES_MAX:
            self._pop()
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._queue:
                await self._send_batch(self._take())
        finally:
            self._sending = None

    async def _send_batch(self, batch: list[Any]) -> None:
        try:
            await self._send(batch)
        except AorayError as error:
            logger.warning("%d announcements were lost: %s", len(batch), error)

    def _take(self) -> list[Any]:
        batch: list[Any] = []
        held = self._bytes
        while (
            self._queue
            and len(batch) < limits.BATCH_MESSAGES_MAX
            and held - self._bytes < limits.BATCH_BYTES_MAX
        ):
            batch.append(self._pop())
        return batch

    def _pop(self) -> Any:
        item = self._queue.popleft()
        self._bytes -= self._size_of(item)
        return item


class Couriers:
    """The couriers of one actor, made as they are needed."""

    def __init__(self, call: Call, gateways: int) -> None:
        self._call = call
        self._gateways = gateways
        self._couriers: dict[tuple[str, str], Courier] = {}

    def deliver(self, gateway: str, process_id: str, message_id: str, result: bytes) -> None:
        """A result that this gateway waits for."""
        self._courier(gateway, "deliver", lambda delivery: len(delivery[2])).put(
            (process_id, message_id, result)
        )

    def push(self, row: Announced) -> None:
        """A result with an outbox that does not go the short way, or not all of it, for its gateway to push.
        One that nobody has tried is told as it is, unless it is large: it need not be read from the store."""
        gateway = f"gateway-{gateway_of(row[0], self._gateways)}"
        handed = isinstance(row, ResultRow) and len(row.result) <= limits.PUSH_HANDED_BYTES_MAX
        self._courier(gateway, "push", _size).put(row if handed else row[:2])

    def _courier(self, gateway: str, method: str, size_of: Callable[[Any], int]) -> Courier:
        courier = self._couriers.get((gateway, method))
        if courier is None:

            async def send(batch: list[Any]) -> None:
                await self._call(gateway, method, batch)

            courier = self._couriers[gateway, method] = Courier(send, size_of)
        return courier


def _size(announced: Announced) -> int:
    return len(announced.result) if isinstance(announced, ResultRow) else 0
