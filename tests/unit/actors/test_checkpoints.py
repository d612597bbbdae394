"""The store of checkpoints: what is written comes back; what is torn, forged or stale does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from aoray import limits
from aoray.actors.checkpoints import CheckpointRow, Checkpoints
from aoray.actors.results import Results
from aoray.errors import BadCheckpoint, StaleTerm, TooLarge
from aoray.wasm import Snapshot

STATE = Snapshot(131_072, ((4096, b"x" * 4096), (65_536, bytes(4096))), (7, 2**64 - 1))


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path)


def row(nonce: int, process_id: str = "p", term: int = 1) -> CheckpointRow:
    return CheckpointRow(process_id, nonce, term, 1_700_000_000_000 + nonce, 5, "hash", "", 0)


def state(number: int) -> Snapshot:
    return STATE._replace(globals=(number,))


def files(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "checkpoints").iterdir()}


def test_what_is_written_is_read(store: Checkpoints) -> None:
    written = store.write(row(3), "base", STATE)
    assert store.of("p", 3) == [written]
    assert store.of("p", 2) == store.of("q", 9) == []
    assert store.read(written, "base") == STATE


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


def test_a_stale_term_writes_nothing(store: Checkpoints, tmp_path: Path) -> None:
    results = Results(tmp_path / "results.sqlite")
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


def test_too_much_is_not_kept(store: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES_MAX", 4096)
    with pytest.raises(TooLarge):
        store.write(row(1), "base", STATE)
