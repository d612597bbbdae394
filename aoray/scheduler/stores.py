"""Where log and results are, by the settings: the one place that knows which store it is.

SQLite files under `data`, or, with `--store postgresql://…`, a PostgreSQL that all nodes reach. Who uses them
sees `Log`, `ShardedReader` and `Results`, and no difference. On failure: as those.
"""

from __future__ import annotations

from aoray.actors.results import Connection, Results
from aoray.scheduler.log import Log, SqliteLog, check_version
from aoray.scheduler.reader import log_path, open_readers
from aoray.settings import Settings

__all__ = ["check_versions", "open_index", "open_log", "open_readers", "open_results"]


def open_log(settings: Settings, index: int) -> Log:
    """The log of a shard, to be written by whoever takes it over."""
    return SqliteLog(log_path(settings, index))


def open_results(settings: Settings) -> Results:
    """The results of all processes."""
    return Results(settings.data / "results.sqlite")


def open_index(settings: Settings) -> Connection:
    """A connection to where the results are, for the index of checkpoints."""
    return Connection(settings.data / "results.sqlite")


def check_versions(settings: Settings) -> None:
    """Refuse logs that a later aoray made; older ones are brought up to date as they are opened."""
    for index in range(settings.shards):
        check_version(log_path(settings, index))
