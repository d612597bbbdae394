"""Logs and results in a PostgreSQL that all nodes reach: `--store postgresql://…`."""

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
    """A `backend.Store` in the schemas that the URL names."""

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
        """Open the results, which are indexed by ids too."""
        return PostgresResults(self._url)

    def open_index(self) -> ResultsBackend:
        """Open a connection of the index's own to the results."""
        return ResultsDatabase(self._url)

    def has_log(self, index: int) -> bool:
        """That is known when it is opened."""
        return True

    def has_results(self) -> bool:
        """That is known when they are opened."""
        return True

    def check(self) -> None:
        """Refuse a server that is not there, or that forgets what it acknowledged."""
        postgres_owner.check_server(self._url)

    def check_version(self, index: int) -> None:
        """Refuse the tables of a later aoray."""
        self.open_log(index).close()

    def owner(self) -> str:
        """Return the computer that the schema belongs to."""
        return postgres_owner.owner_of(self._url)

    def claim(self, computer: str, shards: int) -> AbstractContextManager[None]:
        """Hold the schema for this computer alone."""
        return postgres_owner.owned(self._url, computer, shards)


def open_store(settings: Settings) -> PostgresStore:
    """Open the store that the settings name."""
    return PostgresStore(parse_store_url(settings.store))
