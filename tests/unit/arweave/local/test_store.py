"""What is acknowledged is kept, once, in a block; what does not verify is not."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from arweave_items import ALICE, BOB, bundle, forged, item
from clock import Clock

from aoray.arweave.local.intake import term
from aoray.arweave.local.search import Filter, SearchPage
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import BadSignature, MalformedInput, NotFound, Unavailable
from aoray.protocol.ans104.items import DataItem, parse, verify
from aoray.protocol.tags import Tag


def all_ids(store: ArweaveStore) -> list[str]:
    return [stored.id for stored in store.find(Filter(), SearchPage(1000, ascending=True))]


def restored(store: ArweaveStore, item_id: str) -> DataItem:
    return parse(store.raw(store.get(item_id)))


def test_an_item_comes_back_as_it_was_signed(store: ArweaveStore) -> None:
    sent = item(("Name", "one"), ("Name", "two"), ("Empty", ""), target=ALICE.address, anchor=b"a" * 32)
    receipt = store.put(sent)
    stored = store.get(sent.id)
    assert receipt.id == stored.id == sent.id
    assert restored(store, sent.id) == sent
    assert store.data(stored) == sent.data
    header = store.header(stored)
    assert (header.tags, header.target, header.anchor, header.data) == (
        sent.tags,
        sent.target,
        sent.anchor,
        b"",
    )


def test_an_item_without_data_is_an_item(store: ArweaveStore) -> None:
    sent = item(data=b"")
    store.put(sent)
    assert store.data(store.get(sent.id)) == b""


def test_an_item_that_does_not_verify_is_refused_even_under_a_known_id(store: ArweaveStore) -> None:
    genuine = item()
    store.put(genuine)
    with pytest.raises(BadSignature):
        store.put(parse(forged(genuine)))
    assert all_ids(store) == [genuine.id]


def test_an_item_is_kept_once_however_often_it_comes(store: ArweaveStore, tmp_path: Path) -> None:
    sent = item()
    first = store.put(sent)
    size = (tmp_path / "arweave.bytes").stat().st_size
    assert store.put(sent) == first
    assert (tmp_path / "arweave.bytes").stat().st_size == size
    assert store.tip().height == first.height


def test_nested_items_are_items_and_share_the_bytes_of_their_bundle(
    store: ArweaveStore, tmp_path: Path
) -> None:
    inner = [item(("N", str(n)), signer=BOB) for n in range(3)]
    outer = bundle(inner)
    receipt = store.put(outer)
    assert receipt.refused == []
    assert all_ids(store) == [outer.id, *(each.id for each in inner)]
    for each in inner:
        assert restored(store, each.id) == each
        assert store.get(each.id).bundled_in == outer.id
    assert (tmp_path / "arweave.bytes").stat().st_size == len(outer.raw)


def test_bundles_in_bundles_are_unfolded_down_to_a_bound(store: ArweaveStore) -> None:
    nest = [item()]
    for _ in range(6):
        nest.append(bundle([nest[-1]]))
    receipt = store.put(nest[-1])
    assert receipt.refused == []
    kept = all_ids(store)
    assert kept == [each.id for each in reversed(nest)][: len(kept)]
    assert len(kept) == 5
    assert store.get(nest[-2].id).bundled_in == nest[-1].id


def test_nested_items_that_do_not_verify_are_left_out_and_reported(store: ArweaveStore) -> None:
    good, bad, other = item(), item(), item()
    packed = bytearray(bundle([good, bad, other]).data)
    at = bytes(packed).index(bad.raw) + len(bad.raw) - 1
    packed[at] ^= 1
    receipt = store.put(bundle([], data=bytes(packed)))
    assert [refused.id for refused in receipt.refused] == [bad.id]
    assert "signature" in receipt.refused[0].reason
    assert all_ids(store) == [receipt.id, good.id, other.id]


def test_a_trusted_owner_is_taken_at_its_word_but_not_on_ids(tmp_path: Path) -> None:
    good, bad = item(), item()
    packed = bundle([good, bad]).data.replace(bad.raw, forged(bad))
    lying = packed[:64] + bytes(32) + packed[96:]
    with ArweaveStore(tmp_path / "a.sqlite", trusted={BOB.address}) as store:
        receipt = store.put(bundle([], signer=BOB, data=lying))
        assert [refused.reason for refused in receipt.refused] == [
            "the bundle states another id for that item"
        ]
        assert all_ids(store) == [receipt.id, bad.id]


@pytest.mark.parametrize("data", [b"", b"\x01" + bytes(31), b"\x01" + bytes(31) + b"\xff" * 64])
def test_an_upload_that_says_it_is_a_bundle_and_is_not_is_refused(store: ArweaveStore, data: bytes) -> None:
    with pytest.raises(MalformedInput):
        store.put(bundle([], data=data))


def test_a_false_bundle_inside_a_bundle_is_kept_closed(store: ArweaveStore) -> None:
    false = bundle([], data=b"?")
    receipt = store.put(bundle([false]))
    assert [refused.id for refused in receipt.refused] == [false.id]
    assert restored(store, false.id) == false


def test_each_batch_is_a_block_and_blocks_are_chained(store: ArweaveStore, clock: Clock) -> None:
    assert store.tip().height == 1
    first = store.put(item())
    clock.now += 5
    second = store.put(bundle([item(), item()]))
    assert (first.height, second.height) == (2, 3)
    newest, middle, genesis = store.blocks(first=5)
    assert (newest.previous, middle.previous, genesis.previous) == (middle.id, genesis.id, "")
    assert (newest.timestamp - middle.timestamp, middle.timestamp) == (5, 1_700_000_000)
    assert store.uploads_in(3) == [second.id]
    assert store.block(block_id=middle.id) == middle


def test_time_never_runs_back_in_blocks(store: ArweaveStore, clock: Clock) -> None:
    clock.now -= 1000
    store.put(item())
    newest, genesis = store.blocks(first=2)
    assert newest.timestamp == genesis.timestamp


def test_everything_is_there_when_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "arweave.sqlite"
    inner = item(("A", "b"))
    outer = bundle([inner])
    with ArweaveStore(path) as store:
        store.put(outer)
        tip = store.tip()
    with ArweaveStore(path) as store:
        assert store.tip() == tip
        assert restored(store, inner.id) == inner
        assert len(store.find(Filter(one_of=[[term("tag", "b", "A")]]), SearchPage(10))) == 1
        assert store.put(item()).height == tip.height + 1


def test_bytes_that_a_crash_left_behind_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "arweave.sqlite"
    before, after = item(), item()
    with ArweaveStore(path) as store:
        store.put(before)
    with path.with_suffix(".bytes").open("ab") as torn:
        torn.write(after.raw[:100])
    with ArweaveStore(path) as store:
        store.put(after)
        verify(restored(store, before.id))
        verify(restored(store, after.id))


def test_a_write_that_fails_keeps_nothing_and_the_next_one_works(
    store: ArweaveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, kept = item(("Fails", "yes")), item()
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
        with pytest.raises(Unavailable, match="no space"):
            store.put(lost)
    store.put(kept)
    assert all_ids(store) == [kept.id]
    assert [block.height for block in store.blocks(first=9)] == [2, 1]


def test_uploads_from_many_threads_are_all_kept(store: ArweaveStore) -> None:
    items = [item(("N", str(n))) for n in range(64)]
    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(store.put, items))
    assert {receipt.id for receipt in receipts} == set(all_ids(store)) == {each.id for each in items}
    assert all(store.get(receipt.id).height == receipt.height for receipt in receipts)
    assert store.tip().height <= 65


def test_two_processes_can_write_the_same_store(tmp_path: Path) -> None:
    path = tmp_path / "arweave.sqlite"
    with ArweaveStore(path) as one, ArweaveStore(path) as other:
        items = [item() for _ in range(10)]
        for n, each in enumerate(items):
            (one, other)[n % 2].put(each)
        assert one.tip() == other.tip()
        assert all(restored(one, each.id) == each for each in items)


def test_a_store_that_another_keeps_locked_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "arweave.sqlite"
    with ArweaveStore(path) as store, sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        store._writer.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(Unavailable, match="locked"):
            store.put(item())


@pytest.mark.parametrize("unknown", ["", "?", "A" * 43, "A" * 44])
def test_what_is_not_there_is_not_found(store: ArweaveStore, unknown: str) -> None:
    with pytest.raises(NotFound):
        store.get(unknown)
    with pytest.raises(NotFound):
        store.block(block_id=unknown)


def test_a_term_tells_names_values_and_kinds_apart() -> None:
    terms = {
        term("tag", "bc", "a"), term("tag", "c", "ab"), term("tag", "", "abc"), term("tag", "abc"),
        term("owner", "abc"), term("recipient", "abc"), term("bundle", "abc"),
    }  # fmt: skip
    assert len(terms) == 7
    assert all(-(2**63) <= each < 2**63 for each in terms)


def test_tags_that_repeat_are_indexed_once(store: ArweaveStore) -> None:
    sent = item(("A", "b"), ("A", "b"))
    store.put(sent)
    assert store.header(store.get(sent.id)).tags == (Tag("A", "b"), Tag("A", "b"))
    assert store.count(Filter(one_of=[[term("tag", "b", "A")]])) == 1
