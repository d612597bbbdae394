"""The ordering rules: from the known state and a batch of submissions to log entries and an answer to each
submission. Pure.

Where in a message's journey: after the gateway, which verified the item, or the actor, which signed it;
before the log, which makes the entries durable.

Invariants (guarantees G1, G3): the nonces of a process have no gap and start at 0, the process itself. A
process has each message once; whoever submits it again gets the first receipt again. Timestamps strictly
increase. Each entry links to the entry before it. A bad submission gets its own error, and does not affect
the others of its batch.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aoray import limits
from aoray.contracts.shard import Submission, stopped_error
from aoray.errors import AorayError, ClientError, MalformedInput, TooLarge, UnknownProcess
from aoray.protocol.assignments import Head, LogEntry, next_slot
from aoray.protocol.cron import check_asked
from aoray.protocol.engines import engine_asked
from aoray.protocol.ids import is_id
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import SignedMessage, parse
from aoray.protocol.tags import all_of, ao_tag
from aoray.storage.records import ProcessState, Slot
from aoray.vm.engines import BEFORE_VERSIONS

MessageKey = tuple[str, str]  # process id, message id
SlotOrError = Slot | AorayError


@dataclass(slots=True)
class OrderingResult:
    """What became of a batch: the entries to write, the states after them, the outcome of each submission,
    and whether each outcome is a new slot."""

    states: dict[str, ProcessState]
    slots: dict[MessageKey, Slot]
    entries: list[LogEntry] = field(default_factory=list)
    outcomes: list[SlotOrError] = field(default_factory=list)
    are_new: list[bool] = field(default_factory=list)


def order(
    batch: Sequence[Submission],
    states: Mapping[str, ProcessState],
    slots: Mapping[MessageKey, Slot],
    signer: Signer,
    *,
    now_ms: int,
    block_height: int,
    stopped: Container[str] = (),
    earlier: Collection[str] = (),
) -> OrderingResult:
    """Give each submission its slot, or an error.

    `states` and `slots` are what the log holds about the batch. `stopped` are the processes that the operator
    stopped, `earlier` the addresses of schedulers that handed over to `signer`.
    """
    ordered = OrderingResult(dict(states), dict(slots))
    schedulers = (signer.address, *earlier)
    for submission in batch:
        known = len(ordered.entries)
        ordered.outcomes.append(
            _known(submission, ordered)
            or _refused(submission, stopped)
            or _schedule(submission, ordered, signer, schedulers, now_ms, block_height)
        )
        ordered.are_new.append(len(ordered.entries) > known)
    return ordered


def _known(submission: Submission, ordered: OrderingResult) -> Slot | None:
    """Return the slot that this message has already, if any."""
    return ordered.slots.get((submission.process_id, submission.message_id))


def _refused(submission: Submission, stopped: Container[str]) -> AorayError | None:
    return stopped_error(submission.process_id) if submission.process_id in stopped else None


def _schedule(
    submission: Submission,
    ordered: OrderingResult,
    signer: Signer,
    schedulers: Sequence[str],
    now_ms: int,
    block_height: int,
) -> SlotOrError:
    """Add the next slot of the process, or return the error why there is none."""
    state = ordered.states.get(submission.process_id)
    try:
        own, engine = _check(submission, state, schedulers)
        head, assignment = next_slot(
            signer,
            submission.process_id,
            state.head if state else None,
            None if submission.kind == "process" else submission.message_id,
            now_ms=now_ms,
            block_height=block_height,
            exclude=submission.exclude,
            engine=engine,
        )
    except ClientError as error:
        return error
    slot = Slot(head.assignment_id, head.nonce, head.timestamp)
    ordered.slots[submission.process_id, submission.message_id] = slot
    ordered.states[submission.process_id] = state._replace(head=head) if state else ProcessState(head, own)
    ordered.entries.append(_entry(submission, head, assignment))
    return slot


def _entry(submission: Submission, head: Head, assignment: bytes) -> LogEntry:
    return LogEntry(
        submission.process_id,
        head.nonce,
        submission.message_id,
        head.assignment_id,
        head.timestamp,
        submission.item,
        assignment,
        submission.envelope,
    )


class Bound(NamedTuple):
    """The decisions about a process that are fixed when it is spawned."""

    own: bool  # whether it asks for an actor of its own
    engine: int = BEFORE_VERSIONS  # of a new process


def _check(submission: Submission, state: ProcessState | None, schedulers: Sequence[str]) -> Bound:
    """Raise an error for what may not be scheduled; return the fixed decisions about the process."""
    if submission.kind == "process":
        return _check_process(submission, schedulers)
    if state is None:
        raise UnknownProcess(
            f"no process {submission.process_id} was spawned here",
            hint="Spawn it on this computer first, and wait for the answer.",
            process_id=submission.process_id,
        )
    if submission.kind == "message":
        _check_message(submission)
    else:
        _check_assigned(submission)
    return Bound(state.own)


def _check_process(submission: Submission, schedulers: Sequence[str]) -> Bound:
    item = _checked_item(submission, "Process")
    for name in ("Module", "Scheduler"):
        if not ao_tag(item.tags, name):
            raise MalformedInput(
                f"the process lacks the tag {name}",
                field=f"tags.{name}",
                hint="GET /health has the ids of the built-in module and of the scheduler.",
                process_id=item.id,
            )
    scheduler = schedulers[0]
    # Otherwise nobody could verify its log. A spawn by an older process names a scheduler before a hand-over.
    if any(named not in schedulers for named in all_of(item.tags, "Scheduler")):
        raise MalformedInput(
            f"the tag Scheduler names another scheduler than this one, {scheduler}",
            field="tags.Scheduler",
            hint=f"Spawn with Scheduler {scheduler} here, or send the spawn to the scheduler that it names.",
            process_id=item.id,
            scheduler=scheduler,
        )
    on_boot = ao_tag(item.tags, "On-Boot")
    if on_boot is not None and on_boot != "Data" and not is_id(on_boot):
        raise MalformedInput(
            f"the tag On-Boot is {on_boot[:60]!r}",
            field="tags.On-Boot",
            hint="Use Data for the process's own data, or the id of a transaction for its data.",
            process_id=item.id,
        )
    check_asked(item.tags)
    if not item.has_plain_tags:
        raise MalformedInput(
            "the tags of the process are not one block of Avro",
            field="tags",
            hint="Write the tags as one block, as wallets do; verification rebuilds the bytes from the tags.",
            process_id=item.id,
        )
    if submission.process_id != item.id:
        raise MalformedInput(
            "the id of the process is not that of its item", field="process_id", process_id=item.id
        )
    return Bound(ao_tag(item.tags, "Actor") == "own", engine_asked(item.tags))


def _check_message(submission: Submission) -> None:
    item = _checked_item(submission, "Message")
    if item.target_id != submission.process_id:
        raise MalformedInput(
            f"the target of the message is not process {submission.process_id}",
            field="target",
            message_id=item.id,
        )


def _checked_item(submission: Submission, kind: str) -> SignedMessage:
    """Return the item if it is an AO item of this type, under its own id."""
    item = _parsed(submission)
    if "ao" not in all_of(item.tags, "Data-Protocol"):
        raise MalformedInput(
            "the item has no tag Data-Protocol that is ao",
            field="tags.Data-Protocol",
            hint="Put the tags Data-Protocol, Variant and Type on what you sign, as aoconnect does.",
            message_id=item.id,
        )
    found = ao_tag(item.tags, "Type")
    if found != kind:
        raise MalformedInput(
            f"the tag Type is {str(found)[:60]!r}, not {kind!r}", field="tags.Type", message_id=item.id
        )
    linked = next(
        (name for name, value in item.tags if name.endswith("+link") or value.endswith("+link")), None
    )
    if linked is not None:
        raise MalformedInput(
            "a tag ends in +link",
            field=f"tags.{linked}",
            hint="AO-Core reads such tags as links to other data; give the tag another name or value.",
            message_id=item.id,
        )
    return item


def _parsed(submission: Submission) -> SignedMessage:
    """Return the parsed item. An item that does not parse must not enter the log: later it would stop the
    flusher and its process."""
    item = parse(submission.item, submission.envelope)
    if item.id != submission.message_id:
        raise MalformedInput(
            f"the item has another id than {submission.message_id}", field="message_id", message_id=item.id
        )
    return item


def _check_assigned(submission: Submission) -> None:
    """Check an assigned message, which may be any item; the names that it excludes must fit into the
    assignment's tags."""
    _parsed(submission)
    size = max((len(name.encode()) for name in submission.exclude), default=0)
    if len(submission.exclude) > limits.ASSIGNMENT_EXCLUDES_MAX or size > limits.TAG_VALUE_BYTES_MAX:
        raise TooLarge(
            f"an assignment excludes at most {limits.ASSIGNMENT_EXCLUDES_MAX} short names",
            message_id=submission.message_id,
        )
