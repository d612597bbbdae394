"""Logs and results in SQLite files of the data directory, for a computer on one machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from aoray.settings import Settings
from aoray.storage.log import Log, SqliteLog, check_version
from aoray.storage.log_reader import LogReader, ShardedReader
from aoray.storage.results import Results, ResultsBackend, SqliteConnection


class SqliteStore:
    """The `backend.Store` in a directory. Whoever holds the lock of the directory owns the store."""

    is_shared = False

    def __init__(self, directory: Path, shards: int) -> None:
        self._directory = directory
        self._shards = shards

    def open_log(self, index: int) -> Log:
        """Open the log of a shard."""
        return SqliteLog(self._log(index))

    def open_reader(self, index: int) -> LogReader:
        """Open a reader of a shard's log."""
        return LogReader(self._log(index))

    def open_results(self) -> Results:
        """Open the results, which find messages by their ids in the logs."""
        readers = ShardedReader([self.open_reader(index) for index in range(self._shards)])
        return Results(self._results, readers.nonce_of)

    def open_index(self) -> ResultsBackend:
        """Open a connection to the file of the results, for the index of checkpoints."""
        return SqliteConnection(self._results)

    def has_log(self, index: int) -> bool:
        """Return whether the file of a shard's log exists."""
        return self._log(index).exists()

    def has_results(self) -> bool:
        """Return whether the file of the results exists."""
        return self._results.exists()

    def check(self) -> None:
        """Do nothing: the data directory is checked elsewhere."""

    def check_version(self, index: int) -> None:
        """Raise `ClientError` if a later version of aoray made the log of this shard."""
        check_version(self._log(index))

    def owner(self) -> str:
        """Return '', since whoever holds the directory owns the store."""
        return ""

    def claim(self, computer: str, shards: int) -> AbstractContextManager[None]:
        """Do nothing: the lock of the data directory holds the store."""
        return nullcontext()

    def _log(self, index: int) -> Path:
        return self._directory / f"log-{index}.sqlite"

    @property
    def _results(self) -> Path:
        return self._directory / "results.sqlite"


def open_store(settings: Settings) -> SqliteStore:
    """Return the store in the data directory of the settings."""
    return SqliteStore(settings.data, settings.shards)


def log_path(settings: Settings, index: int) -> Path:
    """Return the path of the file of a shard's log."""
    return open_store(settings)._log(index)
