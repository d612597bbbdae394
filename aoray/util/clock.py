"""The wall clock in the unit of AO: milliseconds since 1970."""

from __future__ import annotations

import time


def clock_ms() -> int:
    """Return the present time: Unix time in ms."""
    return time.time_ns() // 1_000_000
