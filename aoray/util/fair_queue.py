"""A queue in which everybody has a turn: one deque a key, and the keys take turns.

It stands wherever messages of many processes wait together (the gateway's batchers, a shard's queue, the
dispatchers to process actors, outboxes to be pushed), with the process as key: whoever has thousands waiting
is served as often as who has one.

Invariants: what one key put comes out in that order. What is taken goes to the back of the turns, so a key
with one item waits for at most one item of each other key. A key may hold as much as is still free (`put`):
one that fills the queue stops at half of it, two at a third each, and there is always room for who is next.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A queue whose keys take turns, bounded by count and bytes. Each item is kept with the size that it
    was put with."""

    def __init__(self) -> None:
        # None is empty; whose turn is next stands first. (A dict is slow to find its first after many went.)
        self._queues: OrderedDict[str, deque[tuple[Item, int]]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        """Everything, without taking it; key by key."""
        for queue in self._queues.values():
            for item, _ in queue:
                yield item

    def put(self, key: str, item: Item, size: int, *, count_max: int, bytes_max: int) -> bool:
        """Put an item, unless it is beyond the bounds: there must be room for it, and for as much again
        as its key has already. Returns whether it was put."""
        queue = self._queues.get(key)
        own_count, own_bytes = (len(queue), self._bytes_of[key]) if queue is not None else (0, 0)
        if own_count + 1 > count_max - self.count or own_bytes + size > bytes_max - self.bytes:
            return False
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append((item, size))
        self._bytes_of[key] = own_bytes + size
        self.count += 1
        self.bytes += size
        return True

    def first(self, key: str) -> Item | None:
        """Return the first item of a key, if it has one."""
        queue = self._queues.get(key)
        return queue[0][0] if queue else None

    def take(self) -> Item:
        """Take the first item of the key whose turn it is."""
        key, queue = self._queues.popitem(last=False)
        item, size = queue.popleft()
        if queue:
            self._queues[key] = queue
            self._bytes_of[key] -= size
        else:
            del self._bytes_of[key]
        self.count -= 1
        self.bytes -= size
        return item

    def take_batch(self, count_max: int, bytes_max: int, *, beyond: bool = False) -> list[Item]:
        """Take the next items, at most `count_max` of `bytes_max` bytes; the first one always.

        With `beyond`, the last may reach beyond the bytes.
        """
        batch: list[Item] = []
        left = self.bytes
        while self.count and len(batch) < count_max:
            more = 1 if beyond else next(iter(self._queues.values()))[0][1]
            if batch and left - self.bytes + more > bytes_max:
                break
            batch.append(self.take())
        return batch

    def clear(self) -> None:
        self._queues.clear()
        self._bytes_of.clear()
        self.count = self.bytes = 0
