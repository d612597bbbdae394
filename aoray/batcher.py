"""Many callers, few calls: items queue, and each call takes all that have queued since the last (design.md
§3).

Fair: whoever items are for (`key_of`) take turns, so that many for one process hold up no other.

No timers: an idle batcher sends the first item at once, alone; under load the batches grow by themselves.
(But for what nobody waits for: with `gather_s` a call takes what has queued in that time.)
Up to `CALLS_IN_FLIGHT_MAX` calls run side by side, so one batch is under way while the next gathers. The
queue is bounded in items and bytes, and each key holds as much as is still free; beyond that a caller gets
`Overloaded`.

A call that fails because the other side is away (`Unavailable`: it is being restarted) is made again with
the same batch, with backoff, until `patience_s` is used up; so what is sent must be idempotent. Any other
failure goes to the callers of that batch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from aoray import limits
from aoray.errors import AorayError, Overloaded, Unavailable
from aoray.fair import Fair

log = logging.getLogger(__name__)

CALLS_IN_FLIGHT_MAX = 2
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0

Sent = TypeVar("Sent")
Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[None]]
Queued = tuple[Sent, asyncio.Future[Answer], float]  # and when it was put


class Batcher(Generic[Sent, Answer]):
    """`await batcher.put(item)` gives the answer to that item, or raises the error that was its answer."""

    def __init__(
        self,
        send: Callable[[list[Sent]], Awaitable[Sequence[Answer | AorayError]]],
        *,
        size_of: Callable[[Sent], int] = lambda _: 1,
        key_of: Callable[[Sent], str] = lambda _: "",
        patience_s: float = limits.RETRY_SECONDS_MAX,
        gather_s: float = 0.0,
        sleep: Sleep = asyncio.sleep,
        done: Callable[[Sequence[float]], None] = lambda _: None,
    ) -> None:
        """`done` is told of each batch that was answered how long each of it took, in ms."""
        self._send = send
        self._gather_s = gather_s
        self._done = done
        self._size_of = size_of
        self._key_of = key_of
        self._patience_s = patience_s
        self._sleep = sleep
        self._queue: Fair[Queued[Sent, Answer]] = Fair(lambda queued: size_of(queued[0]))
        self._least_wait_s = 0.0  # of the last batch: of who was served best
        self.calls_total = 0
        self._calls = 0
        self._drains: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def is_late(self, key: str) -> bool:
        """Whether many items wait, and for long: the first of this key, or all that went last."""
        if len(self._queue) <= limits.QUEUE_MESSAGES_FREE:
            return False
        own = self._queue.first(key)
        own_s = asyncio.get_running_loop().time() - own[2] if own else 0.0
        return max(own_s, self._least_wait_s) > limits.ORDER_LAG_SECONDS_MAX

    def put(self, item: Sent) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        key, queued = self._key_of(item), (item, answer, loop.time())
        bounds = limits.GATEWAY_QUEUE_MESSAGES_MAX, limits.GATEWAY_QUEUE_BYTES_MAX
        if not self._queue.fits(key, queued, *bounds):
            raise Overloaded("the queue to the scheduler is full", hint="Try again.", retry_after_s=1)
        self._queue.put(key, queued)
        if self._calls < CALLS_IN_FLIGHT_MAX:
            self._calls += 1
            drain = asyncio.create_task(self._drain())
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        return answer

    async def _drain(self) -> None:
        while self._queue:
            if self._gather_s:
                await self._sleep(self._gather_s)
                if not self._queue:  # another call took it meanwhile
                    break
            batch = self._next_batch()
            self.calls_total += 1
            try:
                send = functools.partial(self._send, [queued[0] for queued in batch])
                answers = await patiently(send, self._patience_s, self._sleep)
                assert len(answers) == len(batch), "an answer to each item"
            except AorayError as error:
                answers = [error] * len(batch)
            except Exception:  # a bug; its callers must not wait for ever
                log.exception("a call with %d items failed", len(batch))
                answers = [AorayError("internal error", hint="The computer's log says more.")] * len(batch)
            for (_, waiting, _), answer in zip(batch, answers, strict=True):
                _resolve(waiting, answer)
            now = asyncio.get_running_loop().time()
            pairs = zip(batch, answers, strict=True)
            self._done([(now - each[2]) * 1000 for each, to in pairs if not isinstance(to, AorayError)])
        # Here and not when the task is done: a caller that was answered may put before that.
        self._calls -= 1

    def _next_batch(self) -> list[Queued[Sent, Answer]]:
        batch: list[Queued[Sent, Answer]] = []
        batch_bytes = 0
        while (
            self._queue and len(batch) < limits.SUBMIT_MESSAGES_MAX and batch_bytes < limits.BATCH_BYTES_MAX
        ):
            batch.append(self._queue.take())
            batch_bytes += self._size_of(batch[-1][0])
        if batch:
            self._least_wait_s = asyncio.get_running_loop().time() - max(queued[2] for queued in batch)
        return batch


async def patiently(
    attempt: Callable[[], Awaitable[Answer]], patience_s: float, sleep: Sleep = asyncio.sleep
) -> Answer:
    """Try again while the other side is away, with backoff, until `patience_s` is used up."""
    waited_s = 0.0
    backoff_s = BACKOFF_FIRST_S
    while True:
        try:
            return await attempt()
        except Unavailable:
            if waited_s >= patience_s:
                raise
        await sleep(backoff_s)
        waited_s += backoff_s
        backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)


def _resolve(waiting: asyncio.Future[Answer], answer: Answer | AorayError) -> None:
    if waiting.done():  # its caller went away
        return
    if isinstance(answer, AorayError):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
