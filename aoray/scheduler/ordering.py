"""The ordering rules: known state and a batch of submissions in, log entries and an answer to each submission
out. Pure.

Where in a message's journey: between the gateway, which verified the item, or the actor, which signed it, and
the log, which makes the entries durable.

Invariants (guarantees G1, G3): a process's nonces have no gap and begin with 0, the process itself; a process
has each message once, and who submits it again gets the first receipt again; timestamps rise strictly; each
entry links to the one before it. One bad submission is answered with its own error, and does not touch the
others of its batch.
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
    """The outcome of a batch: entries to write, states after them, an outcome for each submission, and
    whether that is a new slot."""

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
    """Give each submission its slot. `states` and `slots` are what the log knows of the batch; `stopped`
    are the processes that the operator stopped, `earlier` the addresses that handed over to the signer."""
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
    """The slot that a submission has already."""
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
    """The next slot of its process."""
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
    """What is fixed about a process when it is spawned."""

    own: bool  # whether it asks for an actor of its own
    engine: int = BEFORE_VERSIONS  # of a new process


def _check(submission: Submission, state: ProcessState | None, schedulers: Sequence[str]) -> Bound:
    """Refuse what may not be scheduled; says what is decided of the process."""
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
    # Nobody could verify its log otherwise. What an older process spawns names an address from before.
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
            hint="Data boots the process with its own data, an id with that of a transaction.",
            process_id=item.id,
        )
    check_asked(item.tags)
    if not item.has_plain_tags:
        raise MalformedInput(
            "the tags of the process are not one block of Avro",
            field="tags",
            hint="Wallets write one block; who verifies the process rebuilds its bytes from its tags.",
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
    """The item, when it is an AO item of that type and under its own id."""
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
            hint="AO-Core reads such tags as links to other data; give it another name or value.",
            message_id=item.id,
        )
    return item


def _parsed(submission: Submission) -> SignedMessage:
    """The item under its own id. One that does not parse would stop the flusher and its process, later."""
    item = parse(submission.item, submission.envelope)
    if item.id != submission.message_id:
        raise MalformedInput(
            f"the item has another id than {submission.message_id}", field="message_id", message_id=item.id
        )
    return item


def _check_assigned(submission: Submission) -> None:
    """An assigned message may be any item; what it leaves out must fit into the assignment's tags."""
    _parsed(submission)
    size = max((len(name.encode()) for name in submission.exclude), default=0)
    if len(submission.exclude) > limits.ASSIGNMENT_EXCLUDES_MAX or size > limits.TAG_VALUE_BYTES_MAX:
        raise TooLarge(
            f"an assignment excludes at most {limits.ASSIGNMENT_EXCLUDES_MAX} short names",
            message_id=submission.message_id,
        )
