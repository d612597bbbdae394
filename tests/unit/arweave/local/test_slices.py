"""A large bundle is written in slices, and others are served between them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from arweave_items import bundle, item

from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.store import ArweaveStore


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.arweave.local.intake.INDEX_SLICE_TERMS", 40)


def test_others_are_written_between_the_slices_of_a_large_bundle(
    store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = __import__("aoray.arweave.local.index", fromlist=["write"]).write
    small = item(("N", "small"))
    thread = threading.Thread(target=store.put, args=(small,))

    def noted(db: Any, intake: Any, start: int, height: int) -> None:
        written.append(len(intake.placed))
        write(db, intake, start, height)
        if len(written) == 2:  # while the second slice is being written, somebody else comes
            thread.start()
            while not store._queue:
                pass

    monkeypatch.setattr("aoray.arweave.local.index.write", noted)
    large = bundle([item(("N", str(n))) for n in range(100)])
    receipt = store.put(large)
    thread.join()
    assert len(written) > 10 and max(written) < 20
    assert store.get(small.id).height < store.get(large.id).height == receipt.height


def test_what_is_written_in_slices_is_as_if_at_once(store: ArweaveStore) -> None:
    sent = [item(("N", str(n)), data=bytes([n])) for n in range(100)]
    inner = bundle([item(("N", "inner"))])
    large = bundle([*sent, inner])
    receipt = store.put(large)
    assert store.put(large) == receipt
    for each in (*sent, inner, large):
        assert store.raw(store.get(each.id)) == each.raw
    assert store.get(sent[0].id).bundled_in == large.id
    assert store.path.with_suffix(".bytes").stat().st_size == len(large.raw)
    query = '{ transactions(bundledIn: ["%s"], first: 1000, sort: HEIGHT_ASC) { edges { node { id } } } }'
    _, body = Graph(store).execute(query % large.id)
    found = [edge["node"]["id"] for edge in body["data"]["transactions"]["edges"]]
    assert found == [each.id for each in (*sent, inner)]
    assert store.uploads_in(receipt.height) == [large.id]


def test_a_bundle_of_which_only_some_slices_were_written_may_be_posted_again(
    store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bundle([item(("N", str(n))) for n in range(100)])
    with monkeypatch.context() as patch:
        write, slices = __import__("aoray.arweave.local.index", fromlist=["write"]).write, list[int]()

        def failing(*arguments: Any) -> None:
            slices.append(0)
            if len(slices) == 5:
                raise OSError(28, "No space left on device")
            write(*arguments)

        patch.setattr("aoray.arweave.local.index.write", failing)
        with pytest.raises(Exception, match="No space left"):
            store.put(large)
    assert store.put(large).id == large.id
    count = f'{{ transactions(bundledIn: ["{large.id}"]) {{ count }} }}'
    assert Graph(store).execute(count)[1]["data"]["transactions"]["count"] == "100"


def test_what_was_waiting_is_indexed_before(tmp_path: Path) -> None:
    from arweave_items import BOB

    with ArweaveStore(tmp_path / "a.sqlite", trusted={BOB.address}, later=lambda: None) as store:
        first = bundle([item(("N", "1"))], signer=BOB)
        store.put(first)
        large = bundle([item(("N", str(n))) for n in range(100)])
        store.put(large)
        assert store.get(first.id).seq < store.get(large.id).seq
