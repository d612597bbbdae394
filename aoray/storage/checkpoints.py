"""Checkpoints: states of processes on disk, so that a process need not be replayed from its first message.

A checkpoint is a file under `data/checkpoints` (or `--files`), named by the SHA-256 of its bytes, and a row
beside the results. The file holds pages of memory, as the XOR with the module's memory after its boot, and
the globals, in a zstd frame. It holds either all pages that differ, or only those that changed since an
earlier checkpoint, its **parent** (`actors.residency.chains` decides). The log remains the truth: a
checkpoint only saves time, and may be lost at any moment.

Invariants
* A file gets its name once it is complete and on disk (fsync, rename, fsync of the directory), and a row is
  written only while its file exists. Only the holder of the latest term writes rows (`StaleTerm`).
* A checkpoint is used only if its bytes and those of its parents have the hash in their names, if they belong
  to the same boot (module, limits, version of the engine), and if the restored state has the hash in the row.
* The newest CHECKPOINTS_KEPT checkpoints of a process stay, and their parents. Processes in equal states
  share a file; it is removed with the last row that names it, in the same transaction.

On failure: reading raises `BadCheckpoint`, and the caller takes an older checkpoint or replays the log.
Writing raises `Unavailable` (the disk), `StaleTerm`, or `TooLarge`; then the index has not changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from aoray import limits
from aoray.errors import BadCheckpoint, StaleTerm, TooLarge, Unavailable
from aoray.storage.files import Files, LocalFiles
from aoray.storage.records import CheckpointRow
from aoray.storage.results import ResultsBackend, SqliteConnection
from aoray.storage.sql import SqlTransaction, as_unavailable, upsert_sql
from aoray.vm.interface import UNIT, Changes, State

logger = logging.getLogger(__name__)

MAGIC = b"aoray checkpoint 2\n"
_NUMBER_BYTES = 8
FAULT = "checkpoints can't be written"
_CODEC: Any = pa.Codec("zstd", compression_level=1)


class Chain(NamedTuple):
    """A checkpoint that the next one can continue: its state, its file, the bytes of pages in the first file
    of the chain and in all later files, and the number of files."""

    state: State
    file: str
    whole_bytes: int
    later_bytes: int
    files: int


def chain_of(state: State, file: str, whole_bytes: int, later_bytes: int, files: int) -> Chain | None:
    """Return the chain that a checkpoint starts or continues; None for a small state, whose checkpoints are
    always whole."""
    if whole_bytes <= limits.CHECKPOINT_WHOLE_BYTES:
        return None
    return Chain(state, file, whole_bytes, later_bytes, files)


COLUMNS = ", ".join(CheckpointRow._fields)
KEEP = upsert_sql("checkpoints", CheckpointRow._fields[:2], CheckpointRow._fields[2:])


class Checkpoints:
    """The checkpoints as one process actor reads and writes them. An instance belongs to one thread."""

    def __init__(self, files: Files | Path, index: ResultsBackend | None = None) -> None:
        """Use these files and this index, or, if `files` is a path, the files and the SQLite index in that
        data directory."""
        if isinstance(files, Path):
            index = SqliteConnection(files / "results.sqlite")
            files = LocalFiles(files / "checkpoints")
        assert index is not None
        self._files = files
        self._index = index

    def of(self, process_id: str, nonce_max: int) -> list[CheckpointRow]:
        """Return the checkpoints of a process up to a nonce, newest first."""
        where = "process_id = ? AND nonce <= ? ORDER BY nonce DESC"
        rows = self._index.rows(f"SELECT {COLUMNS} FROM checkpoints WHERE {where}", process_id, nonce_max)
        return [CheckpointRow(*row) for row in rows]

    def read(self, row: CheckpointRow, boot_id: str) -> list[Changes]:
        """Return the contents of a checkpoint and of its parents, oldest first. The caller must still check
        the hash of the restored state. Raises `BadCheckpoint`."""
        parts: list[Changes] = []
        name = row.file
        while name:
            if len(parts) > limits.CHECKPOINT_CHAIN_FILES_MAX:
                raise BadCheckpoint(f"checkpoint {row.file} has too many parents", file=row.file)
            part, name = unpacked(self._content(name), boot_id)
            parts.append(part)
        return parts[::-1]

    def _content(self, name: str) -> bytes:
        try:
            data = self._files.read(name)
        except OSError as error:
            raise BadCheckpoint(f"checkpoint {name} can't be read: {error}", file=name) from error
        if hashlib.sha256(data).hexdigest() != name:
            raise BadCheckpoint(f"checkpoint {name} does not have the hash of its name", file=name)
        return data

    def write(self, row: CheckpointRow, boot_id: str, changes: Changes) -> CheckpointRow:
        """Store a state and remove old checkpoints; return the row with its file and size filled in."""
        data = packed(boot_id, row.parent, changes)
        row = row._replace(file=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for _ in range(limits.CHECKPOINT_TRIES_MAX):
            # A sweep may have removed the incomplete file.
            with as_unavailable(FAULT, OSError), contextlib.suppress(FileNotFoundError):
                self._files.write(row.file, data)
                if self._indexed(row):
                    return row
        raise Unavailable(f"checkpoint {row.file} was removed each time it was written", file=row.file)

    def sweep(self) -> int:
        """Remove files without a row and incomplete files, both left by a crash. Return how many were
        removed."""
        with as_unavailable(FAULT, OSError):
            names = self._files.names()
        gone = 0
        for first in range(0, len(names), limits.CHECKPOINTS_SWEPT_AT_ONCE):
            with self._index.transaction() as db, as_unavailable(FAULT, OSError):
                gone += self._collect(db, names[first : first + limits.CHECKPOINTS_SWEPT_AT_ONCE])
        return gone

    def close(self) -> None:
        """Close the connection to the index."""
        self._index.close()

    def _indexed(self, row: CheckpointRow) -> bool:
        """Write the row, unless the file was removed meanwhile; return whether the row was written. A lock
        keeps others from removing the file until then."""
        with self._index.transaction() as db:
            if self._index.stale(db, {row.process_id: row.term}):
                raise StaleTerm("a successor evaluates this process", processes=[row.process_id])
            self._index.guard(db, row.file)
            with as_unavailable(FAULT, OSError):
                if not self._files.exists(row.file):
                    return False
            db.execute(KEEP, row)
            state = row.process_id, row.nonce, row.state_hash
            db.execute("INSERT OR IGNORE INTO states (process_id, nonce, state_hash) VALUES (?,?,?)", state)
            with as_unavailable(FAULT, OSError):
                self._forget_old(db, row.process_id)
        return True

    def _forget_old(self, db: SqlTransaction, process_id: str) -> None:
        """Remove all checkpoints except the newest and their parents."""
        query = "SELECT nonce, file, parent FROM checkpoints WHERE process_id = ? ORDER BY nonce DESC"
        rows = db.execute(query, [process_id]).fetchall()
        needed: set[str] = set()
        old = []
        for number, (nonce, file, parent) in enumerate(rows):
            if number < limits.CHECKPOINTS_KEPT or file in needed:
                needed.add(parent)
            else:
                old.append((nonce, file))
        for nonce, _ in old:
            db.execute("DELETE FROM checkpoints WHERE process_id = ? AND nonce = ?", [process_id, nonce])
        self._collect(db, {file for _, file in old})

    def _collect(self, db: SqlTransaction, names: Iterable[str]) -> int:
        gone = 0
        listed = orjson.dumps(list(names)).decode()
        query = "SELECT j.value FROM json_each(?) j CROSS JOIN checkpoints c ON c.file = j.value"
        named = {name for (name,) in db.execute(query, [listed]).fetchall()}
        for name in set(names) - named:
            if not self._index.guard(db, name, wait=False):
                continue  # another writer is using the file
            if db.execute("SELECT 1 FROM checkpoints WHERE file = ? LIMIT 1", [name]).fetchone() is None:
                self._files.remove(name)
                gone += 1
        return gone


async def sweep_later(opened: Callable[[], Checkpoints]) -> None:
    """Sweep once, in a thread, after the actor has had time to start its work. A failure is logged; the next
    actor sweeps again."""
    await asyncio.sleep(limits.SWEEP_AFTER_SECONDS)
    await asyncio.to_thread(_swept, opened)


def _swept(opened: Callable[[], Checkpoints]) -> None:
    try:
        with closing(opened()) as checkpoints:
            checkpoints.sweep()
    except Exception:
        logger.exception("files that crashes left among the checkpoints were not removed")


def packed(boot_id: str, parent: str, changes: Changes) -> bytes:
    """Return the pages of a state as the bytes of their file. Raises `TooLarge` beyond
    CHECKPOINT_BYTES_MAX."""
    size = len(changes.data)
    if size > limits.CHECKPOINT_BYTES_MAX:
        raise TooLarge(f"{size} bytes of memory have changed; {limits.CHECKPOINT_BYTES_MAX} can be kept")
    header = orjson.dumps(
        {
            "boot": boot_id,
            "parent": parent,
            "memory_bytes": changes.memory_bytes,
            "globals": changes.globals,
            "pages": [offset // UNIT for offset in changes.offsets],
        }
    )
    body = b"".join([len(header).to_bytes(_NUMBER_BYTES), header, changes.data])
    return MAGIC + len(body).to_bytes(_NUMBER_BYTES) + bytes(_CODEC.compress(body, asbytes=True))


def unpacked(data: bytes, boot_id: str) -> tuple[Changes, str]:
    """Return the pages in a file whose hash is right, and the name of its parent. Raises `BadCheckpoint` if
    the file has another format or belongs to another boot."""
    start = len(MAGIC) + _NUMBER_BYTES
    if not data.startswith(MAGIC) or len(data) < start:
        raise BadCheckpoint("the file is not a checkpoint of this version of aoray")
    size = int.from_bytes(data[len(MAGIC) : start])
    body = _CODEC.decompress(data[start:], decompressed_size=size, asbytes=True)
    end = _NUMBER_BYTES + int.from_bytes(body[:_NUMBER_BYTES])
    header = orjson.loads(body[_NUMBER_BYTES:end])
    if header["boot"] != boot_id:
        raise BadCheckpoint("the checkpoint is of another module, or another version of the engine")
    offsets = tuple(page * UNIT for page in header["pages"])
    return Changes(header["memory_bytes"], tuple(header["globals"]), offsets, body[end:]), header["parent"]


def merged(parts: Sequence[Changes]) -> Changes:
    """Merge successive changes into one, with the last content of each page."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    found: dict[int, bytes] = {}
    for part in parts:
        for number, offset in enumerate(part.offsets):
            found[offset] = part.data[number * UNIT : (number + 1) * UNIT]
    offsets = tuple(sorted(found))
    return last._replace(offsets=offsets, data=b"".join(found[offset] for offset in offsets))
