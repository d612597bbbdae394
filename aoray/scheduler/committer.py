"""The committer: turns one batch of submissions into durable receipts, with the ordering rules, placement and
the log.

Where in a message's journey: the heart of the shard actor, which runs the committer in one thread and
afterwards forwards its `work` to the process actors. The committer does not use Ray; tests and the simulator
run it with a clock of their own.

Invariants: when an outcome is a `Receipt`, its message is on disk, and so is the placement (actor and term)
that its work carries. If the log fails, nothing of the batch happened: every outcome is `Unavailable`, and
the log is opened again for the next batch. `StaleTerm` is passed on to the caller, who must stop.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aoray import limits
from aoray.contracts.shard import Receipt, Submission, Work, stopped_error
from aoray.errors import AorayError, ClientError, TooLarge, Unavailable, UnknownProcess
from aoray.protocol.assignments import LogEntry
from aoray.protocol.signatures.base import Signer
from aoray.scheduler.ordering import order
from aoray.scheduler.placement import Placement
from aoray.storage.crontab import CronState
from aoray.storage.decisions import Decision
from aoray.storage.log import Log
from aoray.storage.records import ProcessState, Slot
from aoray.util.bounded_dict import BoundedDict

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Committed:
    """What became of a batch: the outcome of each submission, and the work for each actor."""

    outcomes: list[Receipt | AorayError]
    work: Mapping[str, list[Work]] = field(default_factory=dict)


class Committer:
    """The only writer of a shard's log. It is used from one thread at a time."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        placement: Placement,
        signer: Signer,
        last_nonces: Callable[[Sequence[str]], Mapping[str, int]],
        earlier: Sequence[str] = (),
    ) -> None:
        """Open the log and take over its term.

        `last_nonces` returns, for those of the given processes that have results, the nonce of the last
        result. `earlier` are the addresses of schedulers that handed over to `signer`.
        """
        self._open_log = open_log
        self._placement = placement
        self._signer = signer
        self._earlier = earlier
        self._last_nonces = last_nonces
        self.broken = False
        self._open()

    def _open(self) -> None:
        self.log = self._open_log()
        self.term = self.log.take_over()
        self._placement.load(self.log.counts())
        self.stopped = self.log.decisions.stopped()
        # States as this term wrote or read them. They stay true: a write under a later term stops this one.
        self._known: BoundedDict[str, ProcessState] = BoundedDict(limits.PROCESSES_KNOWN_MAX)
        self.broken = False

    def reopen_if_broken(self) -> None:
        """Open the log again if it failed. Raises `Unavailable` if it still fails."""
        if self.broken:
            self._open()

    @contextmanager
    def open_log(self) -> Iterator[Log]:
        """Yield the log, opened again if it failed before; `Unavailable` within the context marks the log as
        broken."""
        self.reopen_if_broken()
        try:
            yield self.log
        except Unavailable:
            self.broken = True
            self.log.close()
            raise

    def on_log(self, function: Callable[[Log], Any]) -> Any:
        """Run a function on the log; `Unavailable` marks the log as broken, as in a commit."""
        with self.open_log() as log:
            return function(log)

    def commit(
        self,
        batch: Sequence[Submission],
        *,
        now_ms: int,
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> Committed:
        """Order a batch, and make it durable together with the new states of crons.

        `now_ms` is the time of the batch in milliseconds. If the attribute `term` has changed afterwards, the
        log had to be opened again.
        """
        try:
            with self.open_log():
                return self._commit(batch, now_ms, block_height, crons)
        except Unavailable as error:
            logger.exception("a batch of %d submissions was not written", len(batch))
            return Committed([error] * len(batch))

    def _commit(
        self, batch: Sequence[Submission], now_ms: int, block_height: int, crons: Sequence[CronState]
    ) -> Committed:
        states = self._states({s.process_id for s in batch})
        slots = self.log.slots({(s.process_id, s.message_id) for s in batch})
        ordered = order(
            batch,
            states,
            slots,
            self._signer,
            now_ms=now_ms,
            block_height=block_height,
            stopped=self.stopped,
            earlier=self._earlier,
        )
        placed = {pid: self._place(pid, state) for pid, state in ordered.states.items()}
        changed = {pid: state for pid, state in placed.items() if state != states.get(pid)}
        if changed or crons:
            self.log.append(ordered.entries, changed, block_height, crons)
            for process_id, state in changed.items():
                self._known[process_id] = state
        outcomes = [
            _receipt(submission, outcome, placed, is_new)
            for submission, outcome, is_new in zip(batch, ordered.outcomes, ordered.are_new, strict=True)
        ]
        added = itertools.compress(batch, ordered.are_new)
        gateways = {(s.process_id, s.message_id): s.gateway for s in added}
        return Committed(outcomes, _work(ordered.entries, placed, gateways))

    def _states(self, process_ids: set[str]) -> dict[str, ProcessState]:
        """Return the states of those processes that exist, from memory or from the log."""
        states, unknown = {}, []
        for process_id in process_ids:
            if (state := self._known.get(process_id)) is None:
                unknown.append(process_id)
            else:
                states[process_id] = state
        return states | self.log.processes(unknown) if unknown else states

    def _place(self, process_id: str, state: ProcessState) -> ProcessState:
        """Return the state with an actor: the present one if it still holds, else a new one under a raised
        term. A stopped process keeps its state."""
        if process_id in self.stopped:
            return state
        if self._placement.holds(state.actor, process_id, state.own):
            return state
        return state._replace(actor=self._placement.choose(process_id, state.own), term=state.term + 1)

    def locate(self, process_ids: Sequence[str]) -> tuple[list[str | AorayError], dict[str, dict[str, int]]]:
        """Return the actor of each process, and for each actor its processes with their terms. Processes
        without an actor are placed now."""
        with self.open_log() as log:
            states = log.processes(process_ids)
            placed = {pid: self._place(pid, state) for pid, state in states.items()}
            changed = {pid: state for pid, state in placed.items() if state != states[pid]}
            if changed:
                log.append([], changed, 0)
                for process_id in changed:
                    self._known.pop(process_id)
        running = {pid: state for pid, state in placed.items() if pid not in self.stopped}
        return [self._named(pid, placed) for pid in process_ids], _by_actor(running)

    def _named(self, process_id: str, placed: Mapping[str, ProcessState]) -> str | AorayError:
        """Return the name of the actor of a process, or the error that says why it has none."""
        if process_id in self.stopped:
            return stopped_error(process_id)
        if process_id in placed:
            return placed[process_id].actor
        return UnknownProcess(f"no process {process_id} was spawned here", process_id=process_id)

    def decide(self, decision: Decision) -> int:
        """Store the operator's decision to stop or resume a process; on return it is on disk and in force.

        Returns the new term of the process; no actor holds this term while the process is stopped. Raises
        `ClientError` if there is a later decision. Repeating the last decision changes nothing.
        """
        with self.open_log() as log:
            if decision.process_id not in log.processes([decision.process_id]):
                raise UnknownProcess(
                    f"no process {decision.process_id} was spawned here", process_id=decision.process_id
                )
            last = log.decisions.last(decision.process_id)
            if last and last.item != decision.item and last.timestamp >= decision.timestamp:
                raise ClientError("there is a later decision about this process", at_ms=last.timestamp)
            if decision.stopped and len(self.stopped) >= limits.STOPPED_PROCESSES_MAX:
                raise TooLarge(f"at most {limits.STOPPED_PROCESSES_MAX} processes of a shard are stopped")
            term = log.decisions.keep(decision)
            self._known.pop(decision.process_id)
        (self.stopped.add if decision.stopped else self.stopped.discard)(decision.process_id)
        return term

    def processes_behind(
        self, after: str, limit: int, actor: str | None = None
    ) -> tuple[dict[str, dict[str, int]], str]:
        """Return the processes of one page that have entries after their last result, by actor and with their
        terms, and the process id to continue after ('' at the end).

        `after` and `limit` select the page; `actor`, if given, selects the processes of one actor. Processes
        without an actor are placed now.
        """
        with self.open_log() as log:
            page = log.placed(after, limit, actor)
        last = self._last_nonces([placed.process_id for placed in page])
        behind = [
            placed.process_id
            for placed in page
            if placed.process_id not in self.stopped and last.get(placed.process_id, -1) < placed.nonce
        ]
        _, found = self.locate(behind)
        return found, page[-1].process_id if len(page) == limit else ""

    def is_evaluated(self, process_id: str, message_id: str) -> bool:
        """Return whether a message has its result. Also True for a message that is not in the log, since
        nobody needs to wait for it."""
        slot = self.log.slots([(process_id, message_id)]).get((process_id, message_id))
        return slot is None or slot.nonce <= self._last_nonces([process_id]).get(process_id, -1)

    def close(self) -> None:
        """Close the log."""
        self.log.close()


def _receipt(
    submission: Submission, outcome: Slot | AorayError, states: Mapping[str, ProcessState], is_new: bool
) -> Receipt | AorayError:
    if isinstance(outcome, AorayError):
        return outcome
    actor = states[submission.process_id].actor
    return Receipt(submission.process_id, submission.message_id, *outcome, actor, is_new)


def _work(
    entries: Iterable[LogEntry],
    states: Mapping[str, ProcessState],
    gateways: Mapping[tuple[str, str], str],
) -> dict[str, list[Work]]:
    work: dict[str, list[Work]] = defaultdict(list)
    for entry in entries:
        state = states[entry.process_id]
        gateway = gateways[entry.process_id, entry.message_id]
        work[state.actor].append(Work(state.term, entry, gateway))
    return work


def _by_actor(states: Mapping[str, ProcessState]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for process_id, state in states.items():
        found[state.actor][process_id] = state.term
    return found
