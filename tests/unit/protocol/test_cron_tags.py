"""Crons as spawn items ask for them, and ticks that nobody else can make."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.protocol.ans104.items import DataItem, build, verify
from aoray.protocol.cron import Cron, Moment, crons_of, origin, tick_item, tick_of, wrong
from aoray.protocol.signatures.ed25519 import Ed25519Signer, generate_ed25519
from aoray.protocol.tags import Tag

OWNER, SCHEDULER, STRANGER = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3))
SPAWNED = Moment(1_700_000_000_900, 100)
LATER = Moment(SPAWNED.ms + 3_600_000, 200)


def tags(*pairs: tuple[str, str]) -> list[Tag]:
    return [Tag(*pair) for pair in pairs]


def process(*pairs: tuple[str, str]) -> DataItem:
    return build(OWNER, tags=tags(("Data-Protocol", "ao"), ("Type", "Process"), *pairs), data=b"boot")


TICKING = process(("Cron-Interval", "10-seconds"), ("Cron-Tag-Action", "Tick"), ("Cron-Interval", "5-blocks"))


def test_groups_of_tags_are_crons_in_their_order() -> None:
    found = crons_of(
        tags(
            ("Name", "x"),
            ("Cron-Interval", "5-Minutes"),
            ("Cron-Tag-Action", "Tick"),
            ("Cron-Tag-Action", "Tock"),
            ("Other", "y"),
            ("Cron-Tag-X", ""),
            ("Cron-Interval", "3-blocks"),
        )
    )
    assert found.missed == "one"
    assert found.crons == (
        Cron(0, "5-Minutes", "ms", 300_000, (Tag("Action", "Tick"), Tag("Action", "Tock"), Tag("X", ""))),
        Cron(1, "3-blocks", "blocks", 3, ()),
    )
    assert [cron.name for cron in found.crons] == ["0-5-Minutes", "1-3-blocks"]
    assert crons_of(tags(("Name", "x"))).crons == ()


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("1-second", 1000),
        ("10-secs", 10_000),
        ("2000-milliseconds", 2000),
        ("5-min", 300_000),
        ("1-hour", 3_600_000),
        ("1-d", 86_400_000),
        ("2-weeks", 1_209_600_000),
        ("1-year", 31_557_600_000),
    ],
)
def test_intervals_in_every_unit(text: str, step: int) -> None:
    (cron,) = crons_of(tags(("Cron-Interval", text))).crons
    assert (cron.unit, cron.step) == ("ms", step)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "10",
            "seconds",
            "0-seconds",
            "-1-seconds",
            "1.5-hours",
            "10 seconds",
            "1-month",
            "3-fortnights",
        ),
        *("999-ms", "1500-ms", "1-second ", "1-seconds\n", "101-years", "999999999999-years", "0-blocks"),
        *("999999999999-blocks", "٣-seconds", "1-second-2-seconds", "9" * 5000 + "-seconds"),
    ],
)
def test_what_is_not_an_interval_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput) as found:
        crons_of(tags(("Cron-Interval", text)))
    assert found.value.field == "tags.Cron-Interval"


def test_tags_without_a_cron_or_a_name_are_refused() -> None:
    for pairs in (
        [("Cron-Tag-Action", "Tick"), ("Cron-Interval", "1-second")],
        [("Cron-Interval", "1-second"), ("Cron-Tag-", "x")],
        [("Cron-Interval", "1-second"), ("Cron-Missed", "some")],
    ):
        with pytest.raises(MalformedInput):
            crons_of(tags(*pairs))


def test_crons_are_bounded() -> None:
    one = ("Cron-Interval", "1-second")
    assert len(crons_of(tags(*limits.CRONS_MAX * [one])).crons) == limits.CRONS_MAX
    many = [one, *((f"Cron-Tag-{n}", "x") for n in range(limits.CRON_TAGS_MAX))]
    assert len(crons_of(tags(*many)).crons[0].tags) == limits.CRON_TAGS_MAX
    for pairs in ((limits.CRONS_MAX + 1) * [one], [*many, ("Cron-Tag-more", "x")]):
        with pytest.raises(TooLarge):
            crons_of(tags(*pairs))


def test_the_same_tick_is_the_same_item_and_each_other_is_another() -> None:
    one, other = crons_of(TICKING.tags).crons
    item = tick_item(SCHEDULER, TICKING, one, 5000)
    verify(item)
    assert item.raw == tick_item(SCHEDULER, TICKING, one, 5000).raw
    twin = process(*TICKING.tags[2:], ("N", "2"))
    others = [
        tick_item(SCHEDULER, TICKING, one, 6000),
        tick_item(SCHEDULER, TICKING, other, 5000),
        tick_item(SCHEDULER, twin, one, 5000),
    ]
    assert len({item.id, *(other.id for other in others)}) == 4


def test_a_tick_is_read_back_and_nothing_else_is_a_tick() -> None:
    cron, blocks = crons_of(TICKING.tags).crons
    item = tick_item(SCHEDULER, TICKING, cron, 5000)
    tick = tick_of(item, TICKING.id, SCHEDULER.public_key)
    assert tick is not None
    assert (tick.cron, tick.due, tick.due_ms, tick.owner) == ("0-10-seconds", 5000, 5000, OWNER.address)
    assert tick.tags == (Tag("Action", "Tick"),)
    by_block = tick_of(tick_item(SCHEDULER, TICKING, blocks, 105), TICKING.id, SCHEDULER.public_key)
    assert by_block is not None and (by_block.due, by_block.due_ms) == (105, 0)

    stranger = tick_item(STRANGER, TICKING, cron, 5000)
    assert tick_of(stranger, TICKING.id, SCHEDULER.public_key) is None
    assert tick_of(item, process(("N", "3")).id, SCHEDULER.public_key) is None, "assigned to another process"
    plain = build(SCHEDULER, target=TICKING.id, tags=item.tags[:3], data=b"")
    assert tick_of(plain, TICKING.id, SCHEDULER.public_key) is None


def judged(item: DataItem, slot: Moment = LATER, of: DataItem = TICKING) -> str:
    tick = tick_of(item, of.id, SCHEDULER.public_key)
    assert tick is not None
    return wrong(tick, item, of, SPAWNED, slot)


def test_only_a_tick_that_was_asked_for_at_its_time_is_right() -> None:
    cron, blocks = crons_of(TICKING.tags).crons
    begin = origin(SPAWNED, "ms")
    assert begin == 1_700_000_000_000
    assert judged(tick_item(SCHEDULER, TICKING, cron, begin + 30_000)) == ""
    assert judged(tick_item(SCHEDULER, TICKING, blocks, 110)) == ""
    for due in (begin + 1, begin + 10_001, begin - 9_999):
        assert "whole number" in judged(tick_item(SCHEDULER, TICKING, cron, due))
    assert "before its time" in judged(
        tick_item(SCHEDULER, TICKING, cron, begin + 10_000), Moment(begin + 9_999, 900)
    )
    assert "before its time" in judged(
        tick_item(SCHEDULER, TICKING, blocks, 105), Moment(begin + 9_999_999, 104)
    )


def test_a_tick_that_the_scheduler_changed_is_found() -> None:
    cron = crons_of(TICKING.tags).crons[0]
    due = origin(SPAWNED, "ms") + 10_000
    invented = cron._replace(tags=(Tag("Action", "Withdraw"),))
    other_cron = cron._replace(place=7)
    good = tick_item(SCHEDULER, TICKING, cron, due)
    marks = list(good.tags)
    marks[3] = Tag("Cron-Owner", STRANGER.address)
    forged = [
        tick_item(SCHEDULER, TICKING, invented, due),
        tick_item(SCHEDULER, TICKING, other_cron, due),
        build(SCHEDULER, target=TICKING.id, tags=marks, data=b""),
        build(SCHEDULER, target=TICKING.id, tags=good.tags, data=b"return ao.id"),
        build(SCHEDULER, target=TICKING.id, anchor=bytes(32), tags=good.tags, data=b""),
    ]
    assert judged(good) == ""
    assert [judged(item) for item in forged] == len(forged) * ["its process never asked for such a tick"]
    broken = process(("Cron-Interval", "soon"))
    item = tick_item(SCHEDULER, broken, cron, due)
    assert judged(item, of=broken) == "its process never asked for such a tick"


def test_a_spawn_that_asks_in_vain_says_so_itself() -> None:
    with pytest.raises(ClientError) as found:
        crons_of(process(("Cron-Interval", "often")).tags)
    assert "10-seconds" in found.value.hint
    assert generate_ed25519().address != OWNER.address
