"""How late things were: the last few thousand delays, and what stands out of them."""

from __future__ import annotations

from collections import deque


class Lags:
    """Delays in ms. Remembers the last `kept`; its summary is of those."""

    def __init__(self, kept: int) -> None:
        self._lags: deque[int] = deque(maxlen=kept)
        self.total = 0

    def add(self, lag_ms: int) -> None:
        self._lags.append(lag_ms)
        self.total += 1

    def summary(self) -> dict[str, int]:
        """`{"count", "p50", "p99", "max"}`: all that there were, and ms of those remembered."""
        found = sorted(self._lags) or [0]
        at = {"p50": len(found) // 2, "p99": min(len(found) * 99 // 100, len(found) - 1), "max": -1}
        return {"count": self.total, **{name: found[index] for name, index in at.items()}}
