"""The rules of `aoray verify`: whether a process's log is true, decided from signed data items alone. Pure.

Anybody may check anybody's log. Nobody is trusted, neither the Arweave gateway that returned the items nor
the scheduler that signed them. verify/replay.py fetches the items and evaluates them; this module checks
them.

Checks of a slot: the signatures of its assignment and its message; that the assignment is signed by the
process's scheduler (the address in its `Scheduler` tag) and has exactly the form of an assignment
(protocol/forms.py: the scheduler also signs ticks, with words that a stranger may have chosen); its nonce,
hash chain and timestamp, which must follow the slot before; and that the message is the one that it names. A
message whose target is another process was assigned, which the log allows for any item. A tick of a cron,
which the scheduler itself signs, must be one that the process's spawn item asks for, and must not come before
its time.

A scheduler and a compute unit may hand over to another key (protocol/handovers.py). Then the timestamp of a
slot decides whose signature it needs: the old key's up to the hand-over, the new key's after it.

Items that others than the scheduler signed are not part of the log, whatever they look like: they are passed
over and counted (`claim_of`), and are never a fault.

Checks of a result: that it is what the compute units attest, and likewise the state at checkpoints. The
caller decides which compute units count: those that the scheduler names on Arweave, or those that a person
names.

These rules can't detect that a log was cut at its end. Messages that are missing there together with their
assignments leave no trace on Arweave except attestations, which may also arrive early.

On failure: `LogFault` with the details `process_id`, `nonce` (None for the process and its module) and
`item`, the id of the item at fault.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from aoray.errors import BadSignature, ClientError, LogFault, MalformedInput
from aoray.limits import ITEM_BYTES_MAX
from aoray.protocol import assignments
from aoray.protocol.ans104.items import DataItem, verifies_tags
from aoray.protocol.assignments import Head, LogEntry, Plain, next_hash_chain
from aoray.protocol.attestations import Statement
from aoray.protocol.cron import Moment, tick_of, wrong
from aoray.protocol.engines import TAG as ENGINE
from aoray.protocol.engines import engine_named, version_of
from aoray.protocol.forms import LOCATION, departure, tags_departure
from aoray.protocol.handovers import NEVER, Line, Tenure, addresses, at, counts, rank
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import ED25519, address_of
from aoray.protocol.signed import verify
from aoray.protocol.tags import Tags, all_of, ao_tag, first, from_json

NUMBERS = ("Epoch", "Nonce", "Block-Height", "Timestamp")
DIGITS_MAX = 18  # of a number in a tag
CHANGED = "its signature does not verify: it was changed after it was signed, or never signed"
FORM = (
    "its signature is of a form that is not accepted: {}. So its id does not fix its content, and Arweave"
    " can't show what was run from here on. This accuses no compute unit: earlier versions of aoray ordered"
    " such items (docs/signatures.md)"
)
WHY = {
    "Process": "it is of another process",
    "Nonce": "it says another nonce",
    "Hash-Chain": "its hash chain does not continue the slot before, so one of the two was exchanged",
    "Message": "it names another message than the one that it was found with",
    "Timestamp": "it is not later than the slot before",
}


class ProcessFacts(NamedTuple):
    """What a process item states about who orders its messages and what evaluates them."""

    process_id: str
    scheduler: str  # as the spawn names it
    module: str
    item: DataItem
    line: Line  # the scheduler and its successors (verify/succession.py)


class AttestedSlot(NamedTuple):
    """What an attestation states about a slot."""

    statement: Statement
    item: str
    compute_unit: str
    until_ms: int = NEVER  # the attestation counts for slots up to this time


class Claim(NamedTuple):
    """An assignment as a gateway lists it, before any check."""

    assignment_id: str
    nonce: int
    rank: int  # the index of its signer in the scheduler's line
    bundle: str  # the id of its bundle, "" if the gateway knows of none
    block: int = NEVER  # the height of its block


def fault(process_id: str, nonce: int | None, item: str, why: str) -> LogFault:
    """Return the fault of a log: where it is, which item is at fault, and why."""
    where = "" if nonce is None else f"nonce {nonce}: "
    return LogFault(f"{where}{why}", process_id=process_id, nonce=nonce, item=item)


def facts_of(process: DataItem) -> ProcessFacts:
    """Return the facts of a verified process item. Raises `LogFault` if it is not a process."""
    scheduler, module = ao_tag(process.tags, "Scheduler", ""), ao_tag(process.tags, "Module", "")
    if ao_tag(process.tags, "Type") != "Process" or not (scheduler and module):
        raise fault(
            process.id, None, process.id, f"{process.id} is not a process with a Scheduler and a Module"
        )
    return ProcessFacts(process.id, scheduler, module, process, (Tenure(scheduler),))


def page_of(answer: dict[str, Any]) -> tuple[list[Any], str | None]:
    """Return the nodes of a page of GraphQL, and the cursor of its end if there are more. Raises
    `MalformedInput`."""
    try:
        found = answer["transactions"]
        edges, more = found["edges"], found["pageInfo"]["hasNextPage"]
        return [edge["node"] for edge in edges], str(edges[-1]["cursor"]) if more and edges else None
    except (KeyError, TypeError) as error:
        raise MalformedInput(
            "the gateway did not answer with a page of transactions", field="answer"
        ) from error


def claim_of(facts: ProcessFacts, node: dict[str, Any]) -> Claim | None:
    """Return a GraphQL node as a claim. None for a node to pass over: an item that another than the scheduler
    signed, or that only resembles an assignment."""
    try:
        tags, item_id, owner = from_json(node["tags"]), str(node["id"]), str(node["owner"]["address"])
        bundle = str((node.get("bundledIn") or {}).get("id") or "")
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedInput("an assignment in the gateway's answer lacks a part", field="node") from error
    nonce, timestamp, block = _number(tags, "Nonce"), _number(tags, "Timestamp"), block_of(node)
    if nonce is None or timestamp is None or node.get("recipient"):
        return None
    if not counts(facts.line, owner, timestamp, block):
        return None
    if ao_tag(tags, "Type") != "Assignment" or first(tags, "Process") != facts.process_id:
        return None
    return Claim(item_id, nonce, rank(facts.line, owner), bundle, block)


def block_of(node: dict[str, Any]) -> int:
    """Return the block height that a gateway states for the item of a GraphQL node; NEVER while it is in no
    block."""
    block = node.get("block")
    height = block.get("height") if isinstance(block, dict) else None
    return height if type(height) is int and height >= 0 else NEVER


def is_claimed(facts: ProcessFacts, nonce: int, item: DataItem, block: int = NEVER) -> bool:
    """Return whether a verified item is the scheduler's claim to this nonce, in the block that a gateway
    names. Its form is checked with its slot."""
    words = _number(item.tags, "Nonce") == nonce and first(item.tags, "Process") == facts.process_id
    timestamp = _number(item.tags, "Timestamp")
    if not words or timestamp is None or item.target:
        return False
    return counts(facts.line, item.address, timestamp, block)


def compute_unit_of(node: dict[str, Any]) -> str | None:
    """Return the compute unit that a GraphQL node names, if the node resembles a location record; else
    None."""
    try:
        tags, recipient = from_json(node["tags"]), node["recipient"]
    except (KeyError, TypeError, ClientError):
        return None
    return None if recipient or tags_departure(tags, LOCATION) else first(tags, "Compute-Unit")


def named_by(facts: ProcessFacts, item: DataItem) -> str | None:
    """Return the compute unit that a verified item names, if it is a location record of the scheduler; else
    None."""
    if item.address not in addresses(facts.line) or departure(item, LOCATION):
        return None
    return first(item.tags, "Compute-Unit")


def fault_duplicate_nonce(facts: ProcessFacts, nonce: int, one: str, other: str) -> LogFault:
    """Return the fault of two assignments with one nonce."""
    why = f"two messages for one nonce: the scheduler signed both assignment {one} and {other}"
    return fault(facts.process_id, nonce, other, why)


def fault_duplicate_message(facts: ProcessFacts, nonce: int, message_id: str, before: int) -> LogFault:
    """Return the fault of one message with two nonces."""
    why = f"message {message_id} was scheduled twice: it has nonce {before} already"
    return fault(facts.process_id, nonce, message_id, why)


def fault_gap(facts: ProcessFacts, nonce: int, follower: int) -> LogFault:
    """Return the fault of a nonce without an assignment."""
    why = f"no assignment on Arweave, though there is one for nonce {follower}"
    return fault(facts.process_id, nonce, "", why)


def fault_missing(facts: ProcessFacts, nonce: int, what: str, item_id: str) -> LogFault:
    """Return the fault of an item that is named but missing."""
    return fault(facts.process_id, nonce, item_id, f"{what} {item_id} is not on Arweave")


def not_signed(process_id: str, nonce: int | None, what: str, item_id: str, error: BadSignature) -> LogFault:
    """Return the fault of an item that its owner did not sign, or whose signature has a form that proves
    nothing."""
    form = error.details.get("form")
    why = FORM.format(form) if form else CHANGED
    return fault(process_id, nonce, item_id, f"{what} {item_id}: {why}")


def message_named(facts: ProcessFacts, nonce: int, assignment: DataItem) -> str:
    """Return the id of the message to which an assignment gives this nonce; for nonce 0 the process itself.
    Raises `LogFault`."""
    named = all_of(assignment.tags, "Message")
    if len(named) != (nonce > 0):
        why = f"assignment {assignment.id} names {len(named)} messages"
        raise fault(facts.process_id, nonce, assignment.id, why)
    return named[0] if named else facts.process_id


def check_slot(
    facts: ProcessFacts, head: Head | None, assignment: DataItem, message: DataItem
) -> tuple[Head, LogEntry]:
    """Check the slot after `head`, and return its head and its entry. Raises `LogFault` if it is false."""
    nonce = 0 if head is None else head.nonce + 1
    _check_tags(facts, nonce, assignment)
    for item in (assignment, message):
        if len(item.raw) > ITEM_BYTES_MAX:
            raise fault(facts.process_id, nonce, item.id, f"{item.id} has over {ITEM_BYTES_MAX} bytes")
    timestamp = int(first(assignment.tags, "Timestamp", ""))
    entry = LogEntry(
        facts.process_id, nonce, message.id, assignment.id, timestamp, message.raw, assignment.raw
    )
    try:
        found = assignments.check_slot(
            facts.process_id, entry, assignment, message, scheduler=at(facts.line, timestamp), head=head
        )
    except BadSignature as error:
        what = "message" if error.details.get("id") == message.id else "assignment"
        raise not_signed(facts.process_id, nonce, what, str(error.details.get("id")), error) from error
    except MalformedInput as error:
        raise fault(facts.process_id, nonce, assignment.id, _why(facts, assignment, error)) from error
    return found, entry


def fast_check(facts: ProcessFacts, head: Head, assignment: Plain, message: DataItem) -> Head | None:
    """Check a slot of the common form in a third of the time of `check_slot`, not counting signatures.

    Returns the head after the slot, or None if `check_slot` and `check_tick` must check it, because it is
    false or may be a tick. Their further checks of tags follow from the common form: each tag occurs once,
    and numbers are numbers.
    """
    nonce, chain = head.nonce + 1, next_hash_chain(facts.process_id, head)
    true = (
        address_of(ED25519, assignment.owner) == at(facts.line, assignment.timestamp)
        and assignment.process_id == facts.process_id
        and assignment.nonce == str(nonce)
        and assignment.hash_chain == chain
        and assignment.message_id == message.id
        and assignment.timestamp > head.timestamp
        and assignment.owner != message.owner
        and len(message.raw) <= ITEM_BYTES_MAX
        and verifies_tags(assignment.signature, assignment.owner, assignment.tag_bytes)
        and _is_signed(message)
    )
    assignment_id = b64url_encode(sha256(assignment.signature).digest())
    return Head(nonce, assignment_id, chain, assignment.timestamp) if true else None


def _is_signed(item: DataItem) -> bool:
    try:
        verify(item)
    except BadSignature:
        return False
    return True


def check_tick(
    facts: ProcessFacts, spawned: Moment, entry: LogEntry, assignment: DataItem, message: DataItem
) -> None:
    """Check a message that the scheduler signed: it must be a tick that the process asks for. Raises
    `LogFault` if not."""
    tick = tick_of(message, entry.process_id, assignment.owner)
    why = wrong(tick, message, facts.item, spawned, moment_of(assignment)) if tick else ""
    if why:
        raise fault(facts.process_id, entry.nonce, message.id, f"tick {message.id} is forged: {why}")


def moment_of(assignment: DataItem) -> Moment:
    """Return the moment that the checked assignment of a slot states."""
    return Moment(
        int(first(assignment.tags, "Timestamp", "")), int(first(assignment.tags, "Block-Height", ""))
    )


def check_attested(facts: ProcessFacts, said: AttestedSlot, found: Statement) -> None:
    """Compare an attestation of a slot with the findings; it need not state anything about the state. Raises
    `LogFault`."""
    theirs = said.statement
    for what, signed, by, right in (
        ("the message is", theirs.message_id, "the log has", found.message_id),
        (f"message {found.message_id} gave", theirs.result_hash, "evaluation gives", found.result_hash),
        ("the state after it is", theirs.state_hash, "evaluation gives", found.state_hash),
    ):
        if signed not in ("", right):
            why = (
                f"attestation {said.item} by {said.compute_unit} is false: {what} {signed}, but {by} {right}"
            )
            raise fault(facts.process_id, found.nonce, said.item, why)


def _why(facts: ProcessFacts, assignment: DataItem, error: MalformedInput) -> str:
    if error.field == "owner":
        return (
            f"assignment {assignment.id} is forged: {assignment.address} signed it,"
            f" and the scheduler is {at(facts.line, int(first(assignment.tags, 'Timestamp', '')))}"
        )
    return f"assignment {assignment.id}: {WHY.get(error.field, error.message)}"


def _check_tags(facts: ProcessFacts, nonce: int, assignment: DataItem) -> None:
    """Check the form of an assignment. If a tag occurred twice, readers could differ on which one counts."""
    if departs := departure(assignment, assignments.form_of(nonce)):
        raise fault(facts.process_id, nonce, assignment.id, f"assignment {assignment.id} {departs}")
    for name in NUMBERS:
        if _number(assignment.tags, name) is None:
            why = f"assignment {assignment.id}: {name} is not a number"
            raise fault(facts.process_id, nonce, assignment.id, why)
    if nonce == 0:
        _check_engine(facts, assignment)


def _check_engine(facts: ProcessFacts, assignment: DataItem) -> None:
    """Check that a process is bound to one engine: to the one that its spawn item asks for, if it asks for
    one."""
    try:
        bound = engine_named(assignment.tags)
    except MalformedInput as error:
        raise fault(
            facts.process_id, 0, assignment.id, f"assignment {assignment.id}: {error.message}"
        ) from error
    asked = ao_tag(facts.item.tags, ENGINE)
    if all_of(assignment.tags, ENGINE) and asked is not None and version_of(asked) != bound:
        why = f"assignment {assignment.id} binds it to engine {bound}, and its spawn item asks for {asked}"
        raise fault(facts.process_id, 0, assignment.id, why)


def check_attested_engine(facts: ProcessFacts, item: DataItem, nonce: int, engine: int) -> None:
    """Check that an attestation names the engine to which its process is bound. Raises `LogFault`."""
    named = all_of(item.tags, ENGINE)
    if named and named != [str(engine)]:
        why = f"attestation {item.id} names engine {', '.join(named)}, and the process is bound to {engine}"
        raise fault(facts.process_id, nonce, item.id, why)


def _number(tags: Tags, name: str) -> int | None:
    text = first(tags, name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else None
