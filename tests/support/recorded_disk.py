"""What a disk may hold after a power cut, at any moment of a run that `recorder.c` has recorded.

What a program wrote is on the disk for sure once it was synced; of what it wrote since, a power cut may leave
all, nothing, or any part, in any order, down to sectors. So for a moment of the record `Disk` knows of each
file its durable content and the writes since the last sync, and of each directory its durable names and what
was done to them since the last sync of the directory (names are kept apart from content, as POSIX has it;
within one directory they come in order). `image` writes one of the states that are possible.

Not in it: disks that lie (say they have synced, and have not), or lose what was synced.
"""

from __future__ import annotations

import mmap
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("recorder.c")
SECTOR_BYTES = 512
HEAD = struct.Struct("<QQQQIIII")
DIRECTORY = None


class Op(IntEnum):
    """As in recorder.c."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    CREATE = 4
    RENAME = 5
    LINK = 6
    UNLINK = 7
    MKDIR = 8
    UNKNOWN = 9


class Record(NamedTuple):
    """One call. `start` and `end` are positions in the journal: before the call, and behind its record."""

    start: int
    end: int
    op: Op
    inode: int
    offset: int
    path: str
    other: str
    data: memoryview


def compiled_recorder(folder: Path) -> Path:
    """The recorder as a library, in that directory."""
    library = folder / "recorder.so"
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True, cwd=folder)
    return library


def recording(recorder: Path, root: Path, journal: Path) -> Mapping[str, str]:
    """The variables under which a program's calls on everything below `root` are recorded."""
    return {"LD_PRELOAD": str(recorder), "RECORDER_ROOT": str(root), "RECORDER_JOURNAL": str(journal)}


def records(journal: Path) -> Iterator[Record]:
    """The record, up to the last call that is whole."""
    with journal.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view, at = memoryview(bytes(mapped)), 0
    while at + HEAD.size <= len(view):
        start, inode, offset, data_bytes, op, path_bytes, other_bytes, _ = HEAD.unpack_from(view, at)
        path = at + HEAD.size
        other, data = path + path_bytes, path + path_bytes + other_bytes
        at = data + data_bytes
        if at <= len(view):
            names = str(view[path:other], "utf-8"), str(view[other:data], "utf-8")
            yield Record(start, at, Op(op), inode, offset, *names, view[data:at])


class File:
    """Content that is durable, and what was done since."""

    def __init__(self) -> None:
        self._durable = bytearray()
        self._since: list[Record] = []

    def add(self, record: Record) -> None:
        self._since.append(record)

    def sync(self, start: int) -> None:
        """All that was done before a sync began is durable once it has ended."""
        covered = [record for record in self._since if record.end <= start]
        self._since = self._since[len(covered) :]
        for record in covered:
            carry_out(self._durable, record)

    def whole(self) -> bytes:
        """Its content as programs see it."""
        content = bytearray(self._durable)
        for record in self._since:
            carry_out(content, record)
        return bytes(content)

    def image(self, source: random.Random) -> bytes:
        """Its content after the cut: of what was done since the last sync all, nothing, or any part."""
        content = bytearray(self._durable)
        share = source.choice((0.0, 1.0, source.random()))
        for record in self._since:
            if source.random() < share:
                carry_out(content, record)
            elif record.op is Op.WRITE and source.random() < share:
                tear(content, record, source)
        return bytes(content)


def carry_out(content: bytearray, record: Record) -> None:
    if record.op is Op.TRUNCATE:
        del content[record.offset :]
        content.extend(bytes(record.offset - len(content)))
        return
    if len(content) < record.offset:
        content.extend(bytes(record.offset - len(content)))
    content[record.offset : record.offset + len(record.data)] = record.data


def tear(content: bytearray, record: Record, source: random.Random) -> None:
    """Some sectors of a write."""
    end = record.offset + len(record.data)
    first = record.offset // SECTOR_BYTES * SECTOR_BYTES
    for sector in range(first, end, SECTOR_BYTES):
        if source.random() < 0.5:
            low, high = max(sector, record.offset), min(sector + SECTOR_BYTES, end)
            part = record.data[low - record.offset : high - record.offset]
            carry_out(content, record._replace(offset=low, data=part))


Change = tuple[
    tuple[str, File | None, bool], ...
]  # names at once: what each is then, and whether it is there


UNNAMED = " (deleted)"  # so Linux calls what has no name


class Disk:
    """The files below one directory, which is empty when the record begins."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, File] = {}  # by inode
        self._names: dict[str, File | None] = {self._root: DIRECTORY}  # as programs see them
        self._durable: dict[str, File | None] = {}
        self._since: defaultdict[str, list[tuple[int, Change]]] = defaultdict(list)  # by directory

    def apply(self, record: Record) -> None:
        """Go on by one call."""
        if record.inode not in self._files and record.path.endswith(UNNAMED):
            return  # it never had a name (O_TMPFILE), so a power cut takes it whole
        match record.op:
            case Op.WRITE | Op.TRUNCATE:
                self._files[record.inode].add(record)
            case Op.SYNC if self._names.get(record.path, self._files.get(record.inode)) is DIRECTORY:
                self._sync_names(record)
            case Op.SYNC:
                self._files[record.inode].sync(record.start)
            case Op.CREATE:
                file = self._files[record.inode] = File()
                self._change(record, ((record.path, file, True),))
            case Op.MKDIR:
                self._change(record, ((record.path, DIRECTORY, True),))
            case Op.RENAME:
                moved = self._names[record.path]
                self._change(record, ((record.path, None, False), (record.other, moved, True)))
            case Op.LINK:
                self._change(record, ((record.other, self._names[record.path], True),))
            case Op.UNLINK:
                self._change(record, ((record.path, None, False),))
            case Op.UNKNOWN:
                raise NotImplementedError(f"a way to write that the recorder does not follow: {record}")

    def _change(self, record: Record, change: Change) -> None:
        put(self._names, change)
        # What moves to another directory is gone from the first when it is durable in the second.
        self._since[str(Path(change[-1][0]).parent)].append((record.end, change))

    def _sync_names(self, record: Record) -> None:
        changes = self._since[record.path]
        while changes and changes[0][0] <= record.start:
            put(self._durable, changes.pop(0)[1])

    def now(self) -> dict[Path, bytes]:
        """The files as programs see them."""
        files = {path: file for path, file in self._names.items() if file is not DIRECTORY}
        return {Path(path): file.whole() for path, file in files.items()}

    def image(self, folder: Path, source: random.Random) -> None:
        """Write one of the states that a power cut now may leave."""
        names = dict(self._durable)
        for changes in self._since.values():
            share = source.choice((0, len(changes), source.randint(0, len(changes))))
            for _, change in changes[:share]:
                put(names, change)
        folder.mkdir(parents=True)
        for path, file in sorted(names.items()):
            target = folder / Path(path).relative_to(self._root)
            if not target.parent.exists():  # its directory is lost, so it is
                continue
            if file is DIRECTORY:
                target.mkdir()
            else:
                content = file.image(source)
                # Written through a mapping, which is never synced.
                target.write_bytes(source.randbytes(len(content)) if path.endswith("-shm") else content)
                target.chmod(0o600)  # modes are not recorded, and keys must be nobody else's


def states(
    root: Path, calls: Iterable[Record], folder: Path, cuts: Iterable[int], source: random.Random
) -> Iterator[tuple[int, Path]]:
    """States of the disk after power cuts behind so many calls: how long the journal is there, and the state.

    A state goes when the next is asked for.
    """
    disk, wanted = Disk(root), Counter(cuts)
    for number, record in enumerate(calls, 1):
        disk.apply(record)
        for again in range(wanted[number]):
            state = folder / f"state-{number}-{again}"
            disk.image(state, source)
            yield record.end, state
            shutil.rmtree(state)


def put(names: dict[str, File | None], change: Change) -> None:
    for path, file, there in change:
        if there:
            names[path] = file
        else:
            names.pop(path, None)
