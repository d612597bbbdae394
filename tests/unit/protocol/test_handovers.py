"""Hand-overs: one form, one successor each, and never back."""

from __future__ import annotations

import pytest

from aoray.protocol.ans104.items import build
from aoray.protocol.handovers import NEVER, Line, Tenure, at, followed, hand_over, hand_over_of, rank
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag

OLD, NEW, NEWER = (Ed25519Signer(letter * 32) for letter in (b"o", b"n", b"m"))
ITEM = hand_over(OLD, "scheduler", NEW.address, 1000)


def test_a_hand_over_says_who_and_when_and_is_the_same_item_each_time() -> None:
    assert hand_over_of(ITEM) == ("scheduler", OLD.address, NEW.address, 1000)
    assert hand_over(OLD, "scheduler", NEW.address, 1000).raw == ITEM.raw
    assert (ITEM.target, ITEM.anchor, ITEM.data) == (b"", b"", b"")


@pytest.mark.parametrize(
    "change",
    [
        {"target": NEW.address},
        {"anchor": b"a" * 32},
        {"data": b" "},
        {"tags": [*ITEM.tags, Tag("More", "")]},
        {"tags": [*ITEM.tags, Tag("Successor", NEWER.address)]},
        {"tags": ITEM.tags[:-1]},
        {"tags": [*ITEM.tags[:-1], Tag("Timestamp", "-1")]},
        {"tags": [*ITEM.tags[:-1], Tag("Timestamp", "9" * 19)]},
        {"tags": [*ITEM.tags[:-2], Tag("Successor", "nobody"), ITEM.tags[-1]]},
        {"tags": [*ITEM.tags[:-2], Tag("Successor", OLD.address), ITEM.tags[-1]]},
        {"tags": [*ITEM.tags[:-3], Tag("Unit-Kind", "authority"), *ITEM.tags[-2:]]},
    ],
)
def test_what_has_another_form_is_none(change: dict[str, object]) -> None:
    parts = {"tags": ITEM.tags} | change
    assert hand_over_of(build(OLD, **parts)) is None  # type: ignore[arg-type]


def test_the_line_says_who_signs_when_and_never_goes_back() -> None:
    line: Line = (Tenure(OLD.address),)
    assert at(line, 0) == at(line, NEVER) == OLD.address
    said = hand_over_of(ITEM)
    assert said
    line = followed(line, said)
    assert [at(line, ms) for ms in (0, 1000, 1001)] == [OLD.address, OLD.address, NEW.address]
    assert followed(line, said) == line  # it handed over already
    for successor, ms in ((OLD.address, 2000), (NEWER.address, 999)):  # back, and before its own time
        again = hand_over_of(hand_over(NEW, "scheduler", successor, ms))
        assert again and followed(line, again) == line
    at_once = hand_over_of(hand_over(NEW, "scheduler", NEWER.address, 1000))  # it signed no slot
    assert at_once
    assert [at(followed(line, at_once), ms) for ms in (1000, 1001)] == [OLD.address, NEWER.address]
    last = hand_over_of(hand_over(NEW, "scheduler", NEWER.address, 2000))
    assert last
    line = followed(line, last)
    assert [at(line, ms) for ms in (1000, 2000, 2001)] == [OLD.address, NEW.address, NEWER.address]
    assert [rank(line, signer.address) for signer in (OLD, NEW, NEWER)] == [0, 1, 2] and rank(line, "") == -1
