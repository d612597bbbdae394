"""Small files that survive a power cut whole: a name appears with all of its content, or not at all.

What is only written may be empty, or half there, after the power is cut; and a computer that finds its notes
so would not start again. So content is synced before it gets its name, and the name before `write_atomic`
returns.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from aoray.limits import DISK_FREE_BYTES_MIN


def write_atomic(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    """Put a file there, readable by its owner only. One that is there is replaced, or with `exclusive` stays
    as it is. `OSError` if it can't."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600 by itself
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        else:
            Path(name).replace(path)
        sync_directory(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)  # one that was renamed is gone


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and those above it, durably, so that what is synced in it can't be lost with it."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        sync_directory(path.parent)


def write_fault(directory: Path) -> str:
    """Return why files can't be written to a directory; empty if they can. Nothing is made: one that is
    not there yet will be in what is above it."""
    try:
        there = next(each for each in (directory, *directory.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(1024))
            probe.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def disk_fault(data: Path) -> str:
    """Return what is wrong with the disk of a directory, if it is full. One that is not there yet (of a
    node whose stores are elsewhere) will be on the disk of what is above it."""
    found = os.statvfs(next(path for path in (data, *data.parents) if path.exists()))
    free = found.f_bavail * found.f_frsize
    return f"the disk of {data} is full: {free:,} bytes are free" if free < DISK_FREE_BYTES_MIN else ""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
