"""The simulated disk: production's SQLite stores, whose writes go wrong.

A write can be refused before or after it was done (full disk, failed fsync), and its process can end before
or after it. A power cut ends all processes; it tears the log's last write (`synchronous=FULL`: what was
committed before stays), and takes any part of the results' WAL (`synchronous=NORMAL`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sim_world import HOST, Crash, World

from aoray.errors import Unavailable
from aoray.protocol.assignments import LogEntry
from aoray.storage.crontab import CronState
from aoray.storage.log import SqliteLog
from aoray.storage.records import ProcessState, ResultRow, Slot
from aoray.storage.results import Results


class Disk:
    """All files of the machine."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.torn: dict[Path, int] = {}  # where a log's WAL ends after the coming power cut

    def write(self, path: Path, do: Callable[[], Any]) -> Any:
        """Do this write, or what becomes of it today."""
        rng, faults = self.world.rng, self.world.faults
        if rng.random() >= faults.disk:
            return do()
        fault = rng.choice(("refused", "refused", "doubtful", "before", "after"))
        if fault in ("before", "after") and rng.random() < faults.power:
            fault = rng.choice(("torn", fault))
            self._power_cut(path, do, fault)
        self.world.note(f"disk {path.name} {fault}")
        if fault in ("after", "doubtful"):
            do()
        if fault in ("before", "after"):
            raise Crash
        raise Unavailable(f"the disk is full ({fault})")

    def _power_cut(self, path: Path, do: Callable[[], Any], fault: str) -> None:
        self.world.note(f"disk {path.name} power cut {fault}")
        wal = wal_of(path)
        before = wal.stat().st_size if wal.exists() else 0
        if fault != "before":
            do()
        size = wal.stat().st_size if wal.exists() else 0
        if fault == "torn" and size > before:
            self.torn[path] = self.world.rng.randrange(before, size)
        raise Crash(machine=True)

    def images(self) -> dict[Path, bytes]:
        """What a power cut leaves, taken before anything is closed (to close would tidy up)."""
        found: dict[Path, bytes] = {}
        for path in sorted(self.folder.glob("*.sqlite")):
            found[path] = path.read_bytes()
            wal = wal_of(path)
            content = wal.read_bytes() if wal.exists() else b""
            found[wal] = self._cut(path, content)
        self.torn.clear()
        return found

    def _cut(self, path: Path, wal: bytes) -> bytes:
        rng = self.world.rng
        if path.name == "results.sqlite":
            return wal[: rng.randint(0, len(wal))] if rng.random() < 0.8 else wal
        end = self.torn.get(path)
        if end is None:
            return wal
        garbage = rng.randbytes(len(wal) - end) if rng.random() < 0.5 else b""
        return wal[:end] + garbage

    def restore(self, images: Mapping[Path, bytes]) -> None:
        for path in self.folder.glob("*.sqlite-*"):
            path.unlink()
        for path, content in images.items():
            path.write_bytes(content)


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def opened(resource: Any) -> None:
    """It is let go of when its process ends."""
    host = HOST.get()
    if host is not None:
        host.open.append(resource)


class SimLog(SqliteLog):
    """The production log on the simulated disk."""

    disk: Disk

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(path)
        opened(self)
        for name in ("publish", "add", "save"):
            done = getattr(self.uploads, name)
            setattr(self.uploads, name, functools.partial(self._upload, done))
        self.attested.keep = functools.partial(self._upload, self.attested.keep)  # type: ignore[method-assign]

    def _upload(self, done: Callable[..., None], *what: Any) -> None:
        self.disk.write(self._path, functools.partial(done, *what))

    def take_over(self) -> int:
        return int(self.disk.write(self._path, super().take_over))

    def append(
        self,
        entries: Sequence[LogEntry],
        changed: Mapping[str, ProcessState],
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> None:
        done = super().append
        self.disk.write(self._path, lambda: done(entries, changed, block_height, crons))

    # A set has another order in each Python process; one seed must give one run.

    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]:
        return super().processes(sorted(process_ids))

    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]:
        return super().slots(sorted(pairs))


class SimResults(Results):
    """The production results on the simulated disk."""

    disk: Disk

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(path)
        opened(self)
        settle = self.deliveries.settle
        self.deliveries.settle = lambda settlements: self.disk.write(  # type: ignore[method-assign]
            self._path, functools.partial(settle, list(settlements))
        )

    def checkpoint_wal(self) -> None:
        """Do nothing: what is written stays where it is."""

    def commit(self, term_of: Mapping[str, int], rows: Sequence[ResultRow]) -> None:
        done = super().commit
        self.disk.write(self._path, lambda: done(term_of, rows))
