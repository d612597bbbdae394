"""What a log gives to the tables that live in its database: reading, and writing durably under its term.

Crons, uploads and cursors of attestations are such tables: so they change in one commit with the entries that
they speak of, and a shard that was replaced can't write them. On failure: as `scheduler.log`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from aoray.sql import Transaction


class Tables:
    """`rows` answers a query; `writing` is one durable transaction."""

    def __init__(
        self,
        rows: Callable[..., list[Any]],
        writing: Callable[[], AbstractContextManager[Transaction]],
    ) -> None:
        self._rows = rows
        self._writing = writing
