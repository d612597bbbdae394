"""The store of results: written once, fenced by terms, paged by time."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aoray import limits
from aoray.errors import StaleTerm
from aoray.settings import Settings
from aoray.storage.factory import open_results
from aoray.storage.records import ResultRow, Settlement, Sort
from aoray.storage.results import Results


def row(
    process_id: str, nonce: int, *, error: bool = False, pushed: bool = True, result: bytes = b"{}"
) -> ResultRow:
    names = f"m{nonce}" if nonce else process_id, f"a{process_id}{nonce}"
    return ResultRow(process_id, nonce, *names, 1000 + 10 * nonce, 7, result, error, "origin", pushed)


@pytest.fixture
def results(stored: Settings) -> Iterator[Results]:
    store = open_results(stored)
    yield store
    store.close()


def test_a_new_store_is_opened_by_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not wait for others when the journal mode changes, so who opens the store does."""
    path = tmp_path / "results.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits = []

    def released(seconds: float) -> None:
        waits.append(seconds)
        if other.in_transaction:
            other.execute("ROLLBACK")

    monkeypatch.setattr("aoray.storage.results.time.sleep", released)
    Results(path).close()
    assert waits
    other.close()


def test_a_result_is_found_by_message_assignment_process_and_nonce(stored: Settings) -> None:
    results = open_results(stored) if stored.store else Results(stored.data / "results.sqlite")
    rows = [row("p", 0), row("p", 1), row("q", 1)]
    results.commit({"p": 1, "q": 1}, rows)
    assert results.get("p", "p") == rows[0]
    assert results.get("p", "m1") == rows[1]
    assert results.get("q", "m1") == rows[2]
    assert results.get("p", "ap1") == rows[1]
    assert results.at("p", 1) == rows[1]
    assert results.get("p", "m2") is results.at("p", 2) is None


def test_a_result_is_written_once(results: Results) -> None:
    results.commit({"p": 1}, [row("p", 0, result=b"first")])
    results.commit({"p": 1}, [row("p", 0, result=b"second")])
    found = results.at("p", 0)
    assert found is not None
    assert found.result == b"first"


def test_a_predecessor_is_refused_and_the_others_of_its_batch_are_written(
    results: Results, stored: Settings
) -> None:
    successor = open_results(stored)
    results.commit({"p": 1, "q": 5}, [row("p", 0)])
    successor.claim("p", 2)
    with pytest.raises(StaleTerm) as caught:
        results.commit({"p": 1, "q": 5}, [row("p", 1), row("q", 0)])
    assert caught.value.details["processes"] == ["p"]
    assert successor.last_nonce("p") == 0
    assert successor.last_nonce("q") == 0
    successor.commit({"p": 2}, [row("p", 1)])
    assert results.last_nonce("p") == 1
    successor.close()


def test_the_last_slots_of_many_processes_are_read_at_once(results: Results) -> None:
    results.commit({"p": 1, "q": 1}, [row("p", 0), row("p", 1), row("q", 0)])
    assert results.last_nonces(["p", "q", "none"]) == {"p": 1, "q": 0}
    assert results.last_nonces([]) == {}


def test_a_claim_is_refused_below_the_term_that_holds(results: Results) -> None:
    results.claim("p", 3)
    results.claim("p", 3)
    with pytest.raises(StaleTerm):
        results.claim("p", 2)


def test_pages_follow_time_and_leave_errors_out(results: Results) -> None:
    results.commit({"p": 1}, [row("p", nonce, error=nonce == 3) for nonce in range(8)] + [row("q", 0)])

    def nonces(**bounds: object) -> list[int]:
        return [found.nonce for found in results.page("p", **bounds)[0]]  # type: ignore[arg-type]

    assert nonces() == [0, 1, 2, 4, 5, 6, 7]
    assert nonces(sort="DESC", limit=3) == [7, 6, 5]
    assert nonces(after=1010) == [2, 4, 5, 6, 7]
    assert nonces(after=1010, to=1050) == [2, 4, 5]
    assert nonces(after=1010, to=1050, sort="DESC") == [5, 4, 2]
    assert nonces(after=1014, to=1055, limit=2) == [2, 4]
    assert nonces(after=0) == nonces(to=9999) == nonces()
    assert nonces(after=1070) == nonces(to=999) == []


@pytest.mark.parametrize("sort", ["ASC", "DESC"])
def test_a_page_is_bounded_in_bytes_and_says_whether_there_are_more(
    results: Results, monkeypatch: pytest.MonkeyPatch, sort: Sort
) -> None:
    sizes = [10, 90, 500, 20, 30, 51, 50, 1]
    results.commit({"p": 1}, [row("p", n)._replace(result=b"x" * size) for n, size in enumerate(sizes)])
    monkeypatch.setattr(limits, "RESULTS_PAGE_BYTES_MAX", 100)
    found, more, pages = list[int](), True, list[int]()
    while more:
        bounds = {"after": 1000 + 10 * found[-1]} if found and sort == "ASC" else {}
        bounds |= {"to": 1000 + 10 * found[-1] - 1} if found and sort == "DESC" else {}
        page, more = results.page("p", sort=sort, limit=4, **bounds)
        found += [each.nonce for each in page]
        pages.append(sum(len(each.result) for each in page))
    assert found == sorted(range(8), reverse=sort == "DESC")
    assert sorted(size for size in pages if size > 100) == [500]  # one that is larger goes alone
    assert len(pages) == 5


def test_outboxes_wait_until_they_are_marked(results: Results) -> None:
    results.commit({"p": 1}, [row("p", 0), row("p", 1, pushed=False), row("p", 2, pushed=False)])
    assert sorted(results.unpushed(10)) == [("p", 1), ("p", 2)]
    assert len(results.unpushed(1)) == 1
    results.deliveries.settle([Settlement("p", 1, [], done=True)])
    assert results.unpushed(10) == [("p", 2)]
    found = results.at("p", 1)
    assert found is not None
    assert found.pushed


def write_many(settings: Settings, process_id: str) -> None:
    store = open_results(settings)
    for nonce in range(100):
        store.commit({process_id: 1}, [row(process_id, nonce, result=b"x" * 500)])


def test_several_processes_write_at_once(results: Results, stored: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(stored, f"p{index}")) for index in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [results.last_nonce(f"p{index}") for index in range(3)] == [99, 99, 99]


def test_checkpoints_of_the_wal_between_commits_keep_it_short(tmp_path: Path) -> None:
    writer, other = Results(tmp_path / "results.sqlite"), Results(tmp_path / "results.sqlite")
    wal, sizes = tmp_path / "results.sqlite-wal", []
    for nonce in range(300):
        writer.commit({"p": 1}, [row("p", nonce)])
        if nonce % 20 == 0:
            other.checkpoint_wal()
            sizes.append(wal.stat().st_size)
    assert len(sizes) == 15
    assert max(sizes) < 2 * sizes[1], "it begins again from the front"
    assert writer.last_nonce("p") == 299
    writer.close()
    other.close()
