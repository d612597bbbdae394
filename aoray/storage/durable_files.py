"""Small files that survive a power cut: a file appears with all of its content, or not at all.

A file that was written without a sync may be empty or incomplete after a power cut, and a computer could not
start from it. So the content is synced before the file gets its name, and the name before `write_atomic`
returns.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from aoray.limits import DISK_FREE_BYTES_MIN


def write_atomic(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    """Write a file that only its owner can read. An existing file is replaced, or with `exclusive` left as it
    is. Raises `OSError` if the file can't be written."""
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
        Path(name).unlink(missing_ok=True)  # missing if it was renamed


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and its parents, durably, so that files synced in it can't be lost with it."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        sync_directory(path.parent)


def write_fault(directory: Path) -> str:
    """Return why files can't be written to a directory; '' if they can. If the directory does not exist yet,
    its nearest existing parent is tested. This creates nothing."""
    try:
        there = next(each for each in (directory, *directory.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(1024))
            probe.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def disk_fault(data: Path) -> str:
    """Return the error text if the disk of a directory is full, else ''. If the directory does not exist (on
    a node whose stores are elsewhere), the disk of its nearest existing parent counts."""
    found = os.statvfs(next(path for path in (data, *data.parents) if path.exists()))
    free = found.f_bavail * found.f_frsize
    return f"the disk of {data} is full: {free:,} bytes are free" if free < DISK_FREE_BYTES_MIN else ""


def sync_directory(path: Path) -> None:
    """Make the names of files in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
