"""The rules that decide which ticks of a cron are due, for any clock (milliseconds or block heights). Pure.

Where in a message's journey: before its beginning, since a tick is a message that nobody sends. `cron` calls
these rules and writes what they decide; `protocol/cron.py` defines crons and ticks.

A cron has a grid of due times, one step apart, and remembers the next. Due times before the shard started
(`since`) were *missed*; later ones are *live*.

Invariants: the next time is always after now, so each time of the grid is decided once. Of live ticks only
the latest is made, and none while the previous tick waits to be evaluated. So at most one tick of a cron
waits, however slow its process is or however late the shard runs. Missed ticks follow the process's policy:
`one` makes only the latest, unless a tick waits already; `none` drops them; `all` makes the latest
`limits.CRON_CATCH_UP_MAX` at once, and these may wait together.
"""

from __future__ import annotations

from typing import NamedTuple

from aoray import limits
from aoray.protocol.cron import Missed


class Due(NamedTuple):
    """The due times that get a tick, the next due time, and the number of due times left out."""

    times: list[int]
    next: int
    skipped: int


def due(first: int, step: int, now: int, since: int, *, waiting: bool, missed: Missed) -> Due:
    """Return what to do now about a cron whose next tick is due at `first`. `waiting` says whether its last
    tick still waits to be evaluated."""
    times = range(first, now + 1, step)
    late = range(first, min(since, now + 1), step)
    live = times[len(late) :]
    if missed == "all":
        chosen = [*late[-limits.CRON_CATCH_UP_MAX :], *(() if waiting else live[-1:])]
    elif waiting:
        chosen = []
    else:
        chosen = list((live if missed == "none" else times)[-1:])
    return Due(chosen, first + len(times) * step, len(times) - len(chosen))


def first_after(origin: int, step: int, now: int) -> int:
    """Return the first time of a grid that is after now. The grid extends to both sides of its origin, so a
    process that was spawned while the clock was ahead ticks all the same."""
    return origin + ((now - origin) // step + 1) * step
