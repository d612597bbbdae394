"""Crons: the tags of a spawn item that ask for ticks, and the messages that ticks are. Pure.

Source: docs/wire-contract.md §3.9.

The order of the tags in a spawn item matters: `Cron-Interval` (`10-seconds`, `1-hour`, `3-blocks`) starts a
cron; the `Cron-Tag-<Name>` after it are the tags of its ticks; another `Cron-Interval` starts the next cron.
`Cron-Missed` says what happens to ticks that fell due while the computer was down: `one` makes up for one of
them (the default), `all` for the last `limits.CRON_CATCH_UP_MAX`, `none` for none. Units are seconds,
minutes, hours, days, weeks, years and blocks, and milliseconds if they add up to whole seconds; other values
are refused at the spawn.

A tick is due at every whole number of intervals from the slot of the process (from the second of its
timestamp, or from its block height). It is a message like any other, with a nonce: a data item without data,
made and signed by the scheduler. Ed25519 makes the same tick the same item, so it is scheduled once, however
often it is made. Its tags were signed by the process's owner in the spawn item, so the guest sees this owner
as `Owner` and `From`, `Cron: true`, the tags without `Cron-Tag-`, and no data.

The scheduler's key also signs the scheduler's own statements, while strangers choose the tags of a cron.
Therefore tags keep their prefix `Cron-Tag-` in the signed item, and no tag without the prefix comes from a
stranger. Ticks that were signed by early versions have tags without the prefix; they are told apart by the
order of their first tags, and are still ticks and nothing else (they have a target, which no statement has:
protocol/forms.py). In addition, a spawn that asks for ticks with a protocol's tags is refused, in any
spelling (`check_asked`); one that is in a log already still ticks.

Invariants: only the scheduler of a process can make its ticks. `wrong` (called by `aoray verify`) finds a
tick that the spawn item does not ask for, or that came before its time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

from aoray import limits
from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.forms import NAMES, folded
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signed import SignedMessage
from aoray.protocol.tags import Tag, Tags, all_of

Unit = Literal["ms", "blocks"]
Missed = Literal["one", "all", "none"]

PREFIX = "Cron-Tag-"
INTERVAL = re.compile(r"([0-9]{1,12})-([A-Za-z]{1,12})")
SECOND = 1000
DAY = 86_400 * SECOND
MILLISECONDS: Mapping[str, int] = {
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60 * SECOND),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600 * SECOND),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 1461 * DAY // 4),
}
BLOCKS = ("block", "blocks")
KIND = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", "Message"))
MARKS = ("Cron-Owner", "Cron", "Cron-Due")
MARKS_BEFORE = ("Cron", "Cron-Due", "Cron-Owner")  # of early versions; the cron's tags follow without prefix
HEAD = len(KIND) + len(MARKS)  # the number of tags before those of the cron


class Cron(NamedTuple):
    """One cron of a process. `step` is its interval in its unit; `place` counts the crons of the process from
    0."""

    place: int
    interval: str
    unit: Unit
    step: int
    tags: Tags

    @property
    def name(self) -> str:
        """The name of the cron in the legacy contract, such as `0-10-seconds`."""
        return f"{self.place}-{self.interval}"


class Crons(NamedTuple):
    """The crons that a spawn item asks for, and what to do with missed ticks."""

    crons: tuple[Cron, ...]
    missed: Missed


class Moment(NamedTuple):
    """A point in time, by the clock (Unix time in ms) and by Arweave (block height). The moment of a slot is
    what its assignment states."""

    ms: int
    height: int

    def by(self, unit: Unit) -> int:
        """Return the moment in this unit: ms or blocks."""
        return self.ms if unit == "ms" else self.height


class Tick(NamedTuple):
    """The contents of the item of a tick."""

    cron: str
    due: int
    owner: str
    tags: Tags

    @property
    def due_ms(self) -> int:
        """When the tick was due by the clock (Unix time in ms); 0 if it was due at a block."""
        return 0 if self.cron.rpartition("-")[2].lower() in BLOCKS else self.due


def crons_of(tags: Sequence[Tag]) -> Crons:
    """Return the crons that the tags of a spawn item ask for. Raises `MalformedInput` or `TooLarge` for tags
    that do not make a cron."""
    groups: list[tuple[str, list[Tag]]] = []
    for name, value in tags:
        if name == "Cron-Interval":
            groups.append((value, []))
        elif name.startswith(PREFIX):
            if not groups or name == PREFIX:
                raise MalformedInput(
                    f"{name} needs a name, and a Cron-Interval before it",
                    field=f"tags.{name}",
                    hint="Put Cron-Tag-NAME behind the Cron-Interval whose ticks have the tag NAME.",
                )
            groups[-1][1].append(Tag(name.removeprefix(PREFIX), value))
    if len(groups) > limits.CRONS_MAX or any(len(own) > limits.CRON_TAGS_MAX for _, own in groups):
        raise TooLarge(
            f"a process has at most {limits.CRONS_MAX} crons, of {limits.CRON_TAGS_MAX} tags each",
            field="tags.Cron-Interval",
        )
    crons = (Cron(place, text, *_interval(text), tuple(own)) for place, (text, own) in enumerate(groups))
    return Crons(tuple(crons), _missed(tags))


def check_asked(tags: Sequence[Tag]) -> None:
    """Raise `MalformedInput` or `TooLarge` if the crons of a spawn item are not valid, or their ticks would
    have tags of a protocol."""
    for cron in crons_of(tags).crons:
        for name, _ in cron.tags:
            if folded(name) in NAMES:
                raise MalformedInput(
                    f"{PREFIX}{name[:60]} is refused: {name[:60]} is a tag of the protocol",
                    field=f"tags.{PREFIX}{name[:60]}",
                    hint="Give the tick's tag another name; what the process should do goes into Action.",
                )


def _interval(text: str) -> tuple[Unit, int]:
    found = INTERVAL.fullmatch(text)
    count, unit = (int(found[1]), found[2].lower()) if found else (0, "")
    if unit in BLOCKS and 0 < count <= limits.CRON_BLOCKS_MAX:
        return "blocks", count
    step = count * MILLISECONDS.get(unit, 0)
    if step <= 0 or step % SECOND or step > limits.CRON_DAYS_MAX * DAY:
        raise MalformedInput(
            f"Cron-Interval {text[:60]!r} is not an interval of a second or more",
            field="tags.Cron-Interval",
            hint="Write 10-seconds, 5-minutes, 1-hour, 2-days, 1-week or 3-blocks.",
        )
    return "ms", step


def _missed(tags: Sequence[Tag]) -> Missed:
    said = all_of(tags, "Cron-Missed") or ["one"]
    if said[0] not in ("one", "all", "none"):
        raise MalformedInput(
            f"Cron-Missed is {said[0][:60]!r}", field="tags.Cron-Missed", hint="Write one, all or none."
        )
    return cast(Missed, said[0])


def origin(spawned: Moment, unit: Unit) -> int:
    """Return where the grid of a cron starts: at the slot of its process, in whole seconds or in blocks."""
    return spawned.ms // SECOND * SECOND if unit == "ms" else spawned.height


def tick_item(signer: Signer, process: SignedMessage, cron: Cron, due: int) -> DataItem:
    """Make and sign the tick of a process's cron that is due at `due` (ms, or block height)."""
    return build(signer, target=process.id, tags=_tags(process, cron, due), data=b"")


def _tags(process: SignedMessage, cron: Cron, due: int) -> Tags:
    marks = _marks(MARKS, process, cron, due)
    return (*KIND, *marks, *(Tag(PREFIX + name, value) for name, value in cron.tags))


def _tags_before(process: SignedMessage, cron: Cron, due: int) -> Tags:
    """Return the tags of a tick in the form of early versions, which had the cron's tags without a prefix."""
    return (*KIND, *_marks(MARKS_BEFORE, process, cron, due), *cron.tags)


def _marks(names: Sequence[str], process: SignedMessage, cron: Cron, due: int) -> Tags:
    said = {"Cron": cron.name, "Cron-Due": str(due), "Cron-Owner": process.address}
    return tuple(Tag(name, said[name]) for name in names)


def tick_of(item: SignedMessage, process_id: str, scheduler: bytes) -> Tick | None:
    """Return the contents of a tick; None for any other message. `scheduler` is the public key that signed
    the assignment."""
    if item.owner != scheduler or item.target_id != process_id or item.tags[: len(KIND)] != KIND:
        return None
    marks, tags = item.tags[len(KIND) : HEAD], item.tags[HEAD:]
    names, said = tuple(tag.name for tag in marks), dict(marks)
    if names not in (MARKS, MARKS_BEFORE):
        return None
    due = said["Cron-Due"]
    if not (due.isascii() and due.isdecimal() and len(due) <= 18):
        return None
    if names == MARKS:
        tags = tuple(Tag(name.removeprefix(PREFIX), value) for name, value in tags)
    return Tick(said["Cron"], int(due), said["Cron-Owner"], tags)


def wrong(tick: Tick, item: SignedMessage, process: SignedMessage, spawned: Moment, slot: Moment) -> str:
    """Return why this tick should not be in the log of its process; '' if it is right. `spawned` and `slot`
    are the moments of the spawn and of the tick's own slot."""
    try:
        cron = next((cron for cron in crons_of(process.tags).crons if cron.name == tick.cron), None)
    except ClientError:
        cron = None
    asked = [make(process, cron, tick.due) for make in (_tags, _tags_before)] if cron else []
    if cron is None or item.tags not in asked or item.data or item.anchor:
        return "its process never asked for such a tick"
    if (tick.due - origin(spawned, cron.unit)) % cron.step:
        return "it is not a whole number of intervals from its process"
    return "" if tick.due <= slot.by(cron.unit) else "it came before its time"
