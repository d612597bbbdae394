"""The flusher's bundles are indexed later, and nobody can tell."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from arweave_items import ALICE, BOB, bundle, forged, item
from clock import TODAY, Clock

from aoray.arweave.local import intake
from aoray.arweave.local.indexer import Indexer
from aoray.arweave.local.intake import term
from aoray.arweave.local.search import Filter, SearchPage
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_encode


def never() -> None:
    """Nobody indexes."""


@pytest.fixture
def lazy(tmp_path: Path, clock: Clock) -> Iterator[ArweaveStore]:
    with ArweaveStore(tmp_path / "lazy.sqlite", clock=clock, trusted={BOB.address}, later=never) as opened:
        yield opened


def rows(path: Path) -> list[list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        return [db.execute(f"SELECT * FROM {each}").fetchall() for each in ("block", "item", "term")]


def waiting(path: Path) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute("SELECT count(*) FROM waiting").fetchone()[0])


def until_indexed(path: Path) -> None:
    deadline = time.monotonic() + 30
    while waiting(path):
        assert time.monotonic() < deadline, "nobody indexes"
        os.sched_yield()


def hits(store: ArweaveStore, wanted: int) -> int:
    return len(store.find(Filter(one_of=[[wanted]]), SearchPage(9)))


PROCESS = b64url_encode(b"p" * 32)
FOUND: dict[str, Callable[[ArweaveStore, DataItem, DataItem], object]] = {
    "id": lambda store, outer, inner: store.raw(store.get(inner.id)) == inner.raw,
    "upload": lambda store, outer, inner: store.raw(store.get(outer.id)) == outer.raw,
    "tag": lambda store, outer, inner: hits(store, term("tag", "b", "A")),
    "recipient": lambda store, outer, inner: hits(store, term("recipient", PROCESS)),
    "parent": lambda store, outer, inner: hits(store, term("bundle", outer.id)),
    "count": lambda store, outer, inner: store.count(Filter()) == 2,
    "height": lambda store, outer, inner: len(store.find(Filter(heights=(2, 2)), SearchPage(9))) == 2,
    "uploads": lambda store, outer, inner: store.uploads_in(2) == [outer.id],
    "again": lambda store, outer, inner: store.put(outer).height == 2,
}  # fmt: skip


@pytest.mark.parametrize("question", FOUND)
def test_every_search_sees_what_was_accepted_before_it(
    lazy: ArweaveStore, tmp_path: Path, question: str
) -> None:
    inner = item(("A", "b"), target=PROCESS)
    outer = bundle([inner], signer=BOB)
    assert lazy.put(outer).height == lazy.tip().height == 2
    assert waiting(tmp_path / "lazy.sqlite") == 1
    assert FOUND[question](lazy, outer, inner)


def test_what_is_indexed_later_is_indexed_as_if_at_once(lazy: ArweaveStore, tmp_path: Path) -> None:
    twice = item(("A", "b"))
    nested = bundle([item(("In", "nested")), twice])
    uploads = [
        bundle([item(("A", "b"), ("A", "b"), target=PROCESS), nested], signer=BOB),
        bundle([twice, *(item(("N", str(n))) for n in range(9))], signer=BOB),
        item(("From", "a stranger")),
        bundle([item(("Long", "v" * 80)), item(("Ünï", "çödé"))], signer=BOB),
        bundle([twice, item()]),
        bundle([twice, bundle([item()], signer=BOB)], signer=BOB),
    ]
    with ArweaveStore(tmp_path / "now.sqlite", clock=Clock(TODAY), trusted={BOB.address}) as now:
        for each in uploads:
            assert lazy.put(each) == now.put(each)
    assert lazy.count(Filter()) == 24
    assert rows(tmp_path / "lazy.sqlite") == rows(tmp_path / "now.sqlite")


def test_a_strangers_bundle_is_verified_before_it_is_accepted(lazy: ArweaveStore, tmp_path: Path) -> None:
    good, bad = item(), item()
    packed = bundle([good, bad]).data.replace(bad.raw, forged(bad))
    receipt = lazy.put(bundle([], signer=ALICE, data=packed))
    assert [refused.id for refused in receipt.refused] == [bad.id]
    assert waiting(tmp_path / "lazy.sqlite") == 0


def test_what_waited_when_all_was_killed_is_found(tmp_path: Path) -> None:
    path, inner = tmp_path / "a.sqlite", item()
    killed = ArweaveStore(path, trusted={BOB.address}, later=never)
    killed.put(bundle([inner], signer=BOB))
    with ArweaveStore(path) as store:  # as it is left; whoever opens it need not know whom it trusted
        assert store.raw(store.get(inner.id)) == inner.raw
    killed.close()


def test_no_more_waits_than_a_search_can_wait_for(
    lazy: ArweaveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [bundle([item(data=b"%d" % n)], signer=BOB) for n in range(6)]
    monkeypatch.setattr("aoray.arweave.local.store.WAITING_BYTES_MAX", len(uploads[0].raw))
    seen = []
    for each in uploads:
        lazy.put(each)
        seen.append(waiting(tmp_path / "lazy.sqlite"))
    assert seen == [1, 0, 1, 0, 1, 0]


def test_the_indexer_indexes_also_after_it_was_killed_and_ends_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with ArweaveStore(path, trusted={BOB.address}, later=lambda: indexer.wake()) as store:
        indexer = Indexer(path)
        store.put(bundle([item()], signer=BOB))
        until_indexed(path)
        indexer._process.kill()
        indexer._process.wait()
        store.put(bundle([item()], signer=BOB))
        until_indexed(path)
        indexer._process.communicate(timeout=30)  # closes its standard input
        assert indexer._process.returncode == 0


PLAIN = item(("A", "b"), target=PROCESS)
ODD = item(("A", "b"), ("A", "b"), ("Ünï", "çödé"), ("L", "v" * 63), anchor=b"a" * 32)
LONG = item(("A", "b"), ("M", "v" * 64))


def some_damage() -> Iterator[bytes]:
    """The content of a bundle, and the same with each byte behind the signatures changed in turn."""
    content = bundle(
        [PLAIN, item(("A", ""), target=PROCESS, anchor=b"a" * 32), item(data=b""), ODD, LONG]
    ).data
    yield content
    for each in (PLAIN, ODD, LONG):
        start = content.index(each.raw)
        for at in range(start + 66, start + len(each.raw)):
            for flip in (1, 2, 0x80):
                yield content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]


def test_the_quick_look_at_an_item_sees_what_parsing_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = [bundle([], data=content) for content in some_damage()]
    quick = [intake.opened(upload, {ALICE.address}) for upload in uploads]
    assert {len(each.refused) for each in quick} == {0, 1}
    monkeypatch.setattr("aoray.arweave.local.intake._header", lambda *_: None)
    assert [intake.opened(upload, {ALICE.address}) for upload in uploads] == quick
