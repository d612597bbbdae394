"""Checkpoints: states of processes on disk, so that a process need not be replayed from its first message.

A checkpoint is a file under `data/checkpoints`, named by the SHA-256 of its bytes, and a row beside the
results. The file holds the pages of memory that differ from the module's own boot, and the globals, as a
zstd frame. The log stays the truth: a checkpoint only saves time, and may be lost at any moment.

Invariants
* A file has its name when it is whole and on disk (fsync, rename, fsync of the directory), and a row is
  there only when its file is. Rows are written by the holder of the latest term alone (`StaleTerm`).
* A checkpoint is used only if its bytes have the hash of its name, it is of the same booted module, and the
  restored state has the hash in the row.
* The newest CHECKPOINTS_KEPT of a process stay. Processes in equal states share a file; it goes with the
  last row that names it, in the transaction that removes the row.

On failure: `BadCheckpoint` when reading: the caller takes an older one, or replays. Writing raises
`Unavailable` (the disk), `StaleTerm`, or `TooLarge`; then nothing is indexed, and what was indexed before
still is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from aoray import limits
from aoray.actors.results import Connection, hold
from aoray.errors import BadCheckpoint, StaleTerm, TooLarge, Unavailable
from aoray.wasm import Snapshot

MAGIC = b"aoray checkpoint 1\n"
_NUMBER_BYTES = 8
_CODEC: Any = pa.Codec("zstd", compression_level=1)


class CheckpointRow(NamedTuple):
    """What the index knows: the last message in a state, the state's hash, and where it is."""

    process_id: str
    nonce: int
    term: int
    timestamp: int
    block_height: int
    state_hash: str
    file: str
    bytes: int


COLUMNS = ", ".join(CheckpointRow._fields)


class Checkpoints:
    """One process actor's access to checkpoints. For one thread."""

    def __init__(self, data: Path) -> None:
        self._directory = data / "checkpoints"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._index = Connection(data / "results.sqlite")

    def of(self, process_id: str, nonce_max: int) -> list[CheckpointRow]:
        """The checkpoints of a process up to a nonce, newest first."""
        where = "process_id = ? AND nonce <= ? ORDER BY nonce DESC"
        rows = self._index.rows(f"SELECT {COLUMNS} FROM checkpoints WHERE {where}", process_id, nonce_max)
        return [CheckpointRow(*row) for row in rows]

    def read(self, row: CheckpointRow, base_hash: str) -> Snapshot:
        """The changes that a checkpoint holds, whose restored state is still to be checked."""
        try:
            data = (self._directory / row.file).read_bytes()
        except OSError as error:
            raise BadCheckpoint(f"checkpoint {row.file} can't be read: {error}", file=row.file) from error
        if hashlib.sha256(data).hexdigest() != row.file:
            raise BadCheckpoint(f"checkpoint {row.file} does not have the hash of its name", file=row.file)
        return unpacked(data, base_hash)

    def write(self, row: CheckpointRow, base_hash: str, changes: Snapshot) -> CheckpointRow:
        """Keep a state (file and size are filled in), and let older ones go."""
        data = packed(base_hash, changes)
        row = row._replace(file=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for _ in range(limits.CHECKPOINT_TRIES_MAX):
            with _as_unavailable():
                self._publish(row.file, data)
            if self._indexed(row):
                return row
        raise Unavailable(f"checkpoint {row.file} vanishes again and again", file=row.file)

    def sweep(self) -> int:
        """Remove files that no row names, and drafts: what a crash left behind. Says how many went."""
        with _as_unavailable():
            names = [path.name for path in self._directory.iterdir()]
        with self._index.transaction() as db, _as_unavailable():
            return self._collect(db, names)

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def _publish(self, name: str, data: bytes) -> None:
        path = self._directory / name
        draft = path.with_name(f".{name}-{secrets.token_hex(8)}")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync_directory(self._directory)
        finally:
            with contextlib.suppress(FileNotFoundError):  # nearly always: it has its name by then
                draft.unlink()

    def _indexed(self, row: CheckpointRow) -> bool:
        """Write the row, unless the file was collected meanwhile; the lock keeps collectors out."""
        with self._index.transaction() as db:
            if not hold(db, row.process_id, row.term):
                raise StaleTerm("a successor evaluates this process", processes=[row.process_id])
            if not (self._directory / row.file).exists():
                return False
            db.execute(f"INSERT OR REPLACE INTO checkpoints ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", row)
            state = row.process_id, row.nonce, row.state_hash
            db.execute("INSERT OR IGNORE INTO states (process_id, nonce, state_hash) VALUES (?,?,?)", state)
            with _as_unavailable():
                self._forget_old(db, row.process_id)
        return True

    def _forget_old(self, db: sqlite3.Connection, process_id: str) -> None:
        query = "SELECT nonce, file FROM checkpoints WHERE process_id = ? ORDER BY nonce DESC"
        old = db.execute(query, [process_id]).fetchall()[limits.CHECKPOINTS_KEPT :]
        for nonce, _ in old:
            db.execute("DELETE FROM checkpoints WHERE process_id = ? AND nonce = ?", [process_id, nonce])
        self._collect(db, {file for _, file in old})

    def _collect(self, db: sqlite3.Connection, names: Iterable[str]) -> int:
        gone = 0
        for name in names:
            if db.execute("SELECT 1 FROM checkpoints WHERE file = ? LIMIT 1", [name]).fetchone() is None:
                (self._directory / name).unlink(missing_ok=True)
                gone += 1
        return gone


def packed(base_hash: str, changes: Snapshot) -> bytes:
    """A state as the bytes of its file."""
    size = sum(len(run) for _, run in changes.runs)
    if size > limits.CHECKPOINT_BYTES_MAX:
        raise TooLarge(f"{size} bytes of memory have changed; {limits.CHECKPOINT_BYTES_MAX} can be kept")
    header = orjson.dumps(
        {
            "base": base_hash,
            "memory_bytes": changes.memory_bytes,
            "globals": changes.globals,
            "runs": [(offset, len(run)) for offset, run in changes.runs],
        }
    )
    body = b"".join([len(header).to_bytes(_NUMBER_BYTES), header, *(run for _, run in changes.runs)])
    return MAGIC + len(body).to_bytes(_NUMBER_BYTES) + bytes(_CODEC.compress(body, asbytes=True))


def unpacked(data: bytes, base_hash: str) -> Snapshot:
    """The state of a file whose hash is right; refused if it is of another format, or of another module."""
    start = len(MAGIC) + _NUMBER_BYTES
    if not data.startswith(MAGIC) or len(data) < start:
        raise BadCheckpoint("this is no checkpoint, or one of another version of aoray")
    size = int.from_bytes(data[len(MAGIC) : start])
    body = memoryview(_CODEC.decompress(data[start:], decompressed_size=size, asbytes=True))
    end = _NUMBER_BYTES + int.from_bytes(body[:_NUMBER_BYTES])
    header = orjson.loads(body[_NUMBER_BYTES:end])
    if header["base"] != base_hash:
        raise BadCheckpoint("the checkpoint counts from another boot of the module than this machine's")
    runs = tuple(_runs(body[end:], header["runs"]))
    return Snapshot(header["memory_bytes"], runs, tuple(header["globals"]))


def _runs(body: memoryview, places: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    at = 0
    for offset, size in places:
        yield offset, bytes(body[at : at + size])
        at += size


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"checkpoints can't be written: {error}", hint="Is the disk full?") from error
