"""The interface of a storage backend: where logs, results, the index of checkpoints, and files are stored.

A backend is a `Store` or a kind of `Files` (`storage.files`), in modules of its own. `storage.factory` lists
the backends by the scheme of the URL that selects them in the settings. Users see only `Log`, `LogReader` and
`Results`.

On failure: `ClientError` for what the operator can change, `Unavailable` for what can't be reached.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from aoray.storage.log import Log
from aoray.storage.log_reader import LogReader
from aoray.storage.results import Results, ResultsBackend


class Store(Protocol):
    """The logs of all shards and the results of one computer, in one place."""

    is_shared: bool
    """Whether all nodes of a cluster can reach the store."""

    def open_log(self, index: int) -> Log:
        """Open the log of a shard for its writer, and create it if it does not exist. A log of an earlier
        version of aoray stays as it is until it is upgraded or taken over."""

    def open_reader(self, index: int) -> LogReader:
        """Open a reader of a shard's log. A log that does not exist reads as empty."""

    def open_results(self) -> Results:
        """Open the results of all processes, and create them if they do not exist."""

    def open_index(self) -> ResultsBackend:
        """Open a connection to the database of the results, for the index of checkpoints."""

    def has_log(self, index: int) -> bool:
        """Return whether a shard may have a log; False only if it certainly has none."""

    def has_results(self) -> bool:
        """Return whether there may be results; False only if there certainly are none."""

    def check(self) -> None:
        """Raise `ClientError` or `Unavailable` if the store can't be used. This creates nothing."""

    def check_version(self, index: int) -> None:
        """Raise `ClientError` if a later version of aoray made the log of this shard. This changes
        nothing."""

    def owner(self) -> str:
        """Return the computer (its scheduler's address) that claimed the store; '' if none did, or if the
        store is in the data directory. This creates nothing."""

    def claim(self, computer: str, shards: int) -> AbstractContextManager[None]:
        """Hold the store for this computer while the context lasts.

        Raises `ClientError` if the store belongs to another computer, if this computer already runs
        elsewhere, if the store was made with another number of shards, or if its server does not sync what it
        acknowledges.
        """
