"""Files that all nodes share, by name: modules and checkpoints.

Without `--files` they are in folders of the data directory. With it they are under a URI that `pyarrow.fs`
knows (`s3://bucket/folder?region=…&endpoint_override=…`), so that any node can take over any process; options
and credentials are those of pyarrow (`AWS_ACCESS_KEY_ID`, …).

Invariants: a name is there with all of its content, or not at all. A local file is synced, with its name,
when `write` returns; of an object store that is its own promise. Both only keep what can be made again (a
checkpoint from the log) or fetched again (a module from Arweave), and whoever reads checks what it got.

On failure: `FileNotFoundError` for a name that is not there, another `OSError` for everything else. Requests
have the time limits of pyarrow and are tried a few times, so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from aoray import durable, limits
from aoray.errors import ClientError, Unavailable
from aoray.settings import Settings

OWNER = "owner"


class Files(Protocol):
    """One folder of files."""

    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def exists(self, name: str) -> bool: ...
    def remove(self, name: str) -> None: ...
    def names(self) -> list[str]: ...


class LocalFiles:
    """The files in a directory of this machine, which is made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Put a file there; a draft of it begins with a dot."""
        durable.make_directory(self._directory)
        durable.write(self._directory / name, content)

    def exists(self, name: str) -> bool:
        return (self._directory / name).exists()

    def remove(self, name: str) -> None:
        """Be it there or not."""
        (self._directory / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Of all files, and of drafts that were left behind."""
        return [path.name for path in self._directory.iterdir()] if self._directory.is_dir() else []


class RemoteFiles:
    """The files under one path of a `pyarrow.fs.FileSystem`, which appear when they are written whole.

    A store that fails is left alone for a while, in which everything fails at once: whoever evaluates
    messages must not wait for it again and again.
    """

    def __init__(self, system: Any, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._path = path
        self._clock = clock
        self._fault: OSError | None = None
        self._rests_until = 0.0

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self._fault is not None and self._clock() < self._rests_until:
            raise OSError(f"it failed a moment ago: {self._fault}")
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            self._fault, self._rests_until = error, self._clock() + limits.FILES_REST_SECONDS
            raise

    def read(self, name: str) -> bytes:
        with self._working(), self._system.open_input_file(f"{self._path}/{name}") as file:
            return bytes(file.read())

    def write(self, name: str, content: bytes) -> None:
        with self._working(), self._system.open_output_stream(f"{self._path}/{name}") as file:
            file.write(content)

    def exists(self, name: str) -> bool:
        with self._working():
            return bool(self._system.get_file_info(f"{self._path}/{name}").is_file)

    def remove(self, name: str) -> None:
        """Be it there or not."""
        with self._working(), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(f"{self._path}/{name}")

    def names(self) -> list[str]:
        """Of all files."""
        from pyarrow import fs

        selected = fs.FileSelector(self._path, allow_not_found=True)
        with self._working():
            return [found.base_name for found in self._system.get_file_info(selected) if found.is_file]


def files_of(settings: Settings, folder: str) -> Files:
    """The files of a computer in one of its folders. ClientError if pyarrow can't make sense of the URI."""
    if not settings.files:
        return LocalFiles(settings.data / folder)
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(settings.files)
    except (ValueError, OSError) as error:  # pyarrow's own are both
        raise ClientError(
            f"--files {settings.files.partition('?')[0]} can't be used: {error}",
            hint="Name a place as pyarrow.fs does, such as s3://bucket/folder?region=eu-west-1.",
        ) from error
    path = f"{path.rstrip('/')}/{folder}"
    return LocalFiles(Path(path)) if system.type_name == "local" else RemoteFiles(system, path)


def keep_files(settings: Settings, computer: str) -> None:
    """Write down whose they are (its scheduler's address): nobody else may sweep among its checkpoints.

    `ClientError` if they are another computer's, `Unavailable` if they can't be written and read: so it is
    said when the computer starts.
    """
    if not settings.files:
        return
    files, place = files_of(settings, OWNER), settings.files.partition("?")[0]
    try:
        if not files.exists(OWNER):
            files.write(OWNER, computer.encode())
        owner = files.read(OWNER).decode()
    except OSError as error:
        raise Unavailable(
            f"--files {place} can't be written and read: {error}",
            hint="Is the bucket there, and may these credentials use it?",
        ) from error
    if owner != computer:
        raise ClientError(
            f"the files at {place} are the computer's whose scheduler is {owner}, not {computer}",
            hint="Give this one another folder with --files.",
        )
