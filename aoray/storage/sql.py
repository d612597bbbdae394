"""The common part of the stores in SQL: transactions, upserts, and errors.

Queries are written once, in SQLite's dialect with `?` for values; `aoray.storage.postgres` translates them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from aoray.errors import ClientError, Unavailable


class SqlTransaction(Protocol):
    """A transaction, done completely or not at all: a connection of sqlite3, or an object with the same
    methods."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Any:
        """Execute a statement, and return its cursor."""

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Execute a statement for each row, and return a cursor."""


def upsert_sql(table: str, key: Sequence[str], others: Sequence[str]) -> str:
    """Return the statement that inserts a row with these columns, or replaces the row with the same key."""
    columns = [*key, *others]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in others)}"
    )


def statements(script: str) -> list[str]:
    """Return the statements of a script in which each statement ends its line with a semicolon."""
    return [each for each in script.strip().removesuffix(";").split(";\n") if each]


class Tables:
    """Some tables of a store. `rows` runs a query; `writing` is one durable transaction."""

    def __init__(
        self,
        rows: Callable[..., list[Any]],
        writing: Callable[[], AbstractContextManager[SqlTransaction]],
    ) -> None:
        self._rows = rows
        self._writing = writing


DATABASE_ERRORS = (sqlite3.Error,)
Faults = type[Exception] | tuple[type[Exception], ...]


@contextmanager
def as_unavailable(what: str, faults: Faults = sqlite3.Error) -> Iterator[None]:
    """Raise faults of the database (or those in `faults`) as `Unavailable`, with a message that starts with
    `what`."""
    try:
        yield
    except faults as error:
        raise Unavailable(f"{what}: {error}", hint="Is the disk full?") from error


@contextmanager
def sqlite_transaction(
    db: sqlite3.Connection, begin: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Run a transaction that is written completely or not at all, while nobody else writes. `begin` executes
    its first statement, for connections that do not wait for other writers themselves."""
    (begin or db.execute)("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def check_database(path: Path) -> None:
    """Raise `ClientError` if SQLite can't read the schema in this file."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise ClientError(
            f"{path} is damaged, or not a database: {error}",
            hint=f"Restore this file from a copy; other files in {path.parent} were not changed.",
        ) from error
