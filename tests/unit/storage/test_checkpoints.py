"""The store of checkpoints: what is written comes back; what is torn, forged or stale does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aoray import limits
from aoray.actors.dependencies import open_checkpoints
from aoray.errors import BadCheckpoint, StaleTerm, TooLarge
from aoray.settings import Settings
from aoray.storage.checkpoints import Checkpoints, merged
from aoray.storage.factory import open_results
from aoray.storage.records import CheckpointRow
from aoray.vm.interface import Changes

STATE = Changes(131_072, (7, 2**64 - 1), (4096, 65_536), b"x" * 4096 + bytes(4096))


@pytest.fixture
def store(stored: Settings) -> Iterator[Checkpoints]:
    opened = open_checkpoints(stored)
    yield opened
    opened.close()


def row(nonce: int, process_id: str = "p", term: int = 1) -> CheckpointRow:
    return CheckpointRow(process_id, nonce, term, 1_700_000_000_000 + nonce, 5, "hash", "", 0)


def state(number: int) -> Changes:
    return STATE._replace(globals=(number,))


def files(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "checkpoints").iterdir()}


def test_what_is_written_is_read(store: Checkpoints) -> None:
    written = store.write(row(3), "base", STATE)
    assert store.of("p", 3) == [written]
    assert store.of("p", 2) == store.of("q", 9) == []
    assert store.read(written, "base") == [STATE]


@pytest.mark.parametrize("damage", ["gone", "torn", "changed", "another module"])
def test_a_damaged_file_is_refused(store: Checkpoints, tmp_path: Path, damage: str) -> None:
    written = store.write(row(3), "base", STATE)
    path = tmp_path / "checkpoints" / written.file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(content[:-9])
    elif damage == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadCheckpoint):
        store.read(written, "other" if damage == "another module" else "base")


def test_a_stale_term_writes_nothing(store: Checkpoints, stored: Settings, tmp_path: Path) -> None:
    results = open_results(stored)
    results.claim("p", 2)
    with pytest.raises(StaleTerm):
        store.write(row(3, term=1), "base", STATE)
    assert store.of("p", 9) == []
    assert store.sweep() == 1
    assert files(tmp_path) == set()
    results.close()


def test_the_newest_stay_and_shared_files_with_them(store: Checkpoints, tmp_path: Path) -> None:
    shared = store.write(row(0, "q"), "base", state(0))
    kept = [store.write(row(nonce), "base", state(nonce)) for nonce in range(5)]
    assert store.of("p", 9) == [kept[4], kept[3]]
    assert files(tmp_path) == {shared.file, kept[3].file, kept[4].file}


def test_a_sweep_takes_what_a_crash_left(store: Checkpoints, tmp_path: Path) -> None:
    written = store.write(row(1), "base", STATE)
    (tmp_path / "checkpoints" / ".draft").write_bytes(b"half")
    assert store.sweep() == 1
    assert files(tmp_path) == {written.file}


WRITER = """
import itertools, sys
from pathlib import Path
from aoray.storage.records import CheckpointRow
from aoray.actors.dependencies import open_checkpoints
from aoray.settings import Settings
from aoray.vm.interface import Changes
store = open_checkpoints(Settings(data=Path(sys.argv[1]), store=sys.argv[2]))
for nonce in itertools.count(int(sys.argv[3])):
    offsets = tuple(range(0, 4096 * 512, 4096))
    changes = Changes(65_536 * 64, (nonce,), offsets, bytes([nonce % 256]) * 4096 * 512)
    store.write(CheckpointRow(f"p{nonce % 3}", nonce, 1, nonce, 5, "hash", "", 0), "base", changes)
    print(nonce, flush=True)
"""


def test_what_is_written_before_kill_9_is_whole(store: Checkpoints, stored: Settings, tmp_path: Path) -> None:
    last = 0
    for kill_after in (1, 7, 20):
        command = [sys.executable, "-c", WRITER, str(tmp_path), stored.store, str(last + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(kill_after):
                last = int(writer.stdout.readline())
            writer.kill()
        rows = [each for name in ("p0", "p1", "p2") for each in store.of(name, 10**9)]
        assert max(each.nonce for each in rows) >= last
        for each in rows:
            (part,) = store.read(each, "base")
            assert part.globals == (each.nonce,)
        store.sweep()
        assert files(tmp_path) == {each.file for each in rows}
        last = max(each.nonce for each in rows)


def test_too_much_is_not_kept(store: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES_MAX", 4096)
    with pytest.raises(TooLarge):
        store.write(row(1), "base", STATE)


def test_changes_are_kept_as_long_as_something_needs_them(store: Checkpoints, tmp_path: Path) -> None:
    rows: list[CheckpointRow] = []
    for nonce in range(6):
        parent = rows[-1].file if nonce in (1, 2, 4, 5) else ""
        rows.append(store.write(row(nonce)._replace(parent=parent), "base", state(nonce)))
        whole = next(older for older in reversed(rows) if not older.parent)
        kept = rows[min(rows.index(whole), max(0, nonce - 1)) :]
        if nonce == 3:
            kept = rows  # 3 is whole, but 2 is kept, and needs the two before it
        if nonce == 4:
            kept = rows[3:]
        assert store.of("p", 9) == kept[::-1]
        assert files(tmp_path) == {each.file for each in kept}
        parts = store.read(rows[-1], "base")
        assert [part.globals for part in parts] == [(n,) for n in range(whole.nonce, nonce + 1)]


def test_with_a_parent_lost_its_children_are_refused(store: Checkpoints, tmp_path: Path) -> None:
    first = store.write(row(0), "base", state(0))
    second = store.write(row(1)._replace(parent=first.file), "base", state(1))
    (tmp_path / "checkpoints" / first.file).unlink()
    with pytest.raises(BadCheckpoint, match=first.file):
        store.read(second, "base")


def test_the_last_word_on_a_page_counts() -> None:
    old = Changes(131_072, (1,), (0, 4096), b"a" * 4096 + b"b" * 4096)
    new = Changes(196_608, (2,), (4096, 131_072), b"c" * 4096 + b"d" * 4096)
    assert merged([old]) == old
    data = b"a" * 4096 + b"c" * 4096 + b"d" * 4096
    assert merged([old, new]) == Changes(196_608, (2,), (0, 4096, 131_072), data)
