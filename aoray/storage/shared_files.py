"""Files that all nodes share, at a URI that `pyarrow.fs` knows: `--files s3://bucket/folder?region=…`.

Options and credentials are those of pyarrow (`endpoint_override=…`, `AWS_ACCESS_KEY_ID`, …). An object store
gives its own guarantee of durability; a local path (`file:///mnt/shared`) is written like the data directory.

On failure: as in `storage.files`. Requests have pyarrow's time limits and number of retries, so no call waits
forever. `ClientError` for a URI that pyarrow can't parse.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aoray import limits
from aoray.errors import ClientError
from aoray.settings import Settings
from aoray.storage.files import Files, LocalFiles

PROBE = "probe"


class RemoteFiles:
    """The files under one path of a `pyarrow.fs.FileSystem`, which appear once they are written completely.

    After a failure, every call fails at once for FILES_REST_SECONDS, so that the evaluation of messages does
    not wait for a broken store again and again.
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
            raise OSError(f"the file store failed a moment ago: {self._fault}")
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            self._fault, self._rests_until = error, self._clock() + limits.FILES_REST_SECONDS
            raise

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises `FileNotFoundError`."""
        with self._working(), self._system.open_input_file(f"{self._path}/{name}") as file:
            return bytes(file.read())

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears with all of its content or not at all."""
        with self._working(), self._system.open_output_stream(f"{self._path}/{name}") as file:
            file.write(content)

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self._working():
            return bool(self._system.get_file_info(f"{self._path}/{name}").is_file)

    def remove(self, name: str) -> None:
        """Remove a file, whether it exists or not."""
        with self._working(), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(f"{self._path}/{name}")

    def names(self) -> list[str]:
        """Return the names of all files."""
        from pyarrow import fs

        selected = fs.FileSelector(self._path, allow_not_found=True)
        with self._working():
            return [found.base_name for found in self._system.get_file_info(selected) if found.is_file]

    def check(self) -> None:
        """Raise `OSError` if files can't be written there. Nothing is left behind."""
        self.write(PROBE, b"")
        self.remove(PROBE)


def open_files(settings: Settings, folder: str) -> Files:
    """Return the files in a folder at the URI in the settings. Raises `ClientError`."""
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
