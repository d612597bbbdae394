"""The check of the heights that a gateway reports. Pure: times are arguments.

The height of the chain is in every assignment, orders crons that count blocks, and decides when an upload is
deep enough; and it never falls. So one wrong answer of a gateway would have a lasting effect. A height is
accepted only if the chain can have grown this far: one block for each `limits.BLOCK_SECONDS_MIN` since the
last accepted height, and up to `limits.BLOCKS_AHEAD_MAX` more, which become available again at the same rate.
A rise is accepted when two reports, one after the other, show it; the lower of the two counts.

On failure: `Unavailable`, which names the reported height; the accepted height stays.
"""

from __future__ import annotations

from aoray.errors import Unavailable
from aoray.limits import BLOCK_SECONDS_MIN, BLOCKS_AHEAD_MAX

GENESIS_S = 1_528_416_000  # Arweave's first block: 8 June 2018


class Heights:
    """The heights that one gateway reports, one after another."""

    def __init__(self, height: int = 0, at_s: float = GENESIS_S) -> None:
        """`height` was known at `at_s` (Unix time in seconds); by default no height is known yet."""
        self.height = height
        self._at_s = at_s
        self._ahead = float(BLOCKS_AHEAD_MAX)
        self._last = -1

    def look(self, said: int, now_s: float) -> bool:
        """Check a height that the gateway reports. Return whether a second report is needed to accept it.
        Raises `Unavailable` if it is not plausible."""
        ahead = self._ahead + max(0.0, now_s - self._at_s) / BLOCK_SECONDS_MIN
        if said > self.height + ahead:
            self._last = -1
            raise Unavailable(
                f"the gateway reports the height {said}, which can't be more than {int(self.height + ahead)}",
                hint=f"The height stays {self.height}. Check that the gateway is of the same network.",
                height=said,
            )
        accepted = max(self.height, min(said, self._last))
        if accepted > self.height or said == self.height:
            self._ahead = min(ahead - (accepted - self.height), BLOCKS_AHEAD_MAX)
            self._at_s, self.height = now_s, accepted
        self._last = said
        return said > self.height
