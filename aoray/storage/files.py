"""Files by name: the storage of modules and checkpoints.

Without `--files` they are in folders of the data directory; with `--files` they are in a place that all nodes
share (`shared_files`), so that any node can take over any process.

Invariants: a file appears with all of its content, or not at all. A local file and its name are synced when
`write` returns; an object store gives its own guarantee. Both hold only what can be made again (a checkpoint,
from the log) or fetched again (a module, from Arweave), and readers check what they get.

On failure: `FileNotFoundError` if there is no file of that name, another `OSError` for everything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aoray.settings import Settings
from aoray.storage import durable_files


class Files(Protocol):
    """One folder of files. Every method raises `OSError` if the storage fails."""

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises `FileNotFoundError`."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears with all of its content or not at all."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def remove(self, name: str) -> None:
        """Remove a file, whether it exists or not."""

    def names(self) -> list[str]:
        """Return the names of all files."""

    def check(self) -> None:
        """Raise `OSError` if files can't be written there. Nothing is left behind."""


class LocalFiles:
    """The files in a directory of this machine; the directory is made at the first write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises `FileNotFoundError`."""
        return (self.directory / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file durably. While it is incomplete, its name starts with a dot."""
        durable_files.make_directory(self.directory)
        durable_files.write_atomic(self.directory / name, content)

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.directory / name).exists()

    def remove(self, name: str) -> None:
        """Remove a file, whether it exists or not."""
        (self.directory / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all files, including incomplete files left by a crash."""
        return [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []

    def check(self) -> None:
        """Raise `OSError` if files can't be written there. This creates nothing."""
        if fault := durable_files.write_fault(self.directory):
            raise OSError(fault)


def open_files(settings: Settings, folder: str) -> LocalFiles:
    """Return the files in a folder of the data directory."""
    return LocalFiles(settings.data / folder)
