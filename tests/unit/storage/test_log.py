"""The durable log: what is appended is there for every reader, whole or not at all, by one writer."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ordering import SCHEDULER, assign, check_process, committer, message, reader_of, spawn

from aoray import limits
from aoray.cluster.names import shard_of
from aoray.contracts.shard import Receipt, Submission
from aoray.errors import ClientError, StaleTerm, Unavailable
from aoray.protocol.ans104.items import parse
from aoray.scheduler.committer import Committer
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage.factory import open_log, open_readers
from aoray.storage.log import SCHEMA_VERSION, SqliteLog, check_version
from aoray.storage.log_reader import LogReader, ShardedReader
from aoray.storage.uploads import Upload


def fill(path: Path | Settings, *batches: list[Submission], now_ms: int = 1000) -> list[Receipt]:
    writer = committer(path)
    outcomes = [o for batch in batches for o in writer.commit(batch, now_ms=now_ms, block_height=5).outcomes]
    writer.close()
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    return outcomes  # type: ignore[return-value]


def test_a_log_that_is_not_there_reads_as_empty_and_is_found_later(tmp_path: Path) -> None:
    path = tmp_path / "log-0.sqlite"
    reader, process = LogReader(path), spawn()
    assert reader.process(process.process_id) is None and reader.entries(process.process_id) == []
    path.touch()  # as if its maker was interrupted
    assert reader.process_ids() == []
    fill(path, [process])
    assert reader.process_ids() == [process.process_id]


def test_readers_find_an_entry_by_its_ids(stored: Settings) -> None:
    process, other = spawn(), spawn()
    sent = message(process.process_id)
    receipts = fill(stored, [process, other, sent], [assign(other.process_id, sent)])
    reader = reader_of(stored)
    entry = reader.entry(process.process_id, sent.message_id)
    assert entry is not None and entry.item == sent.item and entry.nonce == 1
    assert reader.entry(process.process_id, receipts[2].assignment_id) == entry
    assert reader.entry(process.process_id, receipts[3].assignment_id) is None
    assigned = reader.entry(other.process_id, sent.message_id)
    assert assigned is not None and assigned.assignment_id == receipts[3].assignment_id
    assert reader.find_message(sent.message_id) == (sent.item, sent.envelope)
    assert reader.find_message(receipts[2].assignment_id) is None
    record = reader.process(process.process_id)
    assert record is not None and record.item == process.item
    assert parse(record.assignment).id == record.assignment_id == receipts[0].assignment_id
    latest = reader.latest(process.process_id)
    assert latest is not None and latest.nonce == 1


def test_pages_follow_one_another(stored: Settings) -> None:
    process = spawn()
    fill(stored, [process, *(message(process.process_id) for _ in range(9))])
    reader = reader_of(stored)
    page = reader.entries(process.process_id, limit=4)
    assert [entry.nonce for entry in page] == [0, 1, 2, 3] and page.more
    page = reader.entries(process.process_id, 3, 6)
    assert [entry.nonce for entry in page] == [4, 5, 6, 7, 8, 9] and not page.more
    assert [entry.nonce for entry in reader.entries(process.process_id, 3, 99, to_nonce=5)] == [4, 5]
    assert reader.entries(process.process_id, 9) == []
    check_process(reader.entries(process.process_id))


def test_pages_by_time_are_exclusive_at_the_start_and_inclusive_at_the_end(stored: Settings) -> None:
    process = spawn()
    fill(stored, [process, *(message(process.process_id) for _ in range(9))], now_ms=1000)
    reader = reader_of(stored)
    for after in range(998, 1012):
        for to in range(998, 1012):
            page = reader.entries_by_time(process.process_id, after, to, 100)
            expected = [t for t in range(1000, 1010) if after < t <= to]
            assert [entry.timestamp for entry in page] == expected and not page.more
    page = reader.entries_by_time(process.process_id, 1001, 1005, limit=2)
    assert [entry.timestamp for entry in page] == [1002, 1003] and page.more


def test_a_page_ends_early_by_its_bytes_and_says_so(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = spawn()
    batch = [process, *(message(process.process_id) for _ in range(3))]
    fill(stored, batch)
    monkeypatch.setattr(limits, "LOG_PAGE_BYTES_MAX", 1)
    page = reader_of(stored).entries(process.process_id)
    assert [entry.nonce for entry in page] == [0] and page.more


def test_an_earlier_holder_of_the_shard_cannot_write(stored: Settings) -> None:
    process = spawn()
    first = committer(stored)
    first.commit([process], now_ms=1, block_height=0)
    second = committer(stored)
    with pytest.raises(StaleTerm):
        first.commit([message(process.process_id)], now_ms=1, block_height=0)
    upload = Upload(1, 0, 1, 0, 0)
    for write in (first.log.uploads.add, first.log.uploads.save):
        with pytest.raises(StaleTerm):
            write(upload)
    with pytest.raises(StaleTerm):
        first.log.uploads.publish([])
    receipt = second.commit([message(process.process_id)], now_ms=1, block_height=0).outcomes[0]
    assert isinstance(receipt, Receipt) and receipt.nonce == 1


def test_nobody_writes_before_taking_over(stored: Settings) -> None:
    with pytest.raises(StaleTerm):
        open_log(stored, 0).append([], {}, 1)


def test_a_full_disk_is_unavailable_and_leaves_nothing_of_the_batch(tmp_path: Path) -> None:
    process = spawn()
    writer = committer(tmp_path / "log")
    writer.commit([process], now_ms=1, block_height=0)
    writer.log._db.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]
    batch = [message(process.process_id, data=bytes([n]) * 9000) for n in range(3)]
    refused = writer.commit(batch, now_ms=1, block_height=0)
    assert all(isinstance(outcome, Unavailable) for outcome in refused.outcomes) and not refused.work
    term = writer.term
    written = writer.commit(batch, now_ms=1, block_height=0)  # on a new connection, without that limit
    assert [o.nonce for o in written.outcomes if isinstance(o, Receipt)] == [1, 2, 3]
    assert writer.term == term + 1


def test_the_height_and_the_uploads_survive(stored: Settings) -> None:
    log = open_log(stored, 0)
    log.take_over()
    log.append([], {}, 9)
    log.append([], {}, 8)
    log.uploads.add(Upload(1, 0, 2, 0, 0, settled=True))
    log.uploads.add(Upload(2, 2, 3, 0, 1))
    log.close()
    again = open_log(stored, 0)
    assert again.block_height() == 9
    assert again.uploads.state() == (2, 3, 0)
    assert again.uploads.next() == Upload(2, 2, 3, 0, 1)


def test_a_log_of_version_1_goes_on_where_it_was(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log")
    log.close()
    with closing(sqlite3.connect(tmp_path / "log")) as old:
        old.executescript(
            "ALTER TABLE entries DROP COLUMN envelope;"
            "DROP TABLE uploads; DROP TABLE publications; DROP TABLE attested;"
            "ALTER TABLE shard ADD flushed; ALTER TABLE shard ADD planned;"
            "UPDATE shard SET flushed = 4, planned = 7; PRAGMA user_version = 1"
        )
    again = SqliteLog(tmp_path / "log")
    again.upgrade()
    assert again.uploads.next() == Upload(2, 4, 7, 0, 0)
    assert again.uploads.state() == (4, 7, 0)


def test_a_log_of_a_later_version_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    check_version(path)
    SqliteLog(path).close()
    check_version(path)
    with closing(sqlite3.connect(path)) as later:
        later.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(ClientError, match="made by a later version of aoray") as refused:
        check_version(path)
    assert str(path) in refused.value.message and "--data" in refused.value.hint
    assert path.read_bytes() == before


def test_one_reader_serves_several_threads(stored: Settings) -> None:
    process = spawn()
    fill(stored, [process, *(message(process.process_id) for _ in range(50))])
    reader, lengths = reader_of(stored), []
    threads = [
        threading.Thread(
            target=lambda: lengths.extend(len(reader.entries(process.process_id)) for _ in range(20))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [51] * 80


def test_the_shards_together_are_one_log(stored: Settings) -> None:
    settings = replace(stored, shards=3)
    processes = [spawn() for _ in range(12)]
    sent = [message(each.process_id) for each in processes]
    for shard in range(3):
        mine = [s for s in (*processes, *sent) if shard_of(s.process_id, 3) == shard]
        writer = Committer(partial(open_log, settings, shard), Placement(2), SCHEDULER, lambda _: {})
        writer.commit(mine, now_ms=1000, block_height=5)
    reader = open_readers(settings)
    assert isinstance(reader, ShardedReader)
    ids = sorted(each.process_id for each in processes)
    assert reader.process_ids(limit=5) == ids[:5]
    assert reader.process_ids(after=ids[4]) == ids[5:]
    assert all(reader.find_message(each.message_id) == (each.item, each.envelope) for each in sent)
    assert all(len(reader.entries(pid)) == 2 for pid in ids)
