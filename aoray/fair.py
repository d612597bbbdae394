"""A queue in which everybody has a turn: one deque a key, and the keys take turns.

It stands wherever messages of many processes wait together (the gateway's batchers, a shard's queue, the
lanes to process actors, outboxes to be pushed), with the process as key: whoever has thousands waiting is
served as often as who has one.

Invariants: what one key put comes out in that order. `take` goes to the back of the turns, so a key with one
item waits for at most one item of each other key. A key may hold as much as is still free (`fits`): one that
fills the queue stops at half of it, two at a third each, and there always is room for who comes next.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Fair(Generic[Item]):
    """Bounded by count and bytes (`size_of`), if who puts asks `fits` first."""

    def __init__(self, size_of: Callable[[Item], int]) -> None:
        self._size_of = size_of
        # None is empty; whose turn is next stands first. (A dict is slow to find its first after many went.)
        self._queues: OrderedDict[str, deque[Item]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self._count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        """Everything, without taking it; key by key."""
        for queue in self._queues.values():
            yield from queue

    def fits(self, key: str, item: Item, count_max: int, bytes_max: int) -> bool:
        """Whether this may be put: there is room, and as much again as the key has already."""
        size = self._size_of(item)
        held = len(self._queues.get(key, ()))
        return (
            held + 1 <= count_max - self._count
            and self._bytes_of.get(key, 0) + size <= bytes_max - self.bytes
        )

    def put(self, key: str, item: Item) -> None:
        size = self._size_of(item)
        self._queues.setdefault(key, deque()).append(item)
        self._bytes_of[key] = self._bytes_of.get(key, 0) + size
        self._count += 1
        self.bytes += size

    def peek(self) -> Item:
        """What `take` would give."""
        return next(iter(self._queues.values()))[0]

    def first(self, key: str) -> Item | None:
        """The first item of a key, if it has one."""
        queue = self._queues.get(key)
        return queue[0] if queue else None

    def take(self) -> Item:
        """The first item of the key whose turn it is."""
        key, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        size = self._size_of(item)
        if queue:
            self._queues[key] = queue
            self._bytes_of[key] -= size
        else:
            del self._bytes_of[key]
        self._count -= 1
        self.bytes -= size
        return item

    def clear(self) -> None:
        self._queues.clear()
        self._bytes_of.clear()
        self._count = self.bytes = 0
