"""What a result sends on: its outbox as items to sign, by the rules of docs/wire-contract.md §1.5. Pure.

A result's `Messages`, `Spawns` and `Assignments` become plain specifications; the messenger signs and submits
them, or the actor itself by direct push. The same result always gives the same specifications, so their
items have the same ids however often they are pushed, and the scheduler takes an id once. `From-Nonce` and
`From-Index` keep two equal messages of one outbox, or of two results, apart.

Guest code writes an outbox, so nothing in it is believed: the tags by which the messenger vouches for the
sender are taken out in any spelling that a process would read as them, and put in with what is true. A
malformed entry is left out and reported in `faults`; it never holds up the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from aoray import limits
from aoray.errors import MalformedInput
from aoray.protocol.forms import RESERVED_TAGS, folded
from aoray.protocol.ids import is_id
from aoray.protocol.signed import SignedMessage
from aoray.protocol.tags import Tag, Tags, ao_tag

Entry = Mapping[str, Any]

ANCHOR_BYTES = 32
VARIANT = Tag("Variant", "ao.TN.1")
EMPTY_DATA = b" "  # what AO's tools send for no data


class Sender(NamedTuple):
    """The process whose result is sent."""

    process_id: str
    module: str
    scheduler: str


class MessageSpec(NamedTuple):
    """A message to sign. `index` is where it is in the outbox's `Messages`."""

    place: int
    target: str
    anchor: bytes
    tags: Tags
    data: bytes
    assign_to: tuple[str, ...]


class SpawnSpec(NamedTuple):
    """A process to sign. `own_tags` are those of the outbox: they go into the news for its parent."""

    nonce: int
    place: int
    tags: Tags
    data: bytes
    own_tags: Tags


class AssignmentSpec(NamedTuple):
    """An existing message to assign to a process. An entry that names several gives several."""

    place: int
    process_id: str
    message_id: str
    exclude: tuple[str, ...]


class InvalidEntry(NamedTuple):
    """An entry that is left out, or, with `index` -1, a whole list that is left out."""

    kind: str
    place: int
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}{f'[{self.place}]' if self.place >= 0 else ''}: {self.reason}"


class Outbox(NamedTuple):
    """The entries of one result's outbox, and those that were left out with the reason."""

    messages: list[MessageSpec]
    spawns: list[SpawnSpec]
    assignments: list[AssignmentSpec]
    faults: list[InvalidEntry]


def sender_of(process: SignedMessage) -> Sender:
    """Return the sender that this item, a spawn, stands for."""
    return Sender(process.id, ao_tag(process.tags, "Module", ""), ao_tag(process.tags, "Scheduler", ""))


def read_outbox(result: Mapping[str, Any], sender: Sender, nonce: int, pushed_for: str) -> Outbox:
    """Return the entries that the result of slot `nonce` of `sender` sends; `pushed_for` is the first
    item of the chain, or empty."""
    found = Outbox([], [], [], [])
    assigned = 0
    for index, entry in _entries(result, "Messages", found.faults):
        try:
            message = _message(entry, sender, nonce, index, pushed_for)
            assigned += _counted(assigned, len(message.assign_to))
            found.messages.append(message)
        except MalformedInput as error:
            found.faults.append(InvalidEntry("Messages", index, error.message))
    for index, entry in _entries(result, "Spawns", found.faults):
        try:
            found.spawns.append(_spawn(entry, sender, nonce, index, pushed_for))
        except MalformedInput as error:
            found.faults.append(InvalidEntry("Spawns", index, error.message))
    for index, entry in _entries(result, "Assignments", found.faults):
        try:
            specs = list(_assignments(entry, index))
            assigned += _counted(assigned, len(specs))
            found.assignments.extend(specs)
        except MalformedInput as error:
            found.faults.append(InvalidEntry("Assignments", index, error.message))
    return _bounded(found)


def _bounded(found: Outbox) -> Outbox:
    """At most OUTBOX_MESSAGES_MAX are sent. There are no more entries, but each may name many processes."""
    room = limits.OUTBOX_MESSAGES_MAX - len(found.spawns)
    messages, assignments = list[MessageSpec](), list[AssignmentSpec]()
    over = dict[tuple[str, int], None]()
    for message in found.messages:
        if (cost := 1 + len(message.assign_to)) <= room:
            room -= cost
            messages.append(message)
        else:
            over["Messages", message.place] = None
    for assignment in found.assignments:
        if len(assignments) < room:
            assignments.append(assignment)
        else:
            over["Assignments", assignment.place] = None
    why = f"the outbox goes to over {limits.OUTBOX_MESSAGES_MAX} places"
    return Outbox(
        messages, found.spawns, assignments, found.faults + [InvalidEntry(*entry, why) for entry in over]
    )


def _counted(assigned: int, more: int) -> int:
    """How many more assignments an entry makes; refused when they are too many for one result."""
    if more > limits.ASSIGNEES_MAX or assigned + more > limits.OUTBOX_MESSAGES_MAX:
        raise MalformedInput(
            f"an entry assigns to at most {limits.ASSIGNEES_MAX} processes,"
            f" a result to {limits.OUTBOX_MESSAGES_MAX}",
            field="Assignments",
        )
    return more


def success_tags(spec: SpawnSpec, sender: Sender, process_id: str) -> Tags:
    """Return the tags of the message that tells a parent about its new process; the spawn's `Reference`
    is one of them.

    It says of which slot it comes, as the others do, but not for which item (docs/wire-contract.md §1.5).
    """
    named = ("Process", "Action")
    return (
        *without(spec.own_tags, ("Data-Protocol", "Variant", "Type", *named)),
        Tag("From-Process", sender.process_id),
        Tag("From-Module", sender.module),
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Message"),
        Tag("Process", process_id),
        Tag("Action", "Spawned"),
        VARIANT,
        *_marks(spec.nonce, str(spec.place), ""),
    )


def without(tags: Iterable[Tag], names: Sequence[str]) -> Tags:
    """Return the tags except those of these names, and except those that only the messenger may set."""
    return tuple(tag for tag in tags if tag.name not in names and folded(tag.name) not in RESERVED_TAGS)


def _message(entry: Entry, sender: Sender, nonce: int, index: int, pushed_for: str) -> MessageSpec:
    target = entry.get("Target")
    if not isinstance(target, str) or not is_id(target):
        raise MalformedInput(f"the Target is {_short(target)}, not an id", field="Target")
    tags = _tags(entry)
    own = without(tags, ("Data-Protocol", "Type", "Assignments"))
    added = (
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Message"),
        Tag("From-Process", sender.process_id),
        Tag("From-Module", sender.module),
        *_marks(nonce, str(index), pushed_for),
    )
    assign_to = tuple(_assignees(tags))
    return MessageSpec(index, target, _anchor(entry), (*own, *added), _data(entry), assign_to)


def _spawn(entry: Entry, sender: Sender, nonce: int, index: int, pushed_for: str) -> SpawnSpec:
    tags = _tags(entry)
    if not any(tag.name == "Module" and is_id(tag.value) for tag in tags):
        raise MalformedInput("Tag 'Module': must be the id of a module", field="Module")
    # It has no target: in no spelling may the guest's words say what it is.
    own = _cron_first(
        tuple(tag for tag in without(tags, ()) if folded(tag.name) not in ("data-protocol", "type"))
    )
    scheduler = () if any(tag.name == "Scheduler" for tag in own) else (Tag("Scheduler", sender.scheduler),)
    added = (
        VARIANT,
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Process"),
        Tag("From-Process", sender.process_id),
        Tag("From-Module", sender.module),
        *_marks(nonce, str(index), pushed_for),
    )
    return SpawnSpec(nonce, index, (*own, *scheduler, *added), _data(entry), own)


def _cron_first(tags: Tags) -> Tags:
    """A guest's table has no order, and a cron's tags come after its Cron-Interval: it is put before them."""
    intervals = [at for at, tag in enumerate(tags) if tag.name == "Cron-Interval"]
    at = next((at for at, tag in enumerate(tags) if tag.name.startswith("Cron-Tag-")), len(tags))
    if len(intervals) != 1 or intervals[0] < at:
        return tags
    [cron] = intervals
    return (*tags[:at], tags[cron], *tags[at:cron], *tags[cron + 1 :])


def _assignments(entry: Entry, index: int) -> Iterator[AssignmentSpec]:
    message_id, processes = entry.get("Message"), entry.get("Processes")
    if not isinstance(message_id, str) or not is_id(message_id):
        raise MalformedInput(f"the Message is {_short(message_id)}, not an id", field="Message")
    if not isinstance(processes, list) or not all(isinstance(p, str) and is_id(p) for p in processes):
        raise MalformedInput(f"the Processes are {_short(processes)}, not a list of ids", field="Processes")
    excluded = entry.get("Exclude") or []
    names = [excluded] if isinstance(excluded, str) else excluded
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedInput(f"the Exclude is {_short(excluded)}, not a list of names", field="Exclude")
    for process_id in processes:
        yield AssignmentSpec(index, process_id, message_id, tuple(names))


def _entries(result: Entry, kind: str, faults: list[InvalidEntry]) -> Iterator[tuple[int, Entry]]:
    found = result.get(kind) or []
    if not isinstance(found, list):
        faults.append(InvalidEntry(kind, -1, "not a list"))
        return
    if len(found) > limits.OUTBOX_MESSAGES_MAX:
        faults.append(
            InvalidEntry(kind, -1, f"only the first {limits.OUTBOX_MESSAGES_MAX} of {len(found)} are sent")
        )
    for index, entry in enumerate(found[: limits.OUTBOX_MESSAGES_MAX]):
        if isinstance(entry, dict):
            yield index, entry
        else:
            faults.append(InvalidEntry(kind, index, "not an object"))


def _marks(nonce: int, index: str, pushed_for: str) -> Iterator[Tag]:
    if pushed_for:
        yield Tag("Pushed-For", pushed_for)
    yield Tag("From-Nonce", str(nonce))
    yield Tag("From-Index", index)


def _tags(entry: Entry) -> list[Tag]:
    found = entry.get("Tags")
    if not isinstance(found, list):
        raise MalformedInput(f"the Tags are {_short(found)}, not a list", field="Tags")
    return [_tag(each) for each in found]


def _tag(found: Any) -> Tag:
    name, value = (found.get("name"), found.get("value")) if isinstance(found, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(value, str):
        raise MalformedInput(f"a tag is {_short(found)}, not a name and a value", field="Tags")
    return Tag(name, value)


def _assignees(tags: Iterable[Tag]) -> Iterator[str]:
    """The processes of `Assignments` tags: ids separated by commas, or a JSON list of them."""
    for tag in tags:
        if tag.name == "Assignments":
            yield from filter(is_id, (part.strip(' "[]') for part in tag.value.split(",")))


def _anchor(entry: Entry) -> bytes:
    """The anchor, if an item can carry it; else none, since the message matters more than its anchor."""
    found = entry.get("Anchor")
    anchor = found.encode() if isinstance(found, str) else b""
    return anchor if len(anchor) == ANCHOR_BYTES else b""


def _data(entry: Entry) -> bytes:
    found = entry.get("Data")
    if isinstance(found, str):
        return found.encode() or EMPTY_DATA
    return EMPTY_DATA if found is None else orjson.dumps(found)


def _short(value: Any) -> str:
    return repr(value)[:80]
