"""Logs and results in a PostgreSQL server that all nodes reach: `--store postgresql://…`."""

from __future__ import annotations

from contextlib import AbstractContextManager

from aoray.settings import Settings
from aoray.storage import postgres_owner
from aoray.storage.log import Log
from aoray.storage.log_reader import LogReader
from aoray.storage.postgres import StoreUrl, parse_store_url
from aoray.storage.postgres_log import PostgresLog, PostgresReader
from aoray.storage.postgres_results import PostgresResults, ResultsDatabase
from aoray.storage.results import Results, ResultsBackend


class PostgresStore:
    """The `backend.Store` in the PostgreSQL schemas that the URL names."""

    is_shared = True

    def __init__(self, url: StoreUrl) -> None:
        self._url = url

    def open_log(self, index: int) -> Log:
        """Open the log of a shard, in its schema."""
        return PostgresLog(self._url, index)

    def open_reader(self, index: int) -> LogReader:
        """Open a reader of a shard's log."""
        return PostgresReader(self._url, index)

    def open_results(self) -> Results:
        """Open the results."""
        return PostgresResults(self._url)

    def open_index(self) -> ResultsBackend:
        """Open a connection to the database of the results, for the index of checkpoints."""
        return ResultsDatabase(self._url)

    def has_log(self, index: int) -> bool:
        """Return True: only opening the log shows whether it exists."""
        return True

    def has_results(self) -> bool:
        """Return True: only opening the results shows whether they exist."""
        return True

    def check(self) -> None:
        """Raise `ClientError` if the server may lose commits, `Unavailable` if it can't be reached."""
        postgres_owner.check_server(self._url)

    def check_version(self, index: int) -> None:
        """Raise `ClientError` if a later version of aoray made the log of this shard."""
        self.open_log(index).close()

    def owner(self) -> str:
        """Return the computer (its scheduler's address) that owns the schema; '' if there is none yet."""
        return postgres_owner.owner_of(self._url)

    def claim(self, computer: str, shards: int) -> AbstractContextManager[None]:
        """Hold the schema for this computer alone while the context lasts."""
        return postgres_owner.owned(self._url, computer, shards)


def open_store(settings: Settings) -> PostgresStore:
    """Return the store at the URL in the settings."""
    return PostgresStore(parse_store_url(settings.store))
