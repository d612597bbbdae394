"""A dictionary with a bound in entries or bytes, which drops its oldest entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedDict(Generic[Key, Value]):
    """A dictionary that drops its oldest entries beyond a bound. Without `size_of` only entries are
    counted."""

    def __init__(
        self, entries_max: int, bytes_max: int = 0, size_of: Callable[[Value], int] | None = None
    ) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._bytes = 0
        self._held: dict[Key, Value] = {}
        self.get: Callable[[Key], Value | None] = self._held.get  # without a wrapper, since it is called most

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def items(self) -> Iterable[tuple[Key, Value]]:
        """Return all entries, the oldest first."""
        return self._held.items()

    def __setitem__(self, key: Key, value: Value) -> None:
        self.pop(key)
        self._held[key] = value
        if self._size_of is not None:
            self._bytes += self._size_of(value)
        while len(self._held) > self._entries_max or self._bytes > self._bytes_max:
            self.pop(next(iter(self._held)))

    def pop(self, key: Key) -> Value | None:
        """Remove an entry, and return its value; None if there is none."""
        value = self._held.pop(key, None)
        if value is not None and self._size_of is not None:
            self._bytes -= self._size_of(value)
        return value
