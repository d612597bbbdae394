"""Backoff: how long to wait between attempts. The wait doubles after each failure, up to a maximum."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """The first and the longest wait of one kind of attempt, in seconds."""

    first_s: float
    max_s: float

    def after(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row; 0 before the first attempt."""
        if not failures:
            return 0.0
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 64))  # within a float
