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
from typing import Literal, NamedTuple

from aoray import limits
from aoray.errors import AorayError, ClientError, MalformedInput, ProcessStopped, TooLarge, UnknownProcess
from aoray.protocol.assignments import Head, LogEntry, next_slot
from aoray.protocol.engines import BEFORE_VERSIONS, engine_asked
from aoray.protocol.ids import is_id
from aoray.protocol.items import DataItem, parse
from aoray.protocol.keys import Signer
from aoray.protocol.tags import all_of, ao_tag
from aoray.protocol.ticks import check_asked
from aoray.scheduler.log import ProcessState, Slot


class Submission(NamedTuple):
    """What a gateway or a process actor asks to be scheduled: a verified item and the process it is for.

    For an `assignment` the item is that of the assigned message, whose own target may be another process.
    """

    kind: Literal["process", "message", "assignment"]
    process_id: str
    message_id: str
    item: bytes
    exclude: tuple[str, ...] = ()
    gateway: str = ""  # whom the process actor tells the result unasked


def turn_of(submission: Submission) -> str:
    """Whose turn it takes where messages wait together: its process's; all new processes have one."""
    return "" if submission.kind == "process" else submission.process_id


class Receipt(NamedTuple):
    """The answer: the message has this place in the log of its process, for ever."""

    process_id: str
    message_id: str
    assignment_id: str
    nonce: int
    timestamp: int
    actor: str  # the process actor that holds the process
    is_new: bool  # ordered by this very submission, so its gateway is told the result


Pair = tuple[str, str]  # process id, message id
Outcome = Slot | AorayError


@dataclass(slots=True)
class Ordered:
    """What a batch leads to: entries to be written, states after them, an outcome for each submission, and
    whether that is a slot which it did not have before."""

    states: dict[str, ProcessState]
    slots: dict[Pair, Slot]
    entries: list[LogEntry] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    are_new: list[bool] = field(default_factory=list)


def order(
    batch: Sequence[Submission],
    states: Mapping[str, ProcessState],
    slots: Mapping[Pair, Slot],
    signer: Signer,
    *,
    now_ms: int,
    block_height: int,
    stopped: Container[str] = (),
    earlier: Collection[str] = (),
) -> Ordered:
    """Give each submission its place. `states` and `slots` are what the log knows of the batch; `stopped`
    are the processes that the operator stopped, `earlier` the addresses that handed over to the signer."""
    ordered = Ordered(dict(states), dict(slots))
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


def _known(submission: Submission, ordered: Ordered) -> Slot | None:
    """The slot that a submission has already."""
    return ordered.slots.get((submission.process_id, submission.message_id))


def _refused(submission: Submission, stopped: Container[str]) -> AorayError | None:
    return stopped_error(submission.process_id) if submission.process_id in stopped else None


def stopped_error(process_id: str) -> ProcessStopped:
    """What is answered for a process that the operator stopped."""
    return ProcessStopped(
        f"the operator of this computer stopped process {process_id}",
        hint="What waits goes on when it is resumed.",
        process_id=process_id,
        retry_after_s=limits.STOPPED_RETRY_AFTER_S,
    )


def _schedule(
    submission: Submission,
    ordered: Ordered,
    signer: Signer,
    schedulers: Sequence[str],
    now_ms: int,
    block_height: int,
) -> Outcome:
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
    )


class Bound(NamedTuple):
    """What is decided of a process when it is spawned."""

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
            raise MalformedInput(f"a process needs the tag {name}", field=f"tags.{name}", process_id=item.id)
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
            "On-Boot is neither Data nor the id of a transaction", field="tags.On-Boot", process_id=item.id
        )
    check_asked(item.tags)
    if submission.process_id != item.id:
        raise MalformedInput(
            "the id of a process is that of its item", field="process_id", process_id=item.id
        )
    return Bound(ao_tag(item.tags, "Actor") == "own", engine_asked(item.tags))


def _check_message(submission: Submission) -> None:
    item = _checked_item(submission, "Message")
    if item.target_id != submission.process_id:
        raise MalformedInput("the target of a message is its process", field="target", message_id=item.id)


def _checked_item(submission: Submission, kind: str) -> DataItem:
    """The item, when it is an AO item of that type and under its own id."""
    item = _parsed(submission)
    if "ao" not in all_of(item.tags, "Data-Protocol"):
        raise MalformedInput(
            "the tag Data-Protocol must be ao", field="tags.Data-Protocol", message_id=item.id
        )
    found = ao_tag(item.tags, "Type")
    if found != kind:
        raise MalformedInput(
            f"the tag Type must be {kind}, not {found!r}", field="tags.Type", message_id=item.id
        )
    linked = next(
        (name for name, value in item.tags if name.endswith("+link") or value.endswith("+link")), None
    )
    if linked is not None:
        raise MalformedInput(
            "tags that end in +link are not taken", field=f"tags.{linked}", message_id=item.id
        )
    return item


def _parsed(submission: Submission) -> DataItem:
    """The item under its own id. One that does not parse would stop the flusher and its process, later."""
    item = parse(submission.item)
    if item.id != submission.message_id:
        raise MalformedInput("the item has another id", field="message_id", message_id=item.id)
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
