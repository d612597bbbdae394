"""A fair queue: each key has a queue of its own, and the keys take turns.

It is used wherever messages of many processes wait together (the gateway's batchers, a shard's queue, the
dispatchers to process actors, outboxes to be pushed), with the process as the key: a process with thousands
of messages is served as often as one with a single message.

Invariants: items of one key come out in the order in which they were put. A key whose item is taken goes to
the end of the turns, so a key with one item waits for at most one item of each other key. A key may hold as
much as is still free (`put`): a single key that fills the queue stops at half of it, two at a third each, so
there is always room for another.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A queue whose keys take turns, bounded by count and bytes. Each item has the size with which it was
    put."""

    def __init__(self) -> None:
        # No queue is empty; the next turn is first. (A dict is slow to find its first after many removals.)
        self._queues: OrderedDict[str, deque[tuple[Item, int]]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        """Yield all items without taking them, key by key."""
        for queue in self._queues.values():
            for item, _ in queue:
                yield item

    def put(self, key: str, item: Item, size: int, *, count_max: int, bytes_max: int) -> bool:
        """Put an item, and return whether there was room: for the item, and once more for as much as its key
        has already."""
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
        """Return the first item of a key; None if it has none."""
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
        """Take the next items, at most `count_max` and `bytes_max` bytes, but at least one. With `beyond`,
        the last item may exceed the bytes."""
        batch: list[Item] = []
        left = self.bytes
        while self.count and len(batch) < count_max:
            more = 1 if beyond else next(iter(self._queues.values()))[0][1]
            if batch and left - self.bytes + more > bytes_max:
                break
            batch.append(self.take())
        return batch

    def clear(self) -> None:
        """Drop all items."""
        self._queues.clear()
        self._bytes_of.clear()
        self.count = self.bytes = 0
