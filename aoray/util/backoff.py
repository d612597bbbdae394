"""How long to wait between attempts: twice as long after each that failed, up to a longest."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """The waits of one kind of attempt, in seconds: the first and the longest."""

    first_s: float
    max_s: float

    def after(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row; 0 before the first attempt."""
        if not failures:
            return 0.0
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 64))  # within a float
