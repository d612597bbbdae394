"""What the stores in SQL share, SQLite's and PostgreSQL's: a transaction as tables use it, and an upsert.

Queries are written once, in SQLite's words with `?` for values; `aoray.storage.postgres` says which words are
others in PostgreSQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from aoray.errors import ClientError, Unavailable


class SqlTransaction(Protocol):
    """A transaction, done whole or not at all: a connection of sqlite3, or what acts like one."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Any: ...
    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Any: ...


def upsert_sql(table: str, key: Sequence[str], others: Sequence[str]) -> str:
    """Return the statement that writes a row with these columns, in place of the one that has its key."""
    columns = [*key, *others]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in others)}"
    )


def statements(script: str) -> list[str]:
    """Return the statements of a script, each of which ends its line with a semicolon."""
    return [each for each in script.strip().removesuffix(";").split(";\n") if each]


class Tables:
    """The tables of a store: `rows` answers a query, `writing` is one durable transaction."""

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
    """A fault of the disk or of SQLite, or one of `faults`, as the error that callers know; `what` begins its
    message."""
    try:
        yield
    except faults as error:
        raise Unavailable(f"{what}: {error}", hint="Is the disk full?") from error


@contextmanager
def sqlite_transaction(
    db: sqlite3.Connection, begin: Callable[[str], object] | None = None
) -> Iterator[None]:
    """What is written in it is written whole or not at all, and nobody else writes meanwhile. `begin`
    executes the first statement, where the connection itself does not wait for other writers."""
    (begin or db.execute)("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def check_database(path: Path) -> None:
    """Refuse a file whose beginning SQLite can't read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise ClientError(
            f"{path} is damaged, or not a database: {error}",
            hint=f"What else is in {path.parent} is as it was; restore that file from a copy.",
        ) from error
