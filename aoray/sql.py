"""What the stores in SQL share, SQLite's and PostgreSQL's: a transaction as tables use it, and an upsert.

Queries are written once, in SQLite's words with `?` for values; `aoray.postgres` says which words are others
in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Transaction(Protocol):
    """What is done in it is done whole or not at all; a connection of sqlite3, or what acts like one."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Any: ...
    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Any: ...


def replacing(table: str, key: Sequence[str], others: Sequence[str]) -> str:
    """The statement that writes a row of all these columns, in place of the one that has its key."""
    columns = [*key, *others]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in others)}"
    )
