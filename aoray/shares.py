"""Who holds how much of something that is bounded for all together. Pure.

It stands at every door of a gateway (connections, waiting requests, answers that are not read yet), with the
client's address as key. A key may hold as much as is free beside it: one alone never has more than half, two
a third each, and there is room for who comes next. `fair.Fair` has such a rule for queues.
"""

from __future__ import annotations

# In the scope of a request: the address that it counts for, and whether it came by the computer's own way in.
WHO = "aoray.who"
OWN = "aoray.own"


class Shares:
    """What each key holds, up to `most` of all of them together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.refused_total = 0
        self._of: dict[str, int] = {}

    def of(self, key: str) -> int:
        """What one key holds."""
        return self._of.get(key, 0)

    def take(self, key: str, amount: int = 1) -> bool:
        """Take so much, if the key may; `give` it back afterwards."""
        if not self.fits(key, amount):
            return False
        self._of[key] = self.of(key) + amount
        self.held += amount
        return True

    def fits(self, key: str, amount: int = 1) -> bool:
        """Whether the key may take so much; one that may not is counted as refused."""
        fits = self.of(key) + amount <= self.most - self.held - amount
        self.refused_total += not fits
        return fits

    def give(self, key: str, amount: int = 1) -> None:
        """Give so much back."""
        self.held -= amount
        left = self._of[key] - amount
        if left:
            self._of[key] = left
        else:
            del self._of[key]
