"""Which ticks of a cron are due: the rules, for any clock (milliseconds or block heights). Pure.

Where in a message's journey: before its beginning; a tick is a message that nobody sent. `cron` asks these
rules, and writes what they say; `protocol/cron.py` says what a cron and a tick are.

A cron has a grid of due times, a step apart, and remembers the next. Of those that are due now, some were
*missed* (they fell due before the shard began, `since`), the others are *live*.

Invariants: the next time is always after now, so each time of the grid is decided once. Of live ticks only
the latest is made, and none while the tick before it waits to be evaluated: so at most one tick of a cron
waits, however slow its process is or however late the shard looks. Missed ticks follow the process's policy:
`one` makes up for all of them by the latest, unless a tick waits already; `none` drops them; `all` makes the
latest `limits.CRON_CATCH_UP_MAX` of them at once (those may wait together, and nothing is added to them).
"""

from __future__ import annotations

from typing import NamedTuple

from aoray import limits
from aoray.protocol.cron import Missed


class Due(NamedTuple):
    """The due times that get a tick, the next due time, and how many were left out."""

    times: list[int]
    next: int
    skipped: int


def due(first: int, step: int, now: int, since: int, *, waiting: bool, missed: Missed) -> Due:
    """Return what to do now about a cron whose next tick is `first`. `waiting`: its last tick is not
    evaluated yet."""
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
    """Return the first time of a grid that is after now. The grid is on both sides of its origin: a
    process that was spawned while the clock was ahead ticks at once all the same."""
    return origin + ((now - origin) // step + 1) * step
