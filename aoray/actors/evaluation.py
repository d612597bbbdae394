"""The evaluating thread's work: instances, slices of messages, dry runs; and the results that come of them.

The machine plans a slice; here its messages are evaluated, one after another, and their results written in
one transaction. Everything here runs on one thread, the only one that touches instances. What takes long
goes on in `step`, a slice at a time (long_messages.py). Knows no asyncio and no Ray.

Invariants: a result is in the store before anybody hears of it. Only what module, process and log decide is a
result; what this machine fails at is raised (`failed`), and the process made again from the log. A slot that
has a result already gives it again, byte for byte, or its process is stopped (`diverged`). A slice begins no
message after SLICE_SECONDS. What a guest does is its result; nothing of it is raised.

On failure: a fault in aoray in one process ends its part of the slice (`failed`), the others go on. While
the store can't be written, the slice is held and tried again: an evaluated message without result would
otherwise be lost until the next replay. Processes whose term is over are `fenced`; their results are not in
the store. A checkpoint that can't be written or read is logged, and costs time only: an older one is taken,
or the log replayed from its beginning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from aoray import limits
from aoray.actors.long_messages import LongMessage, LongMessages
from aoray.actors.planner import EvaluationBatch
from aoray.actors.residency import CheckpointCost, chains
from aoray.errors import BadCheckpoint, Diverged, StaleTerm, Unavailable
from aoray.execution.guest_input import GuestMessage, dry_run_message, to_guest_message
from aoray.execution.guest_output import to_result
from aoray.protocol.assignments import LogEntry
from aoray.storage.checkpoints import Chain, Checkpoints, chain_of, merged
from aoray.storage.records import CheckpointRow, Divergence, ResultRow
from aoray.storage.results import Results
from aoray.util import heap
from aoray.util.backoff import Backoff
from aoray.util.clock import clock_ms
from aoray.util.metrics import LatencyWindow
from aoray.vm.interface import UNIT, Instance, Outcome, Sliced
from aoray.vm.registry import PreparedProgram, evaluator_of

logger = logging.getLogger(__name__)

WRITE_BACKOFF = Backoff(0.05, 2.0)  # before the store is tried again


class StartRequest(NamedTuple):
    """A process to start, in the term in which it is held."""

    process_id: str
    term: int
    prepared: PreparedProgram


class Started(NamedTuple):
    """Where evaluation begins: the next nonce for this state, and the last nonce that has a result."""

    next_nonce: int
    known_nonce: int


@dataclass(slots=True)
class ResidentProcess:
    """A process with its instance, and its last evaluated entry."""

    evaluator: Instance
    env: bytes
    nonce: int = -1
    timestamp: int = 0
    block_height: int = 0
    checkpoint_nonce: int = -1  # of the newest checkpoint
    chain: Chain | None = None  # that the next one may follow
    used: float = 0.0  # when it last had something to do
    is_compacted: bool = False
    bytes: int = 0  # that it took in memory when that was looked at
    unweighed: float = limits.WEIGH_SECONDS  # seconds of evaluation since then
    takes_long: bool = False  # its last message did; the next probably does
    checkpoint_cost: CheckpointCost = field(default_factory=CheckpointCost)


@dataclass(slots=True)
class Slice:
    """The outcome of a plan. `progress` is by process: generation and last evaluated nonce."""

    rows: list[ResultRow] = field(default_factory=list)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: list[tuple[str, int, Exception]] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    long: list[tuple[str, int]] = field(default_factory=list)  # whose next message goes on in slices
    fenced: list[tuple[str, int]] = field(default_factory=list)
    weighed: list[str] = field(default_factory=list)  # processes that take other memory than before
    replayed: int = 0
    bytes: int = 0
    ticks_due_ms: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of the processor that each process took


class Evaluation:
    """The instances of one process actor."""

    def __init__(
        self,
        results: Results,
        checkpoints: Checkpoints,
        messenger: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.residents: dict[str, ResidentProcess] = {}
        self.long = LongMessages(clock)
        self.closing = threading.Event()
        self.checkpoints_written = self.checkpoints_used = 0
        # From when ticks were due to when they had their results
        self.cron_lags = LatencyWindow(limits.CRON_LAGS_KEPT)
        self._results = results
        self._checkpoints = checkpoints
        self._messenger = messenger
        self._clock, self._processor_clock = clock, processor_clock
        self._loose = False  # memory was freed that the system does not have back

    def begin(self, batch: Sequence[StartRequest]) -> list[Started | Exception]:
        """Make instances, and fence whoever held the processes before. Raises `StaleTerm` if there is a
        later holder.

        As many as fit into a slice's time, one at least: messages wait meanwhile.
        """
        deadline = self._clock() + limits.SLICE_SECONDS
        stale = self._write({each.process_id: each.term for each in batch}, [])
        stopped = self._results.diverged()
        outcomes: list[Started | Exception] = []
        for each in batch:
            if outcomes and self._clock() >= deadline:
                break
            if each.process_id in stale:
                outcomes.append(StaleTerm("a successor evaluates it", processes=[each.process_id]))
                continue
            if each.process_id in stopped:
                outcomes.append(diverged(stopped[each.process_id]))
                continue
            try:
                outcomes.append(self._begin(each.process_id, each.prepared))
            except Exception as error:  # of this process; the others begin
                logger.exception("%s does not begin", each.process_id)
                outcomes.append(error)
        return outcomes

    def _begin(self, process_id: str, prepared: PreparedProgram) -> Started:
        known_nonce = self._results.last_nonce(process_id)
        self.close(process_id)
        resident = self._restored(process_id, prepared, known_nonce) if known_nonce >= 0 else None
        if resident is None:
            resident = ResidentProcess(evaluator_of(prepared), prepared.env)
        else:
            self._weigh(resident)
        resident.used = self._clock()
        self.residents[process_id] = resident
        return Started(resident.nonce + 1, known_nonce)

    def _restored(
        self, process_id: str, prepared: PreparedProgram, known_nonce: int
    ) -> ResidentProcess | None:
        """The process as its newest checkpoint has it that is as it should be; None if there is none."""
        for row in self._checkpoints.of(process_id, known_nonce):
            evaluator = evaluator_of(prepared)
            if not evaluator.supports_checkpoints:
                evaluator.close()
                return None
            try:
                chain = self._restore(evaluator, row)
            except BadCheckpoint as error:
                logger.warning("checkpoint %d of %s is not used: %s", row.nonce, process_id, error)
                evaluator.close()
            except BaseException:
                evaluator.close()
                raise
            else:
                self.checkpoints_used += 1
                place = row.nonce, row.timestamp, row.block_height, row.nonce
                return ResidentProcess(evaluator, prepared.env, *place, chain)
        return None

    def _restore(self, instance: Instance, row: CheckpointRow) -> Chain | None:
        parts = self._checkpoints.read(row, instance.boot_id)
        instance.restore(merged(parts))
        state = instance.state()
        if state.hash != row.state_hash:
            raise BadCheckpoint(f"the state has the hash {state.hash}, not {row.state_hash}")
        first, *later = (len(part.data) for part in parts)
        return chain_of(state, row.file, first, sum(later), len(parts))

    def _weigh(self, resident: ResidentProcess) -> None:
        """See what a process takes in memory. (Touching memory takes time, so it is looked at by time.)"""
        resident.unweighed, resident.bytes = 0.0, resident.evaluator.held()

    def hibernate(self, process_id: str, term: int) -> None:
        """Store what changed since the last checkpoint, and release the instance."""
        resident = self.residents.get(process_id)
        if resident is not None and resident.nonce > resident.checkpoint_nonce:
            self._checkpoint(process_id, term, resident)
        self.close(process_id)

    def compact(self) -> list[str]:
        """Let some processes that have been idle for a moment hold less memory, and return which."""
        latest = self._clock() - limits.REST_SECONDS
        idle = (
            process_id
            for process_id, each in self.residents.items()
            if not each.is_compacted and each.used < latest and process_id not in self.long
        )
        rested = []
        deadline = self._clock() + limits.SLICE_SECONDS
        for process_id in list(islice(idle, limits.RESTS_AT_ONCE_MAX)):
            resident = self.residents[process_id]
            try:
                resident.evaluator.compact()
                self._weigh(resident)
            except Exception:  # of this machine; with its next message it is made again from the log
                logger.exception("%s can't be made smaller while it is idle", process_id)
            resident.is_compacted = self._loose = True
            rested.append(process_id)
            if self._clock() >= deadline:  # messages wait: the large ones take milliseconds
                break
        return rested

    def trim_heap(self) -> None:
        """Give the system back what was released since the last time."""
        if self._loose:
            heap.give_back()
            self._loose = False

    def _checkpoint_if_due(self, turns: Sequence[EvaluationBatch], done: Slice) -> None:
        """One in a slice: it takes as long as a slice does, and others wait for their results."""
        gone = {process_id for process_id, *_ in (*done.failed, *done.fenced)} | set(done.diverged)
        for turn in turns:
            resident = self.residents[turn.process_id]
            if not resident.evaluator.supports_checkpoints:
                continue
            if turn.process_id not in gone and resident.checkpoint_cost.is_due:
                self._checkpoint(turn.process_id, turn.term, resident)
                return

    def _checkpoint(self, process_id: str, term: int, resident: ResidentProcess) -> None:
        """Take one of the state as it is, of which all results are written; a fault is only logged."""
        instance, started = resident.evaluator, self._clock()
        if not instance.supports_checkpoints:  # it begins again with its first message
            return
        try:
            resident.chain = self._write_checkpoint(process_id, term, resident, instance)
        except Exception:  # of this machine; an instance that was hurt says so with the next message
            logger.exception("no checkpoint of %s at %d", process_id, resident.nonce)
        else:
            resident.checkpoint_nonce = resident.nonce
            self.checkpoints_written += 1
        resident.checkpoint_cost.checkpointed(self._clock() - started)

    def _write_checkpoint(
        self, process_id: str, term: int, resident: ResidentProcess, instance: Instance
    ) -> Chain | None:
        """All that differs from the boot, or what changed since the last; and what the next may follow."""
        state, chain = instance.state(), resident.chain
        offsets = state.differing(instance.boot_state)
        changed = state.differing(chain.state) if chain else []
        if not chains(chain, len(offsets) * UNIT, len(changed) * UNIT):
            chain = None
        place = resident.nonce, term, resident.timestamp, resident.block_height
        row = CheckpointRow(process_id, *place, state.hash, "", 0, chain.file if chain else "")
        changes = instance.changes(changed if chain else offsets)
        written = self._checkpoints.write(row, instance.boot_id, changes)
        if chain is None:
            return chain_of(state, written.file, len(offsets) * UNIT, 0, 1)
        later_bytes = chain.later_bytes + len(changed) * UNIT
        return Chain(state, written.file, chain.whole_bytes, later_bytes, chain.files + 1)

    def run(self, turns: Sequence[EvaluationBatch]) -> Slice:
        """Evaluate as much of a plan as fits into a slice, and write the results."""
        done = Slice()
        deadline = self._clock() + limits.SLICE_SECONDS
        for turn in turns:
            try:
                self._run_turn(turn, done, deadline)
            except Exception as error:  # of this machine: made again from the log, others go on
                logger.exception("evaluation of %s failed", turn.process_id)
                done.failed.append((turn.process_id, turn.generation, error))
            if self._is_over(done, deadline):
                break
        self._record({turn.process_id: turn.term for turn in turns}, done)
        self._checkpoint_if_due(turns, done)
        return done

    def _run_turn(self, turn: EvaluationBatch, done: Slice, deadline: float) -> None:
        resident = self.residents[turn.process_id]
        started = self._processor_clock()  # not the clock: what other OS processes take is no process's debt
        stored = self._stored(turn)
        try:
            for entry in turn.entries:
                goes_on = self._run_entry(resident, entry, turn, stored.get(entry.nonce), done)
                if not goes_on or self._is_over(done, deadline):
                    return
        finally:
            done.seconds[turn.process_id] = self._processor_clock() - started

    def _run_entry(
        self,
        resident: ResidentProcess,
        entry: LogEntry,
        turn: EvaluationBatch,
        stored: bytes | None,
        done: Slice,
    ) -> bool:
        """Evaluate an entry, unless it takes long; whether the next may follow."""
        message = to_guest_message(entry, self._messenger)
        started = self._clock()
        outcome = None
        if not resident.takes_long:
            outcome = resident.evaluator.attempt(message.message, resident.env)
        if outcome is None:
            self._put_by(turn, resident, entry, message, done)
            return False
        seconds = self._clock() - started
        return self._evaluated(turn, resident, entry, message, outcome, seconds, stored, done)

    def _put_by(
        self,
        turn: EvaluationBatch,
        resident: ResidentProcess,
        entry: LogEntry,
        message: GuestMessage,
        done: Slice,
    ) -> None:
        """A message that takes long goes on in slices, and its process waits for it."""
        one = turn._replace(entries=[entry])
        self.long.add(LongMessage(one, message, resident.evaluator, resident.env))
        done.long.append((turn.process_id, turn.generation))

    def step(self, seconds: float) -> Slice:
        """Run a slice of one of the long messages, of so many seconds. Returns its result, if that was the
        last slice."""
        done = Slice()
        long = self.long.next()
        if long is None:
            return done
        process_id, resident = long.turn.process_id, self.residents[long.turn.process_id]
        try:
            outcome = self.long.step(long, self._clock() + seconds)
            if outcome is None:
                resident.bytes = long.bytes
                done.weighed.append(process_id)
                return done
            resident.takes_long = outcome.fuel > limits.FUEL_AT_ONCE
            [entry] = long.turn.entries
            stored = self._stored(long.turn).get(entry.nonce)
            self._evaluated(long.turn, resident, entry, long.given, outcome, long.seconds, stored, done)
        except Exception as error:
            logger.exception("evaluation of %s failed", process_id)
            self.long.end(process_id)
            done.failed.append((process_id, long.turn.generation, error))
            return done
        self._record({process_id: long.turn.term}, done)
        self._checkpoint_if_due([long.turn], done)
        return done

    def _is_over(self, done: Slice, deadline: float) -> bool:
        return self._clock() >= deadline or done.bytes >= limits.SLICE_RESULT_BYTES_MAX

    def _stored(self, turn: EvaluationBatch) -> Mapping[int, bytes]:
        """The results that are there of a turn's slots, which evaluation must give again."""
        first, last = turn.entries[0].nonce, min(turn.entries[-1].nonce, turn.known_nonce)
        return self._results.stored(turn.process_id, first, last) if first <= last else {}

    def _stop(self, entry: LogEntry, stored: bytes, evaluated: bytes, done: Slice) -> None:
        """Keep both results; nobody evaluates the process any more."""
        now_ms = clock_ms()
        found = Divergence(entry.process_id, entry.nonce, stored, evaluated, now_ms)
        self._results.diverge(found)
        done.diverged.append(entry.process_id)
        logger.critical("%s Stored: %r Evaluated: %r", diverged(found), stored[:1000], evaluated[:1000])

    def _evaluated(
        self,
        turn: EvaluationBatch,
        resident: ResidentProcess,
        entry: LogEntry,
        message: GuestMessage,
        outcome: Outcome,
        seconds: float,
        stored: bytes | None,
        done: Slice,
    ) -> bool:
        """The outcome of an entry, into the slice; False if it is not what is `stored`: the process stops."""
        _, block_height, pushed_for, due_ms = message
        resident.used, resident.is_compacted = self._clock(), False
        resident.checkpoint_cost.seconds += seconds
        resident.unweighed += seconds
        if resident.unweighed >= limits.WEIGH_SECONDS:
            self._weigh(resident)
            done.weighed.append(turn.process_id)
        resident.nonce, resident.timestamp, resident.block_height = entry.nonce, entry.timestamp, block_height
        result, has_error, has_outbox = to_result(outcome)
        if stored is not None and stored != result:
            self._stop(entry, stored, result, done)
            return False
        done.progress[turn.process_id] = turn.generation, entry.nonce
        if entry.nonce <= turn.known_nonce:
            done.replayed += 1
            return True
        done.bytes += len(result)
        if due_ms:
            done.ticks_due_ms.append(due_ms)
        done.rows.append(
            ResultRow(
                entry.process_id,
                entry.nonce,
                entry.message_id,
                entry.assignment_id,
                entry.timestamp,
                block_height,
                result,
                has_error,
                pushed_for,
                not has_outbox,
            )
        )
        return True

    def _record(self, term_of: dict[str, int], done: Slice) -> None:
        """Write the rows; those of processes that have a successor go out of the slice."""
        if not done.rows:
            return
        terms = {row.process_id: term_of[row.process_id] for row in done.rows}
        stale = self._write(terms, done.rows)
        for due_ms in done.ticks_due_ms:
            self.cron_lags.add(max(0, clock_ms() - due_ms))
        if stale:
            done.fenced = [(process_id, terms[process_id]) for process_id in stale]
            done.rows = [row for row in done.rows if row.process_id not in stale]

    def _write(self, terms: dict[str, int], rows: list[ResultRow]) -> frozenset[str]:
        """Write until it is written; says whose term is over."""
        failures = 0
        while True:
            try:
                self._results.commit(terms, rows)
            except StaleTerm as error:
                return frozenset(error.details["processes"])
            except Unavailable:
                if self.closing.is_set():
                    raise
                logger.exception("%d results wait to be written", len(rows))
                failures += 1
                self.closing.wait(WRITE_BACKOFF.after(failures))
            else:
                return frozenset()

    def dry_run(self, process_id: str, body: dict[str, Any]) -> bytes | None:
        """Return the result of a message that is not in the log, as JSON, leaving no trace. None if it
        takes long."""
        resident, message = self._dry_run_message(process_id, body)
        outcome = resident.evaluator.attempt_dry_run(message, resident.env)
        return None if outcome is None else to_result(outcome).result

    def start_dry_run(self, process_id: str, body: dict[str, Any]) -> Sliced:
        """Begin a dry run that takes long; `step_dry_run` continues it, and it has to be closed."""
        resident, message = self._dry_run_message(process_id, body)
        return resident.evaluator.start_dry_run(message, resident.env)

    def step_dry_run(self, sliced: Sliced) -> bytes | None:
        """Run a slice of a dry run. Returns the result, if that was the last slice."""
        deadline, outcome = self._clock() + limits.SLICE_SECONDS, sliced.step()
        while outcome is None and self._clock() < deadline:
            outcome = sliced.step()
        return None if outcome is None else to_result(outcome).result

    def _dry_run_message(self, process_id: str, body: dict[str, Any]) -> tuple[ResidentProcess, bytes]:
        resident = self._resident(process_id)
        place = resident.timestamp, resident.block_height
        return resident, dry_run_message(process_id, body, *place)

    def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """Return the memory of a process, with the nonce, timestamp and block height of its last message."""
        resident = self._resident(process_id)
        return resident.evaluator.memory(), resident.nonce, resident.timestamp, resident.block_height

    def close(self, process_id: str) -> None:
        """Release the instance of a process."""
        self.long.end(process_id)
        resident = self.residents.pop(process_id, None)
        if resident is not None:
            resident.evaluator.close()
            self._loose = True

    def close_all(self) -> None:
        """Release all instances."""
        for process_id in list(self.residents):
            self.close(process_id)
        self._checkpoints.close()
        self._results.close()

    def _resident(self, process_id: str) -> ResidentProcess:
        resident = self.residents.get(process_id)
        if resident is None:
            raise Unavailable(f"process {process_id} has just left this actor", process_id=process_id)
        resident.used, resident.is_compacted = self._clock(), False
        return resident


def diverged(found: Divergence) -> Diverged:
    """Return the error of a process that is stopped because a result differs."""
    return Diverged(
        found.sentence,
        hint="Both results are kept (docs/engines.md); its log and its earlier results are unchanged.",
        process_id=found.process_id,
        nonce=found.nonce,
    )
