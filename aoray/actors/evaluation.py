"""The evaluating thread's work: instances, slices of messages, dry runs; and the results that come of them.

The machine plans a slice; here its messages are evaluated, one after another, and their results written in
one transaction. Everything here runs on one thread, the only one that touches WASM. What takes long goes on
in `step`, a slice at a time (long.py). Knows no asyncio and no Ray.

Invariants: a result is in the store before anybody hears of it. Only what module, process and log decide is a
result; what this machine fails at is raised (`failed`), and the process made again from the log. A slot that
has a result already gives it again, byte for byte, or its process is stopped (`diverged`). A slice begins no
message after SLICE_SECONDS. What a guest does is its result; nothing of it is raised.

On failure: a fault of ours in one process ends its part of the slice (`failed`), the others go on. While
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
from typing import Any, NamedTuple, Protocol

from aoray import limits
from aoray.actors.checkpoints import Chain, CheckpointRow, Checkpoints, chain_of, merged
from aoray.actors.hibernation import Effort, chains
from aoray.actors.long import LongMessage, LongMessages
from aoray.actors.machine import Turn
from aoray.actors.messages import Given, dry_run_message, given
from aoray.actors.results import Divergence, ResultRow, Results
from aoray.actors.served import served
from aoray.errors import BadCheckpoint, Diverged, StaleTerm, Unavailable, UnsupportedModule
from aoray.lags import Lags
from aoray.protocol.assignments import LogEntry
from aoray.wasm import UNIT, Instance, Limits, Module, Outcome, Sliced, memory
from aoray.wasm.instance import judged

logger = logging.getLogger(__name__)

WRITE_BACKOFF_SECONDS = (0.05, 2.0)  # first and longest wait before the store is tried again


class Evaluator(Protocol):
    """What evaluates the messages of a process: `wasm.Instance`, or `Refusal`."""

    def evaluate(self, message: bytes, env: bytes) -> Outcome: ...
    def dry_run(self, message: bytes, env: bytes) -> Outcome: ...
    def attempt(self, message: bytes, env: bytes) -> Outcome | None: ...
    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None: ...
    def memory(self) -> bytes: ...
    def held(self) -> int: ...
    def rest(self) -> None: ...
    def close(self) -> None: ...


class Refusal:
    """Stands for the instance of a process that can't have one: every message's result is the same error."""

    def __init__(self, reason: str) -> None:
        self._outcome = Outcome({}, reason, 0)

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        return self._outcome

    dry_run = attempt = attempt_dry_run = evaluate

    def memory(self) -> bytes:
        return b""

    def held(self) -> int:
        return 0

    def rest(self) -> None:
        """There is nothing to let go of."""

    def close(self) -> None:
        """There is nothing to give back."""


class Prepared(NamedTuple):
    """What a process's instance is made of; a module that can't be used is the reason for a `Refusal`."""

    module: Module | str
    limits: Limits
    env: bytes


class Beginning(NamedTuple):
    """A process to begin with, in the term it is held in."""

    process_id: str
    term: int
    prepared: Prepared


class Begun(NamedTuple):
    """Where evaluation begins: the next nonce for this state, and the last one that has a result."""

    next_nonce: int
    known_nonce: int


@dataclass(slots=True)
class Resident:
    """A process with its instance, and what its last evaluated entry was."""

    evaluator: Evaluator
    env: bytes
    nonce: int = -1
    timestamp: int = 0
    block_height: int = 0
    kept_nonce: int = -1  # of the newest checkpoint
    chain: Chain | None = None  # that the next one may follow
    used: float = 0.0  # when it last had something to do
    rests: bool = False
    bytes: int = 0  # that it took in memory when that was looked at
    unweighed: float = limits.WEIGH_SECONDS  # seconds of evaluation since then
    takes_long: bool = False  # its last message did; the next probably does
    effort: Effort = field(default_factory=Effort)


@dataclass(slots=True)
class Slice:
    """What became of a plan. `progress` is by process: generation and last evaluated nonce."""

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


class Evaluation:
    """The instances of one process actor."""

    def __init__(
        self,
        results: Results,
        checkpoints: Checkpoints,
        messenger: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.residents: dict[str, Resident] = {}
        self.long = LongMessages(clock)
        self.closing = threading.Event()
        self.checkpoints_written = self.checkpoints_used = 0
        # From when ticks were due to when they had their results
        self.cron_lags = Lags(limits.CRON_LAGS_KEPT)
        self._results = results
        self._checkpoints = checkpoints
        self._messenger = messenger
        self._clock = clock
        self._loose = False  # memory was freed that the system does not have back

    def begin(self, batch: Sequence[Beginning]) -> list[Begun | Exception]:
        """Make instances, and fence whoever held the processes before (StaleTerm: that one is us).

        As many as fit into a slice's time, one at least: messages wait meanwhile.
        """
        deadline = self._clock() + limits.SLICE_SECONDS
        stale = self._write({each.process_id: each.term for each in batch}, [])
        stopped = self._results.diverged()
        outcomes: list[Begun | Exception] = []
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

    def _begin(self, process_id: str, prepared: Prepared) -> Begun:
        known_nonce = self._results.last_nonce(process_id)
        self.close(process_id)
        resident = self._restored(process_id, prepared, known_nonce) if known_nonce >= 0 else None
        if resident is None:
            resident = Resident(evaluator_of(prepared), prepared.env)
        else:
            self._weigh(resident)
        resident.used = self._clock()
        self.residents[process_id] = resident
        return Begun(resident.nonce + 1, known_nonce)

    def _restored(self, process_id: str, prepared: Prepared, known_nonce: int) -> Resident | None:
        """The process as its newest checkpoint has it that is as it should be; None if there is none."""
        for row in self._checkpoints.of(process_id, known_nonce):
            evaluator = evaluator_of(prepared)
            try:
                if not isinstance(evaluator, Instance):
                    return None
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
                return Resident(evaluator, prepared.env, *place, chain)
        return None

    def _restore(self, instance: Instance, row: CheckpointRow) -> Chain | None:
        parts = self._checkpoints.read(row, instance.boot_id)
        instance.restore(merged(parts))
        state = instance.state()
        if state.hash != row.state_hash:
            raise BadCheckpoint(f"its state has the hash {state.hash}, not {row.state_hash}")
        first, *later = (len(part.data) for part in parts)
        return chain_of(state, row.file, first, sum(later), len(parts))

    def _weigh(self, resident: Resident) -> None:
        """See what a process takes in memory. (Touching memory takes time, so it is looked at by time.)"""
        resident.unweighed, resident.bytes = 0.0, resident.evaluator.held()

    def hibernate(self, process_id: str, term: int) -> None:
        """Keep what changed since the last checkpoint, and let go of the instance."""
        resident = self.residents.get(process_id)
        if resident is not None and resident.nonce > resident.kept_nonce:
            self._checkpoint(process_id, term, resident)
        self.close(process_id)

    def rest(self) -> list[str]:
        """Let some of those that have been idle for a moment hold less memory; which."""
        latest = self._clock() - limits.REST_SECONDS
        idle = (
            process_id
            for process_id, each in self.residents.items()
            if not each.rests and each.used < latest and process_id not in self.long
        )
        rested = []
        deadline = self._clock() + limits.SLICE_SECONDS
        for process_id in list(islice(idle, limits.RESTS_AT_ONCE_MAX)):
            resident = self.residents[process_id]
            try:
                resident.evaluator.rest()
                self._weigh(resident)
            except Exception:  # of this machine; with its next message it is made again from the log
                logger.exception("%s can't be made smaller while it is idle", process_id)
            resident.rests = self._loose = True
            rested.append(process_id)
            if self._clock() >= deadline:  # messages wait: the large ones take milliseconds
                break
        return rested

    def give_back(self) -> None:
        """What was let go of since the last time, to the system."""
        if self._loose:
            memory.give_back()
            self._loose = False

    def _checkpoint_if_due(self, turns: Sequence[Turn], done: Slice) -> None:
        """One in a slice: it takes as long as a slice does, and others wait for their results."""
        gone = {process_id for process_id, *_ in (*done.failed, *done.fenced)} | set(done.diverged)
        for turn in turns:
            resident = self.residents[turn.process_id]
            if turn.process_id not in gone and resident.effort.is_due:
                self._checkpoint(turn.process_id, turn.term, resident)
                return

    def _checkpoint(self, process_id: str, term: int, resident: Resident) -> None:
        """Take one of the state as it is, of which all results are written; a fault is only logged."""
        instance, started = resident.evaluator, self._clock()
        if not isinstance(instance, Instance):
            return
        try:
            resident.chain = self._write_checkpoint(process_id, term, resident, instance)
        except Exception:  # of this machine; an instance that was hurt says so with the next message
            logger.exception("no checkpoint of %s at %d", process_id, resident.nonce)
        else:
            resident.kept_nonce = resident.nonce
            self.checkpoints_written += 1
        resident.effort.checkpointed(self._clock() - started)

    def _write_checkpoint(
        self, process_id: str, term: int, resident: Resident, instance: Instance
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

    def run(self, turns: Sequence[Turn]) -> Slice:
        """Evaluate as much of a plan as fits into a slice, and write the results."""
        done = Slice()
        deadline = self._clock() + limits.SLICE_SECONDS
        for turn in turns:
            try:
                self._run_turn(turn, done, deadline)
            except (
                Exception
            ) as error:  # of this machine: the process is made again from the log, others go on
                logger.exception("evaluation of %s failed", turn.process_id)
                done.failed.append((turn.process_id, turn.generation, error))
            if self._is_over(done, deadline):
                break
        self._record({turn.process_id: turn.term for turn in turns}, done)
        self._checkpoint_if_due(turns, done)
        return done

    def _run_turn(self, turn: Turn, done: Slice, deadline: float) -> None:
        resident = self.residents[turn.process_id]
        stored = self._stored(turn)
        for entry in turn.entries:
            goes_on = self._run_entry(resident, entry, turn, stored.get(entry.nonce), done)
            if not goes_on or self._is_over(done, deadline):
                return

    def _run_entry(
        self, resident: Resident, entry: LogEntry, turn: Turn, stored: bytes | None, done: Slice
    ) -> bool:
        """Evaluate an entry, unless it takes long; whether the next may follow."""
        message = given(entry, self._messenger)
        started = self._clock()
        outcome = None
        if not resident.takes_long:
            outcome = resident.evaluator.attempt(message.message, resident.env)
        if outcome is None:
            self._put_by(turn, resident, entry, message, done)
            return False
        seconds = self._clock() - started
        return self._evaluated(turn, resident, entry, message, outcome, seconds, stored, done)

    def _put_by(self, turn: Turn, resident: Resident, entry: LogEntry, message: Given, done: Slice) -> None:
        """A message that takes long goes on in slices, and its process waits for it."""
        assert isinstance(resident.evaluator, Instance)
        one = turn._replace(entries=[entry])
        self.long.add(LongMessage(one, message, resident.evaluator, resident.env))
        done.long.append((turn.process_id, turn.generation))

    def step(self) -> Slice:
        """A slice of one of the messages that take long; its result, if that was the last."""
        done = Slice()
        long = self.long.next()
        if long is None:
            return done
        process_id, resident = long.turn.process_id, self.residents[long.turn.process_id]
        try:
            outcome = self.long.step(long, self._clock() + limits.SLICE_SECONDS)
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

    def _stored(self, turn: Turn) -> Mapping[int, bytes]:
        """The results that are there of a turn's slots, which evaluation must give again."""
        first, last = turn.entries[0].nonce, min(turn.entries[-1].nonce, turn.known_nonce)
        return self._results.stored(turn.process_id, first, last) if first <= last else {}

    def _stop(self, entry: LogEntry, stored: bytes, evaluated: bytes, done: Slice) -> None:
        """Keep both results; nobody evaluates the process any more."""
        now_ms = time.time_ns() // 1_000_000
        found = Divergence(entry.process_id, entry.nonce, stored, evaluated, now_ms)
        self._results.diverge(found)
        done.diverged.append(entry.process_id)
        logger.critical("%s Stored: %r Evaluated: %r", diverged(found), stored[:1000], evaluated[:1000])

    def _evaluated(
        self,
        turn: Turn,
        resident: Resident,
        entry: LogEntry,
        message: Given,
        outcome: Outcome,
        seconds: float,
        stored: bytes | None,
        done: Slice,
    ) -> bool:
        """The outcome of an entry, into the slice; False if it is not what is `stored`: the process stops."""
        _, block_height, pushed_for, due_ms = message
        resident.used, resident.rests = self._clock(), False
        resident.effort.evaluated(seconds)
        resident.unweighed += seconds
        if resident.unweighed >= limits.WEIGH_SECONDS:
            self._weigh(resident)
            done.weighed.append(turn.process_id)
        resident.nonce, resident.timestamp, resident.block_height = entry.nonce, entry.timestamp, block_height
        result, has_error, has_outbox = served(outcome)
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
            self.cron_lags.add(max(0, time.time_ns() // 1_000_000 - due_ms))
        if stale:
            done.fenced = [(process_id, terms[process_id]) for process_id in stale]
            done.rows = [row for row in done.rows if row.process_id not in stale]

    def _write(self, terms: dict[str, int], rows: list[ResultRow]) -> frozenset[str]:
        """Write until it is written; says whose term is over."""
        wait, longest = WRITE_BACKOFF_SECONDS
        while True:
            try:
                self._results.commit(terms, rows)
            except StaleTerm as error:
                return frozenset(error.details["processes"])
            except Unavailable:
                if self.closing.is_set():
                    raise
                logger.exception("%d results wait to be written", len(rows))
                self.closing.wait(wait)
                wait = min(2 * wait, longest)
            else:
                return frozenset()

    def dry_run(self, process_id: str, body: dict[str, Any]) -> bytes | None:
        """The result of a message that never was, as JSON; leaves no trace. None if it takes long."""
        resident, message = self._dry_run_message(process_id, body)
        outcome = resident.evaluator.attempt_dry_run(message, resident.env)
        return None if outcome is None else served(outcome).result

    def start_dry_run(self, process_id: str, body: dict[str, Any]) -> Sliced:
        """Begin one that takes long, to be gone on with by `step_dry_run`, and closed."""
        resident, message = self._dry_run_message(process_id, body)
        assert isinstance(resident.evaluator, Instance)
        return resident.evaluator.start_dry_run(message, resident.env)

    def step_dry_run(self, sliced: Sliced) -> bytes | None:
        """A slice of it; the result, if that was the last."""
        deadline, answer = self._clock() + limits.SLICE_SECONDS, sliced.step()
        while answer is None and self._clock() < deadline:
            answer = sliced.step()
        return None if answer is None else served(judged(answer, sliced.guest.module.rules)).result

    def _dry_run_message(self, process_id: str, body: dict[str, Any]) -> tuple[Resident, bytes]:
        resident = self._resident(process_id)
        place = resident.timestamp, resident.block_height
        return resident, dry_run_message(process_id, body, *place)

    def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """The memory of a process, and the nonce, timestamp and block height that it is of."""
        resident = self._resident(process_id)
        return resident.evaluator.memory(), resident.nonce, resident.timestamp, resident.block_height

    def close(self, process_id: str) -> None:
        """Let go of a process's instance."""
        self.long.end(process_id)
        resident = self.residents.pop(process_id, None)
        if resident is not None:
            resident.evaluator.close()
            self._loose = True

    def close_all(self) -> None:
        """Let go of everything."""
        for process_id in list(self.residents):
            self.close(process_id)
        self._checkpoints.close()
        self._results.close()

    def _resident(self, process_id: str) -> Resident:
        resident = self.residents.get(process_id)
        if resident is None:
            raise Unavailable(f"process {process_id} has just left this actor", process=process_id)
        resident.used, resident.rests = self._clock(), False
        return resident


def diverged(found: Divergence) -> Diverged:
    """Why a process is stopped."""
    process_id, nonce = found.process_id, found.nonce
    return Diverged(
        f"process {process_id} is stopped: slot {nonce} gave another result when it was evaluated again",
        hint="Both results are kept (docs/engines.md). Its log and what it gave before are as they were.",
        process=process_id,
        nonce=nonce,
    )


def evaluator_of(prepared: Prepared) -> Evaluator:
    """An instance, just booted; or what answers for a process that can't have one."""
    if isinstance(prepared.module, str):
        return Refusal(prepared.module)
    try:
        return Instance.boot(prepared.module, prepared.limits)
    except UnsupportedModule as error:
        return Refusal(error.message)
