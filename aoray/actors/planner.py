"""The order of evaluation: which entry of which process comes next, and what must be fetched first.

One planner for each process actor. Events go in (work from a shard, a page of the log, an instance that is
ready, entries evaluated, a fault), effects come out (`Activate`, `Read`, `Close`, `Hibernate`), and `plan`
says what to evaluate now. Pure: no I/O, no clock, no Ray; the actor carries out what it says, and a test
can run any interleaving in one thread.

Invariants
* The entries of a process are planned in strict nonce order, each once. Duplicates and older nonces are
  ignored; a gap is read from the log, so lost and reordered calls are harmless.
* A term never goes down. Work of a lower term is refused, a higher one is adopted. Of processes that left,
  the last PROCESSES_KNOWN_MAX are remembered; of others the store refuses a term that is over (`fenced`).
* An effect is given once: while an `Activate` or a `Read` of a process is under way, no second one is asked
  for.
* Processes share the actor's time: each gives a bounded number of entries to a plan, and who has had least
  time is first. One that was idle begins a slice below the least of those that are ready: so it is served
  next, however many others have heavy messages waiting, and cannot save time up.
* Payloads that wait are bounded (ACTOR_QUEUE_MESSAGES_MAX); beyond that only their nonce is kept, and the
  log read again.

A process that has nothing to do may be put to sleep: its instance goes, its term is remembered, and the next
message, or whoever asks for its state, wakes it as if it had just come here.

On failure: a process whose evaluation failed by a fault in aoray loses its instance and is activated again
from the log (`Activate.attempt` tells how often it failed in a row); one whose term is over is closed and
forgotten.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from aoray import limits
from aoray.protocol.assignments import LogEntry
from aoray.util.bounded_dict import BoundedDict


class Activate(NamedTuple):
    """The effect: boot the process's instance, and answer `activated`, `failed` or `fenced`. The first
    `attempt` is 0."""

    process_id: str
    generation: int
    attempt: int


class Read(NamedTuple):
    """The effect: read the log after this nonce, at most `limit` entries, and answer `read`."""

    process_id: str
    generation: int
    after_nonce: int
    limit: int


class Close(NamedTuple):
    """The effect: release the process's instance."""

    process_id: str


class Hibernate(NamedTuple):
    """The effect: store the state of the process, and release its instance."""

    process_id: str
    term: int


Effect = Activate | Read | Close | Hibernate


class EvaluationBatch(NamedTuple):
    """The share of one process in a plan. Results up to `known_nonce` are stored: only the state is
    replayed."""

    process_id: str
    generation: int
    term: int
    known_nonce: int
    entries: Sequence[LogEntry]


@dataclass(slots=True)
class Process:
    """What the planner knows about one process."""

    process_id: str
    term: int
    generation: int  # of its activation: what an older one still brings is ignored
    next_nonce: int = 0  # the next to evaluate
    frontier: int = -1  # all of next_nonce..frontier are pending
    top_nonce: int = -1  # the highest known to be in the log
    known_nonce: int = -1
    live: bool = False
    reading: bool = False
    log_may_have_more: bool = True  # the log may hold more than we know
    attempt: int = 0
    takes_long: bool = False  # its next entry is evaluated in slices, beside the plans
    served_s: float = 0.0  # the processor's time that it had; while it is idle the others' counts for it
    pending: dict[int, LogEntry] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether all that the planner knows of is done."""
        waiting = self.reading or self.log_may_have_more or self.pending
        return self.live and not waiting and self.top_nonce < self.next_nonce


class EvaluationPlanner:
    """The planner of all processes of one actor."""

    def __init__(self, *, queue_entries_max: int = limits.ACTOR_QUEUE_MESSAGES_MAX) -> None:
        self.processes: dict[str, Process] = {}
        self.hibernated: BoundedDict[str, int] = BoundedDict(limits.PROCESSES_KNOWN_MAX)  # their terms
        self.halted: set[str] = set()  # stopped for good: nothing of them is evaluated here
        self.queued = 0
        self._queue_entries_max = queue_entries_max
        self._turns: dict[str, None] = {}  # ready processes; of those with equal time the first has its turn
        self._served_s = 0.0  # the least time that a ready process had, at the last plan
        # The lowest terms still accepted, of processes that were dropped
        self._floor: BoundedDict[str, int] = BoundedDict(limits.PROCESSES_KNOWN_MAX)
        self._generation = 0

    def assign(self, work: Iterable[tuple[int, LogEntry]]) -> list[Effect]:
        """Take work from a shard (terms and entries), in whatever order it arrives."""
        effects: list[Effect] = []
        touched: dict[str, Process] = {}
        for term, entry in work:
            process = self._holder(entry.process_id, term, effects, log_may_have_more=False)
            if process is not None:
                self._offer(process, entry)
                touched[process.process_id] = process
        for process in touched.values():
            effects += self._next(process)
        return effects

    def activate(self, process_id: str, term: int) -> list[Effect]:
        """Take over a process from this term on; the log may hold entries that never arrived."""
        effects: list[Effect] = []
        process = self._holder(process_id, term, effects, log_may_have_more=True)
        return effects + self.recheck_log(process_id) if process is not None else effects

    def recheck_log(self, process_id: str) -> list[Effect]:
        """Read the log of a process again, since somebody asks for an entry that the planner does not
        know."""
        if (term := self.hibernated.get(process_id)) is not None:
            return self.activate(process_id, term)
        process = self.processes.get(process_id)
        if process is None:
            return []
        process.log_may_have_more = True
        return self._next(process)

    def is_idle(self, process_id: str) -> bool:
        """Return whether the process is here and has nothing to do."""
        process = self.processes.get(process_id)
        return process is not None and process.idle

    def hibernate(self, process_id: str) -> list[Effect]:
        """Hibernate an idle process."""
        if not self.is_idle(process_id):
            return []
        return [Hibernate(process_id, self._put_away(process_id))]

    def activated(self, process_id: str, generation: int, next_nonce: int, known_nonce: int) -> list[Effect]:
        """Note that the instance is there, with the state just before `next_nonce`."""
        process = self.current(process_id, generation)
        if process is None:
            return []
        process.live, process.next_nonce, process.known_nonce = True, next_nonce, known_nonce
        for nonce in [nonce for nonce in process.pending if nonce < next_nonce]:
            self._forget(process, nonce)
        process.frontier = next_nonce - 1
        # If what comes next is at hand, what comes after will come too, or leave a gap.
        process.log_may_have_more = process.log_may_have_more or next_nonce not in process.pending
        return self._next(process)

    def read(
        self, process_id: str, generation: int, entries: Sequence[LogEntry], *, more: bool
    ) -> list[Effect]:
        """Note a page of the log, in answer to `Read`; `more` says that others follow it."""
        process = self.current(process_id, generation)
        if process is None:
            return []
        process.reading = False
        process.log_may_have_more = process.log_may_have_more or more
        before = process.frontier
        for entry in entries:
            self._offer(process, entry)
        self._advance(process)
        if process.frontier == before and not process.log_may_have_more:
            self._drop_unconfirmed(process)
        return self._next(process)

    def plan(self, *, entries_max: int, entries_per_process_max: int) -> list[EvaluationBatch]:
        """Return what to evaluate now, in this order; answer `evaluated` for as much of it as was done.

        The more processes are ready, the less each gives: so nobody's turn is far, however many there are.
        """
        share = limits.ROUND_ENTRIES // max(1, len(self._turns))
        entries_per_process_max = max(1, min(entries_per_process_max, share))
        turns: list[EvaluationBatch] = []
        ready = map(self.processes.__getitem__, self._turns)
        for process in heapq.nsmallest(entries_max, ready, key=attrgetter("served_s")):
            if entries_max <= 0:
                break
            if not turns:
                self._served_s = process.served_s
            count = min(process.frontier - process.next_nonce + 1, entries_per_process_max, entries_max)
            entries = [process.pending[process.next_nonce + step] for step in range(count)]
            turns.append(
                EvaluationBatch(
                    process.process_id, process.generation, process.term, process.known_nonce, entries
                )
            )
            entries_max -= count
        return turns

    def charge(self, process_id: str, seconds: float) -> None:
        """Note how much of the processor's time the evaluation of a process took."""
        if process := self.processes.get(process_id):
            process.served_s += seconds

    def evaluated(self, process_id: str, generation: int, nonce: int) -> list[Effect]:
        """Note that entries up to this nonce are evaluated, and their results stored."""
        process = self.current(process_id, generation)
        if process is None or nonce < process.next_nonce:
            return []
        for done in range(process.next_nonce, nonce + 1):
            self._forget(process, done)
        process.next_nonce, process.takes_long = nonce + 1, False
        if nonce > process.known_nonce:  # a replay that ends in the same fault again is not progress
            process.attempt = 0
        self._turns.pop(process_id, None)  # to the back, if there is more
        return self._next(process)

    def long(self, process_id: str, generation: int) -> None:
        """Note that the next entry takes long: nothing of this process is planned until it is evaluated."""
        process = self.current(process_id, generation)
        if process is not None:
            process.takes_long = True
            self._turns.pop(process_id, None)

    def failed(self, process_id: str, generation: int) -> list[Effect]:
        """Start a process from the log again, with a new instance, after a fault in activation or
        evaluation."""
        process = self.current(process_id, generation)
        if process is None:
            return []
        self._discard(process)
        again = self._begin(process_id, process.term, attempt=process.attempt + 1)
        return [Close(process_id), Activate(process_id, again.generation, again.attempt)]

    def rest(self, process_id: str) -> list[Effect]:
        """Keep no more than the term of a process that can't start just now: its log has the rest. It
        starts again like one that hibernates, by `recheck_log` or its next message."""
        if process_id not in self.processes:
            return []
        self._put_away(process_id)
        return [Close(process_id)]

    def fenced(self, process_id: str, term: int) -> list[Effect]:
        """Note that the store knows a later term than this one: the process is a successor's."""
        self._floor[process_id] = max(self._floor.get(process_id) or 0, term + 1)
        if (self.hibernated.get(process_id) or 0) <= term:
            self.hibernated.pop(process_id)
        process = self.processes.get(process_id)
        if process is None or process.term > term:
            return []
        return self.drop(process_id)

    def halt(self, process_id: str) -> list[Effect]:
        """Stop a process whose results can't be trusted."""
        self.halted.add(process_id)
        self.hibernated.pop(process_id)
        return self.drop(process_id)

    def drop(self, process_id: str) -> list[Effect]:
        """Drop a process: its instance is released, and its term stays refused or accepted as it was."""
        process = self.processes.pop(process_id, None)
        if process is None:
            return []
        self._floor[process_id] = max(self._floor.get(process_id) or 0, process.term)
        self._discard(process)
        return [Close(process_id)]

    def current(self, process_id: str, generation: int) -> Process | None:
        """Return the process, if it is still in the activation in question."""
        process = self.processes.get(process_id)
        return process if process is not None and process.generation == generation else None

    def _holder(
        self, process_id: str, term: int, effects: list[Effect], *, log_may_have_more: bool
    ) -> Process | None:
        """The process that this term may speak for; None if the term is over."""
        process = self.processes.get(process_id)
        known = process.term if process else self.hibernated.get(process_id)
        if term < max(known or 0, self._floor.get(process_id) or 0) or process_id in self.halted:
            return None
        if process is None:
            process = self._begin(process_id, term, attempt=0, log_may_have_more=log_may_have_more)
            effects.append(Activate(process_id, process.generation, 0))
        process.term = term
        return process

    def _begin(self, process_id: str, term: int, *, attempt: int, log_may_have_more: bool = True) -> Process:
        self._generation += 1
        self.hibernated.pop(process_id)
        process = Process(
            process_id, term, self._generation, attempt=attempt, log_may_have_more=log_may_have_more
        )
        self.processes[process_id] = process
        return process

    def _offer(self, process: Process, entry: LogEntry) -> None:
        """Keep an entry that is to come, unless it is there or the queue is full."""
        nonce = entry.nonce
        process.top_nonce = max(process.top_nonce, nonce)
        if nonce < process.next_nonce or nonce in process.pending:
            return
        if self.queued < self._queue_entries_max or nonce == process.next_nonce:
            process.pending[nonce] = entry
            self.queued += 1

    def _next(self, process: Process) -> list[Effect]:
        """Bring its standing up to date: its place in the turns, and whether the log is to be read."""
        if not process.live:
            return []
        self._advance(process)
        is_ready = process.frontier >= process.next_nonce and not process.takes_long
        if is_ready and process.process_id not in self._turns:
            process.served_s = max(process.served_s, self._served_s - limits.SLICE_SECONDS)
            self._turns[process.process_id] = None
        return self._fetch(process)

    def _advance(self, process: Process) -> None:
        while process.frontier + 1 in process.pending:
            process.frontier += 1

    def _fetch(self, process: Process) -> list[Effect]:
        """Read ahead while replaying; fill a gap only when nothing else is left: late calls fill most."""
        if process.reading:
            return []
        ahead = process.frontier - process.next_nonce + 1
        page = limits.REPLAY_PAGE_ENTRIES
        if (
            process.log_may_have_more
            and ahead <= page // 2
            and (ahead == 0 or self.queued < self._queue_entries_max)
        ):
            process.reading, process.log_may_have_more = True, False
            return [Read(process.process_id, process.generation, process.frontier, page)]
        if ahead == 0 and process.top_nonce > process.frontier:
            process.reading = True
            missing = min(process.top_nonce - process.frontier, page)
            return [Read(process.process_id, process.generation, process.frontier, missing)]
        return []

    def _drop_unconfirmed(self, process: Process) -> None:
        """The log does not hold what we were told of, though it was to be durable: wait to be told again."""
        for nonce in [nonce for nonce in process.pending if nonce > process.frontier]:
            self._forget(process, nonce)
        process.top_nonce = process.frontier

    def _forget(self, process: Process, nonce: int) -> None:
        if process.pending.pop(nonce, None) is not None:
            self.queued -= 1

    def _put_away(self, process_id: str) -> int:
        """Keep no more of a process than its term, which is returned."""
        process = self.processes.pop(process_id)
        self.hibernated[process_id] = process.term
        self._discard(process)
        return process.term

    def _discard(self, process: Process) -> None:
        self.queued -= len(process.pending)
        process.pending.clear()
        self._turns.pop(process.process_id, None)
