"""The flusher: all entries reach Arweave in order, over crashes; a repeated bundle has the same bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fake_arweave import FakeArweave
from fastapi import FastAPI
from flusher_rig import fill, on_log_of
from ordering import SCHEDULER, assign, bundle, committer, item, message, spawn

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.arweave.uploaders import EmbeddedUploader
from aoray.errors import Unavailable
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, unpack
from aoray.protocol.ans104.items import parse, verify
from aoray.scheduler.committer import Committer
from aoray.scheduler.flusher import Flusher
from aoray.settings import Settings
from aoray.storage.factory import open_readers
from aoray.storage.uploads import Upload, plan


def flusher_of(writer: Committer, arweave: FakeArweave) -> Flusher:
    return Flusher(on_log_of(writer), EmbeddedUploader(arweave, SCHEDULER))  # type: ignore[arg-type]


async def test_items_and_assignments_are_posted_in_order(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FLUSH_BUNDLE_ENTRIES_MAX", 4)
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    expected = fill(writer, process, *(message(process.process_id) for _ in range(9)))
    flusher = flusher_of(writer, arweave)
    while await flusher.flush_once():
        pass
    assert arweave.uploaded() == expected
    assert [len(unpack(parse(raw).data)) for raw in arweave.posted] == [8, 8, 4]
    for raw in arweave.posted:
        verify(parse(raw))
        for each in unpack(parse(raw).data):
            verify(each)
    assert writer.log.uploads.state() == (10, 10, 10) and flusher.progress.bundles == 3


async def test_a_crash_between_post_and_cursor_posts_the_same_bytes_again(stored: Settings) -> None:
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    fill(writer, process, message(process.process_id))
    arweave.answers_lost = 1
    with pytest.raises(Unavailable):
        await flusher_of(writer, arweave).flush_once()
    fill(writer, message(process.process_id))  # what comes meanwhile does not change the bundle
    writer.close()
    again = committer(stored)
    flusher = flusher_of(again, arweave)
    assert await flusher.flush_once() and await flusher.flush_once() and not await flusher.flush_once()
    assert arweave.posted[0] == arweave.posted[1] != arweave.posted[2]


async def test_while_arweave_is_down_it_waits_longer_and_then_goes_on(stored: Settings) -> None:
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    expected = fill(writer, process)
    arweave.lost = 9
    waits: list[float] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if arweave.posted:
            raise Enough

    flusher = flusher_of(writer, arweave)
    with pytest.raises(Enough):
        await flusher.run(0.1, sleep)
    assert waits[:-1] == sorted(waits[:-1])
    assert waits[-2:] == [limits.FLUSH_BACKOFF_SECONDS_MAX, 0.1]
    assert arweave.uploaded() == expected
    assert flusher.progress.failures == 0


async def test_what_comes_while_a_bundle_is_posted_waits_for_the_next_round(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load there is always something new; each bundle may be a transaction that is paid for."""
    monkeypatch.setattr(limits, "FLUSH_BUNDLE_ENTRIES_MAX", 4)
    writer, process = committer(stored), spawn()
    fill(writer, process, *(message(process.process_id) for _ in range(8)))

    class Busy(FakeArweave):
        async def post_item(self, raw: bytes) -> str:
            fill(writer, message(process.process_id))
            assert len(self.posted) < 9, "it never rests"
            return await super().post_item(raw)

    arweave, rounds = Busy(), list[int]()

    async def sleep(seconds: float) -> None:
        assert seconds == 60
        rounds.append(len(arweave.posted))
        if len(rounds) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await flusher_of(writer, arweave).run(60, sleep)
    assert rounds == [3, 4, 5]


def test_a_bundle_ends_by_entries_or_bytes_but_holds_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    big = limits.FLUSH_BUNDLE_BYTES_MAX
    assert plan([]) is None
    assert plan([(5, 2 * big), (6, 1)]) == 5
    assert plan([(5, big - 1), (7, 1), (8, 1)]) == 7
    monkeypatch.setattr(limits, "FLUSH_BUNDLE_ENTRIES_MAX", 2)
    assert plan([(5, 1), (6, 1), (7, 1)]) == 6


def test_a_message_assigned_to_several_processes_is_in_a_bundle_once(stored: Settings) -> None:
    writer, one, other = committer(stored), spawn(), spawn()
    sent = message(one.process_id)
    fill(writer, one, other, sent, assign(other.process_id, sent))
    rows = writer.log.uploads.items(Upload(1, 0, 4, 0, 0))
    ids = [each.id for each in unpack(bundle(SCHEDULER, rows).data)]
    assert len(ids) == len(set(ids)) == 7


async def test_the_embedded_arweave_has_every_item_and_assignment_also_of_hostile_messages(
    stored: Settings,
    tmp_path: Path,
) -> None:
    writer, process = committer(stored), spawn()
    hostile = [
        message(process.process_id, *BUNDLE_TAGS, data=data) for data in (b"no bundle", b"\1" * 40, bytes(32))
    ]
    expected = fill(writer, process, message(process.process_id), *hostile)
    with ArweaveStore(tmp_path / "arweave.sqlite") as store:
        app = FastAPI()
        app.include_router(router(store))
        transport = httpx.ASGITransport(app)
        async with ArweaveClient("http://arweave", transport=transport) as client:
            flusher = Flusher(on_log_of(writer), EmbeddedUploader(client, SCHEDULER))
            assert await flusher.flush_once() and not await flusher.flush_once()
            for each in expected:
                assert (await client.item(each)).id == each


async def test_what_is_published_gets_there_once_beside_the_entries(stored: Settings) -> None:
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    expected = fill(writer, process)
    published = [item([("Type", "Attestation")]) for _ in range(3)]
    writer.log.uploads.publish(published[:2])
    arweave.answers_lost = 1
    with pytest.raises(Unavailable):
        await flusher_of(writer, arweave).flush_once()
    writer.close()
    again = committer(stored)
    again.log.uploads.publish(published)
    flusher = flusher_of(again, arweave)
    assert await flusher.flush_once() and await flusher.flush_once() and not await flusher.flush_once()
    assert arweave.posted.pop(0) == arweave.posted[0]
    assert arweave.uploaded() == expected + [each.id for each in published]


async def test_of_what_is_settled_only_the_ids_are_kept_and_it_is_never_published_again(
    stored: Settings,
) -> None:
    """Attestations come forever: the log must not hold what Arweave has."""
    writer, arweave = committer(stored), FakeArweave()
    first, second = item((), data=b"one" * 9_999), item((), data=b"two" * 9_999)
    flusher = flusher_of(writer, arweave)

    def held() -> int:
        return int(writer.log._rows("SELECT sum(length(item)) FROM publications")[0][0])  # type: ignore[attr-defined]

    writer.log.uploads.publish([first])
    arweave.lost = 1
    with pytest.raises(Unavailable):
        await flusher.flush_once()
    assert held() == len(first.raw)
    assert await flusher.flush_once()
    assert held() == 0
    writer.log.uploads.publish([first, second])
    assert held() == len(second.raw)
    assert await flusher.flush_once() and not await flusher.flush_once()
    assert arweave.uploaded() == [first.id, second.id]


async def test_who_reads_finds_all_acknowledged_items_and_knows_whether_they_are_posted(
    stored: Settings,
) -> None:
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    expected = fill(writer, process, message(process.process_id))
    readers, flusher = open_readers(stored), flusher_of(writer, arweave)
    assert readers.unposted() == [0]
    found = [readers.find_item(each) for each in expected]
    assert [parse(raw).id for raw in found if raw] == expected
    assert readers.find_item("A" * 43) is None
    await asyncio.gather(flusher.flush(), flusher.flush())  # a reader, and the interval
    assert readers.unposted() == []
    assert arweave.uploaded() == expected
    readers.close()


async def test_what_could_not_be_posted_is_not_taken_for_posted(stored: Settings) -> None:
    writer, arweave, process = committer(stored), FakeArweave(), spawn()
    fill(writer, process)
    arweave.lost = 1
    with pytest.raises(Unavailable):
        await flusher_of(writer, arweave).flush()
    assert open_readers(stored).unposted() == [0]
