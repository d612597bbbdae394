"""What a storage backend is: where logs, results and the index of checkpoints are; and where files are.

A backend is a `Store` or a kind of `Files` (`storage.files`), in files of its own; `storage.factory` lists
those that there are, by the scheme of the URL that names them in the settings. Whoever uses one sees `Log`,
`LogReader` and `Results`, and no difference.

On failure: `ClientError` for what the operator can change, `Unavailable` for what is away.
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
    """Whether all nodes of a cluster reach it, by a network."""

    def open_log(self, index: int) -> Log:
        """Open the log of a shard, for the writer that takes it over; it is made if it does not exist. The
        log of an earlier aoray stays as it is until it is upgraded, or taken over."""

    def open_reader(self, index: int) -> LogReader:
        """Open a reader of a shard's log, whether the log exists or not."""

    def open_results(self) -> Results:
        """Open the results of all processes; they are made if they do not exist."""

    def open_index(self) -> ResultsBackend:
        """Open a connection to where the results are, for the index of checkpoints."""

    def has_log(self, index: int) -> bool:
        """Return whether a shard may have a log."""

    def has_results(self) -> bool:
        """Return whether there may be results."""

    def check(self) -> None:
        """Refuse a place that can't be used. Nothing is made there."""

    def check_version(self, index: int) -> None:
        """Refuse the log of a shard that a later aoray made; nothing in it is changed."""

    def owner(self) -> str:
        """Return the computer (its scheduler's address) that claimed the store; empty if none did, or if
        it is in the data directory. Nothing is made there."""

    def claim(self, computer: str, shards: int) -> AbstractContextManager[None]:
        """Hold the store for this computer, as a data directory is held.

        ClientError if it is another computer's, if this one runs elsewhere, if it was made with another
        number of shards, or if a server does not sync what it acknowledges.
        """
