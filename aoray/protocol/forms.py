"""Forms: the exact form that each statement of a unit has, and the tag names that belong to protocols. Pure.

A unit makes statements under its own key: the scheduler states that a message has a slot (assignment) and
where it can be reached (location), the compute unit states what messages resulted in (attestation). The same
keys also sign items whose words others chose: ticks have the tags that a spawn asks for; pushed messages and
spawns have those of a guest's outbox. So a signature alone does not show who chose the words. The form does:
a statement has neither target nor anchor, the data of its form, and exactly the tags of its form, each once.
Every reader of statements calls `departure` first.

Items with the words of others never have such a form: a tick has a target, the tags of a cron have a prefix
(protocol/cron.py), and what the messenger signs has `From-Process`, data, and a key of its own
(`runtime/unit_keys` refuses one key for two units). `NAMES` is the only table of the tag names to which
protocols give a meaning; `folded` gives the spelling by which names are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from aoray.protocol.tags import Tag, Tags

if TYPE_CHECKING:
    from aoray.protocol.ans104.items import DataItem

NO_DATA: tuple[bytes, ...] = (b"",)
NO_TAGS: frozenset[str] = frozenset()
AO = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"))


class Form(NamedTuple):
    """The form of one kind of statement: its tags, their values, and its data."""

    fixed: Mapping[str, str]  # tags that occur once, and their values
    once: frozenset[str]  # tags that occur once, with any value
    optional: frozenset[str] = NO_TAGS  # tags that occur once or not at all
    many: frozenset[str] = NO_TAGS  # tags that may occur any number of times
    data: tuple[bytes, ...] | None = NO_DATA  # the permitted data; None: any data


def _form(
    kind: str,
    *once: str,
    optional: tuple[str, ...] = (),
    many: tuple[str, ...] = (),
    data: tuple[bytes, ...] | None = NO_DATA,
    **fixed: str,
) -> Form:
    said = dict((*AO, Tag("Type", kind))) | {name.replace("_", "-"): value for name, value in fixed.items()}
    return Form(said, frozenset(once), frozenset(optional), frozenset(many), data)


_SLOT = ("Process", "Epoch", "Nonce", "Hash-Chain", "Block-Height", "Timestamp")
SPAWN_ASSIGNMENT = _form("Assignment", *_SLOT, optional=("Engine",))
"""The form of the assignment of nonce 0, the process itself."""
ASSIGNMENT = _form("Assignment", *_SLOT, "Message", many=("Exclude",))
ATTESTATION = _form(
    "Attestation",
    *("Process", "Nonce-From", "Nonce-To"),
    optional=("Engine",),
    data=None,
    Content_Type="application/json",
)
LOCATION = _form("Scheduler-Location", "Url", "Time-To-Live", "Compute-Unit", data=(b"", b" "))
"""The form of a location record. Earlier versions of aoray signed one space as data (`runtime/publish`)."""
DECISION = _form("Process-Decision", "Process", "Operator-Decision", "Timestamp")
HAND_OVER = _form("Hand-Over", "Unit-Kind", "Successor", "Timestamp")
"""The form of a hand-over by the old key of a scheduler or a compute unit (protocol/handovers.py)."""
STATEMENTS = {
    "decision": DECISION,
    "assignment of nonce 0": SPAWN_ASSIGNMENT,
    "assignment": ASSIGNMENT,
    "attestation": ATTESTATION,
    "location": LOCATION,
    "hand-over": HAND_OVER,
}
"""All kinds of statements that units make."""


def departure(item: DataItem, form: Form) -> str:
    """Return how an item departs from a form, as a text that can follow the item's id ("has a target"); '' if
    it does not."""
    if item.target:
        return "has a target"
    if item.anchor:
        return "has an anchor"
    if form.data is not None and item.data not in form.data:
        return "has data"
    return tags_departure(item.tags, form)


def tags_departure(tags: Tags, form: Form) -> str:
    """Return how the tags of an item depart from a form, as `departure` does."""
    counts = Counter(name for name, _ in tags)
    for name in sorted(form.fixed.keys() | form.once):
        if counts[name] != 1:
            return f"does not have one tag {name}"
    for name, value in tags:
        if name in form.fixed:
            if form.fixed[name] != value:
                return f"has the tag {name} {value[:60]!r}, not {form.fixed[name]!r}"
        elif name in form.optional:
            if counts[name] > 1:
                return f"has more than one tag {name}"
        elif name not in form.once and name not in form.many:
            return f"has a tag {name[:60]!r}, which is not of its form"
    return ""


RESERVED_TAGS = frozenset({"from-process", "from-module", "pushed-for", "from-nonce", "from-index"})
"""Tags that only the messenger sets, on what it signs for a process; spelled as by `folded`."""

_TAGS_OF_STATEMENTS = {
    name.lower()
    for form in STATEMENTS.values()
    for name in (*form.fixed, *form.once, *form.optional, *form.many)
    if name != "Content-Type"
}
_TAGS_OF_SPAWNS = {"module", "scheduler", "authority", "on-boot", "actor", "memory-limit", "compute-limit"}
_TAGS_OF_CRONS = {"cron", "cron-due", "cron-owner", "cron-interval", "cron-missed"}
_TAGS_OF_MODULES = {"module-format", "input-encoding", "output-encoding"}
_TAGS_OF_BUNDLES = {"bundle-format", "bundle-version"}
_TAGS_ELSEWHERE = {
    *("assignments", "assignment", "ordinate", "slot", "path", "unit-identifier", "signature", "sequence"),
    *("forwarded-by", "base-layer", "read-only", "scheduler-location", "scheduler-transfer"),
    *("block-hash", "block-timestamp", "base-hashpath", "commitment-device", "device", "bundled-in"),
}
"""Names that AO's reference units and AO-Core read, and that nothing here reads."""
NAMES = frozenset().union(
    *(RESERVED_TAGS, _TAGS_OF_STATEMENTS, _TAGS_OF_SPAWNS, _TAGS_OF_CRONS),
    *(_TAGS_OF_MODULES, _TAGS_OF_BUNDLES, _TAGS_ELSEWHERE),
)


def folded(name: str) -> str:
    """Return a tag's name as processes and gateways compare names: in lower case, and with dashes."""
    return name.casefold().replace("_", "-")
