"""Where log and results are, by the settings: the one place that knows which store it is.

SQLite files under `data`, or, with `--store postgresql://…`, a PostgreSQL that all nodes reach. Who uses them
sees `Log`, `ShardedReader` and `Results`, and no difference. On failure: as those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aoray.actors.results import Connection, Database, Results
from aoray.scheduler.log import Log, SqliteLog, check_version
from aoray.scheduler.reader import log_path, open_readers
from aoray.settings import Settings

__all__ = ["check_versions", "keep_store", "open_index", "open_log", "open_readers", "open_results"]

# PostgreSQL's modules are loaded where they are used: a laptop's actors do without.


def open_log(settings: Settings, index: int) -> Log:
    """The log of a shard, to be written by whoever takes it over."""
    if settings.store:
        from aoray.postgres import place_of
        from aoray.scheduler.postgres_log import PostgresLog

        return PostgresLog(place_of(settings.store), index)
    return SqliteLog(log_path(settings, index))


def open_results(settings: Settings) -> Results:
    """The results of all processes."""
    if settings.store:
        from aoray.actors.postgres_results import PostgresResults
        from aoray.postgres import place_of

        return PostgresResults(place_of(settings.store))
    return Results(settings.data / "results.sqlite", open_readers(settings).nonce_of)


def open_index(settings: Settings) -> Database:
    """A connection to where the results are, for the index of checkpoints."""
    if settings.store:
        from aoray.actors.postgres_results import ResultsDatabase
        from aoray.postgres import place_of

        return ResultsDatabase(place_of(settings.store))
    return Connection(settings.data / "results.sqlite")


def check_versions(settings: Settings) -> None:
    """Refuse logs that a later aoray made; older ones are brought up to date as they are opened."""
    for index in range(settings.shards):
        if settings.store:
            open_log(settings, index).close()
        else:
            check_version(log_path(settings, index))


@contextmanager
def keep_store(settings: Settings, computer: str) -> Iterator[None]:
    """Hold the store for this computer (its scheduler's address), as a data directory is held.

    ClientError if it is another computer's, if this one runs elsewhere, if it was made with another number
    of shards, or if the server does not sync what it acknowledges.
    """
    if not settings.store:
        yield
        return
    from aoray.postgres import place_of
    from aoray.scheduler.postgres_owner import owned

    with owned(place_of(settings.store), computer, settings.shards):
        yield
