"""The owner of a PostgreSQL store: one computer, with its number of shards, which holds the store while it
runs.

Where in a message's journey: before it, at the start of the computer. The owner is recorded once, in the
schema of the results. The hold is an advisory lock of one session and ends with it; what protects the data
from two computers are the terms of shards and processes. On failure: `ClientError` says who the owner is and
what to do; `Unavailable`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from aoray import limits
from aoray.errors import ClientError
from aoray.storage.postgres import Database, StoreUrl
from aoray.storage.postgres_results import ResultsDatabase

OWNER = """
CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), computer TEXT, shards INTEGER)
"""


@contextmanager
def owned(url: StoreUrl, computer: str, shards: int) -> Iterator[None]:
    """Hold the store for this computer alone while the context lasts."""
    db = ResultsDatabase(url)
    try:
        _check_server(db)
        _hold(db, url.schema)
        _check_owner(db, url.schema, computer, shards)
        yield
    finally:
        db.close()


def _hold(db: ResultsDatabase, schema: str) -> None:
    """Take the lock, and wait STORE_HOLD_SECONDS_MAX for it: that of a computer that was just killed is still
    held until the server notices."""
    key, deadline = f"run {schema}", time.monotonic() + limits.STORE_HOLD_SECONDS_MAX
    while not db.rows("SELECT pg_try_advisory_lock(hashtextextended(?, 0))", key)[0][0]:
        if time.monotonic() > deadline:
            raise ClientError(
                f"schema {schema} of the store is in use by another computer",
                hint="Stop that computer, or use another schema: --store postgresql://…?schema=NAME",
            )
        time.sleep(0.1)


def check_server(url: StoreUrl) -> None:
    """Raise `ClientError` if the server may lose commits, `Unavailable` if it can't be reached. This creates
    nothing."""
    db = Database(url, url.schema)
    try:
        _check_server(db)
    finally:
        db.close()


def owner_of(url: StoreUrl) -> str:
    """Return the computer that owns a schema; '' if there is none yet. This creates nothing."""
    db = Database(url, url.schema)
    try:
        if not db.rows("SELECT to_regclass(?)", f"{url.schema}.owner")[0][0]:
            return ""
        return next((str(owner) for (owner,) in db.rows("SELECT computer FROM owner")), "")
    finally:
        db.close()


def _check_server(db: Database) -> None:
    """Raise `ClientError` if the server may lose acknowledged commits in a power cut."""
    for setting in ("fsync", "full_page_writes"):
        if db.rows("SELECT current_setting(?)", setting)[0][0] != "on":
            raise ClientError(
                f"the store's server runs with {setting} off, so it may lose acknowledged commits",
                hint=f"Set {setting} = on in postgresql.conf, and restart the server.",
            )


def _check_owner(db: ResultsDatabase, schema: str, computer: str, shards: int) -> None:
    with db.transaction() as writing:
        writing.execute(OWNER)
        writing.execute("INSERT OR IGNORE INTO owner VALUES (1, ?, ?)", [computer, shards])
    owner, first = db.rows("SELECT computer, shards FROM owner")[0]
    if owner != computer:
        raise ClientError(
            f"schema {schema} of the store belongs to the computer with scheduler {owner}, not {computer}",
            hint="Use the keys of that computer (--keys), or another schema: --store postgresql://…?schema=NAME",
        )
    if first != shards:
        raise ClientError(
            f"schema {schema} of the store was made with {first} shards, not {shards}",
            hint=f"Set AORAY_SHARDS={first}, or name another schema in --store.",
        )
