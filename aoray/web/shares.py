"""Who holds how much of something that is bounded for all together. Pure.

It stands at every door of a gateway (connections, waiting requests, answers that are not read yet), with the
client's address as key. A key may hold as much as is free beside it: one alone never has more than half, two
a third each, and there is room for who comes next. `FairQueue` has such a rule for queues.
"""

from __future__ import annotations

# In the scope of a request: the address that it counts for, and whether one of our own actors makes it.
WHO = "aoray.who"
OWN = "aoray.own"
OWN_WORD = "aoray-own-word"  # the header by which they are known


class Shares:
    """What each key holds of a shared bound, with at most `most` for all of them together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.refused_total = 0
        self._of: dict[str, int] = {}

    def of(self, key: str) -> int:
        """Return how much one key holds."""
        return self._of.get(key, 0)

    def take(self, key: str, amount: int = 1) -> bool:
        """Take so much, if the key may; `give` returns it afterwards."""
        own = self._of.get(key, 0) + amount
        if own > self.most - self.held - amount:
            self.refused_total += 1
            return False
        self._of[key] = own
        self.held += amount
        return True

    def fits(self, key: str, amount: int = 1) -> bool:
        """Return whether the key may take so much; a refusal is counted."""
        fits = self.take(key, amount)
        if fits:
            self.give(key, amount)
        return fits

    def give(self, key: str, amount: int = 1) -> None:
        """Return so much to the bound."""
        self.held -= amount
        left = self._of[key] - amount
        if left:
            self._of[key] = left
        else:
            del self._of[key]
