"""Files by name: modules and checkpoints.

Without `--files` they are in folders of the data directory; with it they are where all nodes reach them
(`shared_files`), so that any node can take over any process.

Invariants: a name is there with all of its content, or not at all. A local file is synced, with its name,
when `write` returns; of an object store that is its own promise. Both only keep what can be made again (a
checkpoint from the log) or fetched again (a module from Arweave), and whoever reads checks what it got.

On failure: `FileNotFoundError` for a name that is not there, another `OSError` for everything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aoray.settings import Settings
from aoray.storage import durable_files


class Files(Protocol):
    """One folder of files."""

    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def exists(self, name: str) -> bool: ...
    def remove(self, name: str) -> None: ...
    def names(self) -> list[str]: ...
    def check(self) -> None: ...


class LocalFiles:
    """The files in a directory of this machine, which is made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file; its draft has a name that begins with a dot."""
        durable_files.make_directory(self.directory)
        durable_files.write_atomic(self.directory / name, content)

    def exists(self, name: str) -> bool:
        return (self.directory / name).exists()

    def remove(self, name: str) -> None:
        """Remove a file, whether it exists or not."""
        (self.directory / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all files, and of drafts that were left behind."""
        return [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []

    def check(self) -> None:
        """`OSError` if files can't be written there. Nothing is made."""
        if fault := durable_files.write_fault(self.directory):
            raise OSError(fault)


def open_files(settings: Settings, folder: str) -> LocalFiles:
    """Return a folder of the data directory."""
    return LocalFiles(settings.data / folder)
