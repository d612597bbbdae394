"""Back-pressure from the process actors: what was accepted and has no result yet, and how late results are.

Where in a message's journey: asked before a message is taken in, told when it is ordered and when its result
comes. Evaluation may be slower than ordering; whoever is accepted all the same waits behind all that was
accepted before, and forever longer. So there are two lags, each the age of a result as it is delivered: a
process's, of its last result, and an actor's, of the youngest of one delivery. A hot process is late by
itself, and the processes beside it are not, since they take turns; an actor is late when even its best served
process is, of all that it delivered in `limits.LAG_KNOWN_SECONDS`. A message that takes long, or waits behind
one of its own process, is late on an actor that has nothing else to do; so a message of a process that is not
late itself is let in now and then all the same, and its result tells.

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
from dataclasses import dataclass
from typing import NamedTuple

from aoray import limits
from aoray.util.bounded_dict import BoundedDict

Key = tuple[str, str]  # process id, message id


class PendingResult(NamedTuple):
    """A message whose result will be delivered unasked."""

    since_s: float
    actor: str


@dataclass(slots=True)
class Debt:
    """The debt of an actor or a process: results that were accepted and not yet delivered."""

    count: int
    heard_s: float  # when it delivered last, or the first message came if it never did
    tried_s: float  # when one message was let in all the same


class Backpressure:
    """The lags and debts of processes and actors, as one gateway measures them."""

    def __init__(self) -> None:
        self.awaited: dict[Key, PendingResult] = {}  # the oldest first
        self._lags: BoundedDict[str, tuple[float, float]] = BoundedDict(
            limits.PROCESSES_KNOWN_MAX
        )  # s, measured at
        self._debts: dict[str, Debt] = {}  # of whom something is awaited, processes and actors
        self._tried: BoundedDict[str, float] = BoundedDict(
            limits.PROCESSES_KNOWN_MAX
        )  # late actors: when one came in

    def __len__(self) -> int:
        return len(self.awaited)

    def __contains__(self, key: Key) -> bool:
        return key in self.awaited

    def accepted(self, key: Key, actor: str, now_s: float) -> None:
        """Note a message that was ordered at `now_s` and whose result `actor` owes; beyond the bound the
        oldest is forgotten."""
        if key in self.awaited:
            self._settle(key, None)
        elif len(self.awaited) >= limits.RECEIPTS_MAX:
            self._settle(next(iter(self.awaited)), None)
        self.awaited[key] = PendingResult(now_s, actor)
        for name in (key[0], actor):
            debt = self._debts.get(name)
            if debt is None:
                debt = self._debts[name] = Debt(0, now_s, now_s)
            debt.count += 1

    def delivered(self, keys: Iterable[Key], now_s: float) -> None:
        """Note the results of one delivery; those that were not expected are ignored."""
        least: dict[str, float] = {}
        for key in keys:
            awaited = self._settle(key, now_s)
            if awaited is not None:
                lag_s = now_s - awaited.since_s
                self._lags[key[0]] = lag_s, now_s
                least[awaited.actor] = min(lag_s, least.get(awaited.actor, lag_s))
        for actor, lag_s in least.items():
            known_s, measured_s = self._lags.get(actor) or (lag_s, now_s)
            if lag_s <= known_s or now_s - measured_s >= limits.LAG_KNOWN_SECONDS:
                self._lags[actor] = lag_s, now_s

    def forget(self, key: Key) -> None:
        """Drop a result that was found in the store: its delivery is lost, or tells nothing more."""
        self._settle(key, None)

    def _settle(self, key: Key, heard_s: float | None) -> PendingResult | None:
        """Forget an awaited result; `heard_s`: when it was delivered, if it was."""
        awaited = self.awaited.pop(key, None)
        for name in (key[0], awaited.actor) if awaited else ():
            debt = self._debts[name]
            debt.count -= 1
            debt.heard_s = debt.heard_s if heard_s is None else heard_s
            if not debt.count:
                del self._debts[name]
        return awaited

    def refuses(self, process_id: str, actor: str, now_s: float) -> bool:
        """Return whether one more message for this process would wait too long, or only add to what
        nobody evaluates. Of an actor that is late or silent, one is let in now and then all the same
        (`took_in`)."""
        if len(self.awaited) <= limits.RESULTS_AWAITED_FREE:
            return False
        if self._is_late(process_id, now_s):
            return True
        last_s = self._tried.get(actor) if self._is_late(actor, now_s) else None
        return (last_s is not None and now_s - last_s < limits.RESULT_LAG_TRY_SECONDS) or any(
            now_s - debt.tried_s < limits.RESULT_SILENCE_TRY_SECONDS
            for debt in self._silent(process_id, actor, now_s)
        )

    def took_in(self, process_id: str, actor: str, now_s: float) -> None:
        """Note that a message was taken in which `refuses` let in: others wait for its result. Only one
        that will have a result counts, so say it of nothing that does not verify."""
        if len(self.awaited) <= limits.RESULTS_AWAITED_FREE:
            return
        if self._is_late(actor, now_s):
            self._tried[actor] = now_s
        for debt in self._silent(process_id, actor, now_s):
            debt.tried_s = now_s

    def _silent(self, process_id: str, actor: str, now_s: float) -> list[Debt]:
        debts = (self._debts.get(process_id), self._debts.get(actor))
        return [debt for debt in debts if debt and _is_silent(debt, now_s)]

    def _is_late(self, name: str, now_s: float) -> bool:
        lag_s, measured_s = self._lags.get(name) or (0.0, now_s)
        return lag_s > limits.RESULT_LAG_SECONDS_MAX and now_s - measured_s < limits.LAG_KNOWN_SECONDS


def _is_silent(debt: Debt, now_s: float) -> bool:
    silent_s = now_s - debt.heard_s
    return debt.count > limits.RESULTS_AWAITED_FREE and silent_s > limits.RESULT_SILENCE_SECONDS_MAX
