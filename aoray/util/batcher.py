"""The batcher: items of many callers queue, and each call takes everything that has queued since the last.

Keys (such as processes) take turns, so many items for one key do not delay the others. There are no timers:
an idle batcher sends the first item at once, alone; under load the batches grow by themselves. (Only for
items that nobody waits for, `gather_s` lets a call wait and take what has queued in that time.) Up to
`BATCH_CALLS_MAX` calls run at the same time, so one batch is in progress while the next gathers. The queue is
bounded in items and bytes, and each key may hold as much as is still free; beyond that a caller gets
`Overloaded`.

If a call fails because the other side does not answer (`Unavailable`: it is being restarted), it is repeated
with the same batch and with backoff, until `patience_s` is used up; so what is sent must be idempotent. Any
other failure is raised to the callers of that batch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from aoray import limits
from aoray.errors import AorayError, Overloaded, Unavailable
from aoray.util.backoff import Backoff
from aoray.util.fair_queue import FairQueue

log = logging.getLogger(__name__)

BACKOFF = Backoff(0.1, 2.0)

Sent = TypeVar("Sent")
Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[None]]
Queued = tuple[Sent, asyncio.Future[Answer], float, bool]  # when it was put; whether its key had none


class Batcher(Generic[Sent, Answer]):
    """A queue whose items are handled in batches: `await batcher.put(item)` returns or raises the answer to
    that item."""

    def __init__(
        self,
        send: Callable[[list[Sent]], Awaitable[Sequence[Answer | AorayError]]],
        *,
        patience_s: float = limits.RETRY_SECONDS_MAX,
        gather_s: float = 0.0,
        sleep: Sleep = asyncio.sleep,
        done: Callable[[Sequence[float]], None] = lambda _: None,
    ) -> None:
        """`send` handles a batch, and returns an answer or an error for each item. `done` is called after
        each batch with the ms that each answered item took."""
        self._send = send
        self._gather_s = gather_s
        self._done = done
        self._patience_s = patience_s
        self._sleep = sleep
        self._queue: FairQueue[Queued[Sent, Answer]] = FairQueue()
        self._turn_s = 0.0  # the shortest wait of a key's first item in the last batch
        self.calls_total = 0
        self._calls = 0
        self._drains: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return self._queue.count

    def is_late(self, key: str) -> bool:
        """Return whether many items wait and one more of this key would wait long: the first waiting item of
        the key does, or first items of other keys do.

        Items that wait behind others of their own key are not considered for a key that has nothing waiting.
        """
        if self._queue.count <= limits.QUEUE_MESSAGES_FREE:
            return False
        own = self._queue.first(key)
        own_s = asyncio.get_running_loop().time() - own[2] if own else 0.0
        return max(own_s, self._turn_s) > limits.ORDER_LAG_SECONDS_MAX

    def put(self, item: Sent, key: str = "", size: int = 1) -> asyncio.Future[Answer]:
        """Queue an item, and return the future of its answer. `key` decides whose turn it uses, `size` counts
        towards the bytes of a batch. Raises `Overloaded`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        queued = (item, answer, loop.time(), self._queue.first(key) is None)
        if not self._queue.put(
            key,
            queued,
            size,
            count_max=limits.GATEWAY_QUEUE_MESSAGES_MAX,
            bytes_max=limits.GATEWAY_QUEUE_BYTES_MAX,
        ):
            raise Overloaded("the queue to the scheduler is full", hint="Try again.", retry_after_s=1)
        if self._calls < limits.BATCH_CALLS_MAX:
            self._calls += 1
            drain = asyncio.create_task(self._drain())
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        return answer

    async def _drain(self) -> None:
        while self._queue.count:
            if self._gather_s:
                await self._sleep(self._gather_s)
            batch = self._next_batch()
            if not batch:  # another call took the items
                break
            self.calls_total += 1
            try:
                send = functools.partial(self._send, [queued[0] for queued in batch])
                answers = await patiently(send, self._patience_s, self._sleep)
                assert len(answers) == len(batch), "an answer to each item"
            except AorayError as error:
                answers = [error] * len(batch)
            except Exception:  # a bug; its callers must not wait forever
                log.exception("a call with %d items failed", len(batch))
                answers = [AorayError("internal error", hint="The computer's log says more.")] * len(batch)
            for (_, waiting, _, _), answer in zip(batch, answers, strict=True):
                _resolve(waiting, answer)
            now = asyncio.get_running_loop().time()
            pairs = zip(batch, answers, strict=True)
            self._done([(now - each[2]) * 1000 for each, to in pairs if not isinstance(to, AorayError)])
        # Not in a callback of the task, since a caller that was answered may put before that runs.
        self._calls -= 1

    def _next_batch(self) -> list[Queued[Sent, Answer]]:
        batch = self._queue.take_batch(limits.SUBMIT_MESSAGES_MAX, limits.BATCH_BYTES_MAX, beyond=True)
        if batch:
            now = asyncio.get_running_loop().time()
            self._turn_s = min((now - put_s for _, _, put_s, is_first in batch if is_first), default=0.0)
        return batch


async def patiently(
    attempt: Callable[[], Awaitable[Answer]], patience_s: float, sleep: Sleep = asyncio.sleep
) -> Answer:
    """Repeat a call while it raises `Unavailable`, with backoff, until `patience_s` is used up."""
    waited_s, failures = 0.0, 0
    while True:
        try:
            return await attempt()
        except Unavailable:
            if waited_s >= patience_s:
                raise
        failures += 1
        wait_s = BACKOFF.after(failures)
        await sleep(wait_s)
        waited_s += wait_s


def _resolve(waiting: asyncio.Future[Answer], answer: Answer | AorayError) -> None:
    if waiting.done():  # its caller went away
        return
    if isinstance(answer, AorayError):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
