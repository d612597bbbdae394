"""The wall clock, as AO has it: milliseconds since 1970."""

from __future__ import annotations

import time


def clock_ms() -> int:
    """Return the time now, in ms since 1970."""
    return time.time_ns() // 1_000_000
