"""Back-pressure from the process actors: what was accepted and has no result yet, and how late results are.

Where in a message's journey: asked before a message is taken in, told when it is ordered and when its result
comes. Evaluation may be slower than ordering; whoever is accepted all the same waits behind all that was
accepted before, and for ever longer. So there are two lags, each the age of a result as it is delivered: a
process's, of its last result, and an actor's, of the youngest of one delivery. A hot process is late by
itself, and the processes beside it are not, since they take turns; an actor is late when even its best served
process is.

Of an actor (or a process) that delivers nothing at all no lag is known: it is dead, stopped, or waits for the
machine. When it owes more than `limits.RESULTS_AWAITED_FREE` results and gave none for
`limits.RESULT_SILENCE_SECONDS_MAX`, what is for it is refused too, but for one message a second: its result
says that evaluation goes on. (What it owes may be lost with an actor that died, and is never delivered.)

Pure: times (seconds of any clock that does not go back) are given. Invariants: up to
`limits.RESULTS_AWAITED_FREE` nobody is refused, so a burst is taken as it comes; and a lag counts for a
moment only, so that whoever is refused is let in again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aoray import limits
from aoray.bounded import Bounded

Key = tuple[str, str]  # process id, message id


class Awaited(NamedTuple):
    """A message whose result will be delivered unasked."""

    since_s: float
    actor: str


class Debt:
    """What an actor, or a process, owes: results that were accepted and not delivered."""

    __slots__ = ("count", "heard_s", "tried_s")

    def __init__(self, now_s: float) -> None:
        self.count = 0
        self.heard_s = now_s  # of its last delivery, or of the first message if there was none
        self.tried_s = now_s  # when one message was let in all the same


class Pressure:
    """What one gateway knows of the lags and the debts."""

    def __init__(self) -> None:
        self._awaited: Bounded[Key, Awaited] = Bounded(limits.RECEIPTS_MAX)
        self._lags: Bounded[str, tuple[float, float]] = Bounded(limits.PROCESSES_KNOWN_MAX)  # s, measured at
        self._debts: dict[str, Debt] = {}  # of whom something is awaited, processes and actors

    def __len__(self) -> int:
        return len(self._awaited)

    def __contains__(self, key: Key) -> bool:
        return key in self._awaited

    def accepted(self, key: Key, actor: str, now_s: float) -> None:
        if len(self._awaited) >= limits.RECEIPTS_MAX:
            self._settle(next(iter(self._awaited.items()))[0], None)
        self._settle(key, None)
        self._awaited[key] = Awaited(now_s, actor)
        for name in (key[0], actor):
            self._debts.setdefault(name, Debt(now_s)).count += 1

    def delivered(self, keys: Iterable[Key], now_s: float) -> None:
        """Results of one delivery; those that were not awaited say nothing."""
        least: dict[str, float] = {}
        for key in keys:
            awaited = self._settle(key, now_s)
            if awaited is not None:
                lag_s = now_s - awaited.since_s
                self._lags[key[0]] = lag_s, now_s
                least[awaited.actor] = min(lag_s, least.get(awaited.actor, lag_s))
        for actor, lag_s in least.items():
            self._lags[actor] = lag_s, now_s

    def forget(self, key: Key) -> None:
        """Its result was found where it is stored: the delivery is lost, or says nothing more."""
        self._settle(key, None)

    def _settle(self, key: Key, heard_s: float | None) -> Awaited | None:
        """It is awaited no more; `heard_s`: when it was delivered, if it was."""
        awaited = self._awaited.pop(key)
        for name in (key[0], awaited.actor) if awaited else ():
            debt = self._debts[name]
            debt.count -= 1
            debt.heard_s = debt.heard_s if heard_s is None else heard_s
            if not debt.count:
                del self._debts[name]
        return awaited

    def stands_still(self, process_id: str, actor: str, now_s: float) -> bool:
        """Whether one more message for this process would only be added to what nobody evaluates.

        Says no once a second, so ask only for a message that is taken in then.
        """
        silent = [
            debt
            for name in (process_id, actor)
            if (debt := self._debts.get(name)) and _is_silent(debt, now_s)
        ]
        if any(now_s - debt.tried_s < limits.RESULT_SILENCE_TRY_SECONDS for debt in silent):
            return True
        for debt in silent:
            debt.tried_s = now_s
        return False

    def refuses(self, process_id: str, actor: str, now_s: float) -> bool:
        """Whether one more message for this process would wait too long."""
        return len(self._awaited) > limits.RESULTS_AWAITED_FREE and (
            self._is_late(process_id, now_s) or self._is_late(actor, now_s)
        )

    def _is_late(self, name: str, now_s: float) -> bool:
        lag_s, measured_s = self._lags.get(name) or (0.0, now_s)
        return lag_s > limits.RESULT_LAG_SECONDS_MAX and now_s - measured_s < limits.LAG_KNOWN_SECONDS


def _is_silent(debt: Debt, now_s: float) -> bool:
    silent_s = now_s - debt.heard_s
    return debt.count > limits.RESULTS_AWAITED_FREE and silent_s > limits.RESULT_SILENCE_SECONDS_MAX
