"""Many calls at once, with results as they arrive, and a bound on calls in progress and results not taken
yet.

The next item is taken from the iterable only when there is room, so a million items need no memory, and a
consumer that takes results slowly slows the sending down. The first error ends the iteration: calls in
progress are cancelled, and the error is raised with the item's `index` in its details. With `on_refusal`,
errors go there instead and the iteration continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from aoray.errors import AorayError

Item = TypeVar("Item")
Found = TypeVar("Found")
OnRefusal = Callable[[int, AorayError], None]
Items = Iterable[Item] | AsyncIterable[Item]


async def map_concurrently(
    items: Items[Item],
    call: Callable[[int, Item], Awaitable[Found]],
    *,
    in_flight: int,
    progress: str = "",
    on_refusal: OnRefusal | None = None,
) -> AsyncIterator[Found]:
    """Yield what `call(index, item)` returns for each item, in the order in which the calls end; at most
    `in_flight` at once."""
    if in_flight < 1:
        raise ValueError("in_flight is 1 at least")
    room = asyncio.Semaphore(in_flight)
    done: asyncio.Queue[asyncio.Future[Found] | None] = asyncio.Queue()
    running: dict[asyncio.Future[Found], int] = {}

    async def feed() -> None:
        index = 0
        iterator = aiter(in_turn(items))
        await room.acquire()
        async for item in iterator:
            task = asyncio.ensure_future(call(index, item))
            running[task] = index
            task.add_done_callback(done.put_nowait)
            index += 1
            await room.acquire()

    feeder = asyncio.ensure_future(feed())
    feeder.add_done_callback(lambda _: done.put_nowait(None))
    try:
        with _bar(progress, items) as advance:
            while running or not feeder.done():
                if (task := await done.get()) is None:
                    feeder.result()  # raises what the iterable raised
                    continue
                index = running.pop(task)
                advance()
                try:
                    found = task.result()
                except AorayError as error:
                    _refused(index, error, on_refusal)
                else:
                    yield found
                room.release()
        feeder.result()
    finally:
        under_way: list[asyncio.Future[Any]] = [feeder, *running]
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def in_turn(items: Items[Item]) -> AsyncIterator[Item]:
    """Yield the items of any iterable, asynchronous or not."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _refused(index: int, error: AorayError, on_refusal: OnRefusal | None) -> None:
    if on_refusal is None:
        error.details = {**error.details, "index": index}
        raise error
    on_refusal(index, error)


@contextmanager
def _bar(name: str, items: Any) -> Iterator[Callable[[], None]]:
    """Show a progress bar of this name on standard error, or none without a name."""
    if not name:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(name, total=len(items) if isinstance(items, Sized) else None)
        yield lambda: shown.advance(task)
