"""Which height of the chain a gateway is believed. Pure: times are given.

The height stands in every assignment, orders crons of blocks and decides when an upload is deep enough, and
it never falls. So one wrong answer of a gateway would stay. What is said is accepted only if the chain can
have grown so far: a block for each `limits.BLOCK_SECONDS_MIN` since the last height that was accepted, and up
to `limits.BLOCKS_AHEAD_MAX` more, which come back at that rate when they are used up. And a rise is accepted
when two looks, one after another, show it; of the two the lower counts.

On failure: `Unavailable`, which names the height that was said; what was accepted before stays.
"""

from __future__ import annotations

from aoray.errors import Unavailable
from aoray.limits import BLOCK_SECONDS_MIN, BLOCKS_AHEAD_MAX

GENESIS_S = 1_528_416_000  # Arweave's first block: 8 June 2018


class Heights:
    """The heights that one gateway states, look by look."""

    def __init__(self, height: int = 0, at_s: float = GENESIS_S) -> None:
        """`height` was known at `at_s` (seconds since 1970); by default nothing is known yet."""
        self.height = height
        self._at_s = at_s
        self._ahead = float(BLOCKS_AHEAD_MAX)
        self._last = -1

    def look(self, said: int, now_s: float) -> bool:
        """Note a height that the gateway states, and return whether one more look is needed to accept it."""
        ahead = self._ahead + max(0.0, now_s - self._at_s) / BLOCK_SECONDS_MIN
        if said > self.height + ahead:
            self._last = -1
            raise Unavailable(
                f"the gateway says that the chain's height is {said}; {int(self.height + ahead)} is the most"
                " that it can be",
                hint=f"The height stays {self.height}. Is it a gateway of the same network?",
                height=said,
            )
        accepted = max(self.height, min(said, self._last))
        if accepted > self.height or said == self.height:
            self._ahead = min(ahead - (accepted - self.height), BLOCKS_AHEAD_MAX)
            self._at_s, self.height = now_s, accepted
        self._last = said
        return said > self.height
