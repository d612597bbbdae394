"""Two holders of one store: only the later one writes, whatever the earlier one is in the middle of."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from ordering import SCHEDULER, message, reader_of, spawn
from postgres_server import PostgresServer

from aoray import limits
from aoray.contracts.shard import Receipt
from aoray.errors import ClientError, StaleTerm, Unavailable
from aoray.scheduler.committer import Committer
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage.factory import (
    check_versions,
    claim_files,
    claim_store,
    open_log,
    open_readers,
    open_results,
)
from aoray.storage.postgres import Database, Session, parse_store_url
from aoray.storage.records import Delivery, Divergence, ResultRow, Settlement
from aoray.storage.results import Results

SECONDS_MAX = 30
OURS = "pg_stat_activity WHERE application_name = 'aoray'"


@pytest.fixture
def shared(postgres: PostgresServer, tmp_path: Path) -> Settings:
    """A computer whose store is PostgreSQL."""
    return Settings(data=tmp_path, store=postgres.new_url())


def writer_of(settings: Settings) -> Committer:
    return Committer(lambda: open_log(settings, 0), Placement(2), SCHEDULER, lambda _: {})


def row(nonce: int, process_id: str = "p") -> ResultRow:
    return ResultRow(
        process_id, nonce, f"m{nonce}", f"a{process_id}{nonce}", nonce, 7, b"{}", False, "o", False
    )


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Held:
    """A writer that stops within its transaction, after its term was checked, until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holder: Results | Committer) -> None:
        self.is_in, self.may_go = threading.Event(), threading.Event()
        self._database: Database = (
            holder.log._db if isinstance(holder, Committer) else holder._writes  # type: ignore
        )
        self._patch = monkeypatch

    def stop_before(self, words: str) -> None:
        """At the first statement with these words."""
        real = Session.executemany

        def executemany(session: Session, query: str, rows: object) -> object:
            if session._db is self._database._db and words in query and not self.may_go.is_set():
                self.is_in.set()
                assert self.may_go.wait(SECONDS_MAX)
            return real(session, query, rows)  # type: ignore[arg-type]

        self._patch.setattr(Session, "executemany", executemany)


def waits_for_a_lock(server: PostgresServer) -> None:
    """Until a statement waits for another transaction's lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'aoray'"
    )
    with server.connect() as db:
        for _ in range(10_000):
            found = db.execute(query).fetchone()
            if found and found[0]:
                return
    raise AssertionError("nobody waits")


def test_a_successor_of_a_shard_waits_for_what_its_predecessor_is_writing_and_sees_it(
    shared: Settings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    process = spawn()
    first = writer_of(shared)
    first.commit([process], now_ms=1, block_height=0)
    held, sent = Held(monkeypatch, first), [message(process.process_id) for _ in range(3)]
    held.stop_before("INSERT INTO entries")
    writing = pool.submit(first.commit, sent[:1], now_ms=1, block_height=0)
    assert held.is_in.wait(SECONDS_MAX)
    succeeding: Future[Committer] = pool.submit(writer_of, shared)
    waits_for_a_lock(postgres)
    held.may_go.set()
    receipt = writing.result().outcomes[0]
    assert isinstance(receipt, Receipt) and receipt.nonce == 1
    second = succeeding.result()
    assert second.term == first.term + 1
    again, new = second.commit(sent[:2], now_ms=1, block_height=0).outcomes
    assert again == receipt._replace(is_new=False)
    assert isinstance(new, Receipt) and new.nonce == 2
    with pytest.raises(StaleTerm):
        first.commit(sent[2:], now_ms=1, block_height=0)
    assert len(reader_of(shared).entries(process.process_id)) == 3


def test_a_successor_of_a_process_waits_for_the_results_its_predecessor_is_writing_and_sees_them(
    shared: Settings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    first, second = open_results(shared), open_results(shared)
    first.commit({"p": 1}, [row(0)])
    held = Held(monkeypatch, first)
    held.stop_before("INTO results")
    writing = pool.submit(first.commit, {"p": 1}, [row(1)])
    assert held.is_in.wait(SECONDS_MAX)
    claiming = pool.submit(second.claim, "p", 2)
    waits_for_a_lock(postgres)
    held.may_go.set()
    writing.result()
    claiming.result()
    assert second.last_nonce("p") == 1
    with pytest.raises(StaleTerm):
        first.commit({"p": 1}, [row(2)])
    assert second.last_nonce("p") == 1


def test_what_is_written_late_is_seen_by_a_reader_of_what_was_written_since(
    shared: Settings, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    slow, quick = open_results(shared), open_results(shared)
    quick.commit({"old": 1}, [row(0, "old")])
    mark = quick.mark()
    held = Held(monkeypatch, slow)
    held.stop_before("INTO results")
    writing = pool.submit(slow.commit, {"slow": 1}, [row(0, "slow")])
    assert held.is_in.wait(SECONDS_MAX)
    quick.commit({"quick": 1}, [row(0, "quick")])
    found, mark = quick.written_since(mark)
    assert "slow" not in found
    held.may_go.set()
    writing.result()
    later, mark = quick.written_since(mark)
    assert found | later == {"slow", "quick"}
    assert quick.written_since(mark)[0] == set()


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_a_lost_connection_is_unavailable_and_the_batch_may_be_sent_again(
    shared: Settings, postgres: PostgresServer, how: str
) -> None:
    process = spawn()
    writer, results, reader = writer_of(shared), open_results(shared), open_readers(shared)
    first = writer.commit([process], now_ms=1, block_height=0).outcomes
    results.commit({"p": 1}, [row(0)])
    assert len(reader.entries(process.process_id)) == 1
    if how == "killed":
        postgres.kill()
        refused = writer.commit([message(process.process_id)], now_ms=1, block_height=0).outcomes
        assert isinstance(refused[0], Unavailable)
        with pytest.raises(Unavailable):
            reader.entries(process.process_id)
        with pytest.raises(Unavailable):
            results.commit({"p": 1}, [row(1)])
        postgres.start()
    else:
        with postgres.connect() as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aoray'"
            )
    assert len(reader.entries(process.process_id)) == 1
    assert results.last_nonce("p") == 0
    sent = [process, message(process.process_id)]
    tries = [writer.commit(sent, now_ms=1, block_height=0).outcomes for _ in range(2)]
    assert isinstance(first[0], Receipt) and tries[1][0] == first[0]._replace(is_new=False)
    assert [each.nonce for each in tries[1] if isinstance(each, Receipt)] == [0, 1]


class LosesAnswers:
    """A way to the server that, once told to, ends with the commit that goes over it: `done` or not."""

    def __init__(self, server: PostgresServer) -> None:
        self.done: bool | None = None
        self._server = server.port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed at the end
            while True:
                client, server = (
                    self._listening.accept()[0],
                    socket.create_connection(("127.0.0.1", self._server)),
                )
                threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError), source, to:
            while data := source.recv(2**16):
                if is_client and b"COMMIT" in data and self.done is not None:
                    done, self.done = self.done, None
                    source.shutdown(socket.SHUT_RDWR)
                    if done:
                        to.sendall(data)
                    to.shutdown(socket.SHUT_WR if done else socket.SHUT_RDWR)
                    return
                to.sendall(data)

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("done", [True, False])
def test_a_batch_whose_commit_got_no_answer_is_looked_up_and_is_there_once(
    shared: Settings, postgres: PostgresServer, done: bool
) -> None:
    way = LosesAnswers(postgres)
    writer = writer_of(replace(shared, store=shared.store.replace(str(postgres.port), str(way.port))))
    batch = [spawn() for _ in range(3)]
    way.done = done
    lost = writer.commit(batch, now_ms=1, block_height=0).outcomes
    assert all(isinstance(each, Unavailable) for each in lost)
    term = writer.term
    found = writer.commit(batch, now_ms=1000, block_height=0).outcomes
    assert writer.term == term + 1
    for submission, receipt in zip(batch, found, strict=True):
        assert isinstance(receipt, Receipt) and (receipt.timestamp < 1000) == done
        assert len(reader_of(shared).entries(submission.process_id)) == 1
    way.close()


def test_what_strangers_write_can_be_kept(shared: Settings) -> None:
    results = open_results(shared)
    results.commit({"p": 1}, [row(0)])
    strange = Delivery("p", 0, 0, "message", "dead", "i", "to\0\u2028\U0001f600", 1, "\0", 5, 6)
    results.deliveries.settle([Settlement("p", 0, [strange], done=True)])
    assert results.deliveries.of("p", 0)[0].target == "to\ufffd\u2028\U0001f600"
    log = open_log(shared, 0)
    log.take_over()
    assert log.processes(["\0", "\\u0000", "'%s"]) == log.slots([("\0", "'")]) == {}
    assert results.get("\0", "%") is None


def test_two_computers_on_one_store_do_not_mix(shared: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_HOLD_SECONDS_MAX", 0.2)
    refused = pytest.raises(ClientError, match="in use")
    with claim_store(shared, "alice"), refused, claim_store(shared, "alice"):
        pass
    with pytest.raises(ClientError, match="alice"), claim_store(shared, "bob"):
        pass
    with pytest.raises(ClientError, match="1 shards, not 2"), claim_store(replace(shared, shards=2), "alice"):
        pass
    other = replace(shared, store=shared.store + "_other")
    with claim_store(shared, "alice"), claim_store(other, "bob"):
        writer_of(shared).commit([spawn()], now_ms=1, block_height=0)
        assert open_readers(other).process_ids() == []


def test_files_are_of_one_computer(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, files=(tmp_path / "files").as_uri())
    claim_files(settings, "alice")
    claim_files(settings, "alice")
    with pytest.raises(ClientError, match="alice"):
        claim_files(settings, "bob")
    with pytest.raises(ClientError, match="can't be used"):
        claim_files(replace(settings, files="gopher://x"), "alice")


def test_a_store_of_a_later_version_is_refused_and_stays_as_it_is(
    shared: Settings, postgres: PostgresServer
) -> None:
    check_versions(shared)
    schema = parse_store_url(shared.store).schema
    with postgres.connect() as db:
        db.execute(f"UPDATE {schema}_log_0.version SET version = 99")
    with pytest.raises(ClientError, match="made by a later version of aoray"):
        check_versions(shared)
    assert open_readers(shared).process_ids() == []


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_forgets_what_it_acknowledged_is_refused(
    shared: Settings, postgres: PostgresServer, setting: str
) -> None:
    set_on_server(postgres, setting, "off")
    try:
        with pytest.raises(ClientError, match=f"{setting} off"), claim_store(shared, "alice"):
            pass
    finally:
        set_on_server(postgres, setting, "on")


def set_on_server(server: PostgresServer, setting: str, value: str) -> None:
    with server.connect() as db:
        db.execute(f"ALTER SYSTEM SET {setting} = {value}")
        db.execute("SELECT pg_reload_conf()")
    for _ in range(10_000):
        with server.connect() as db:
            if db.execute("SELECT current_setting(%s)", [setting]).fetchone() == (value,):
                return
    raise AssertionError(f"{setting} stays")


@pytest.mark.parametrize(
    "store", ["sqlite:///x", "postgresql://h/d?schema=a-b", "postgresql://h/d?nonsense=1", "x"]
)
def test_a_store_that_can_not_be_is_said_at_once(store: str) -> None:
    with pytest.raises(ClientError):
        parse_store_url(store)


def test_what_a_store_s_url_says_to_libpq_stays_as_it_is() -> None:
    place = parse_store_url(
        "postgresql://me@host/db?options=-c%20work_mem%3D1MB&password=a+b%2Bc%26d&schema=own"
    )
    said = psycopg.conninfo.conninfo_to_dict(place.conninfo)
    assert (said["options"], said["password"], place.schema) == ("-c work_mem=1MB", "a+b+c&d", "own")


def test_a_result_is_found_by_the_ids_that_the_log_has(stored: Settings) -> None:
    writer = Committer(lambda: open_log(stored, 0), Placement(2), SCHEDULER, lambda _: {})
    process = spawn()
    sent = writer.commit([process, message(process.process_id)], now_ms=1, block_height=0)
    entries = [work.entry for works in sent.work.values() for work in works]
    results = open_results(stored)
    results.commit(
        {process.process_id: 1},
        [
            row(entry.nonce, entry.process_id)._replace(
                message_id=entry.message_id, assignment_id=entry.assignment_id
            )
            for entry in entries
        ],
    )
    for entry in entries:
        found = results.at(entry.process_id, entry.nonce)
        assert found is not None
        assert results.get(entry.process_id, entry.message_id) == found
        assert results.get(entry.process_id, entry.assignment_id) == found
        assert results.get(entries[1].message_id, entry.message_id) is None


def test_a_process_that_diverged_is_forgotten_once(stored: Settings) -> None:
    found = Divergence("process", 3, b"stored", b"evaluated", 5)
    with closing(open_results(stored)) as results:
        results.diverge(found)
        results.diverge(found._replace(process_id="other"))
        assert results.forget_divergence("process") == found
        assert results.forget_divergence("process") is None
        assert list(results.diverged()) == ["other"]
