"""The balances of wallets on the embedded Arweave, in winston (1 AR is 10^12), in the same database as its
blocks.

    genesis     the initial balances of a network (`aoray up --balances FILE`: JSON, address to winston)
    charge      a transaction's quantity goes to its target; its reward leaves circulation
    mint        makes AR, as arlocal does: this network is for development, and its AR have no value

On a network without a genesis file, a new wallet gets `GIFT` when it first pays, so programs run without
preparation. With a genesis file there is no gift. Balances are texts in the database, since the total supply
of winston exceeds SQLite's integers.

Invariants: functions here write in the caller's transaction, which also stores the transaction's item; so a
transaction is paid exactly once, and never without being stored. No balance is below 0 or above
`WINSTON_MAX`.

On failure: `ClientError`, also for insufficient funds; then nothing has changed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from aoray.errors import ClientError, MalformedInput
from aoray.limits import BALANCES_BYTES_MAX
from aoray.protocol.ids import b64url_encode, is_id
from aoray.protocol.transactions import Transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS wallet (address TEXT PRIMARY KEY, balance TEXT NOT NULL, last_tx TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS genesis (digest TEXT NOT NULL);
"""
WINSTON = 10**12
WINSTON_MAX = 66_000_000 * WINSTON
GIFT = 1_000 * WINSTON

SET = (
    "INSERT INTO wallet VALUES (?1, ?2, ?3) ON CONFLICT (address)"
    " DO UPDATE SET balance = ?2, last_tx = CASE ?3 WHEN '' THEN last_tx ELSE ?3 END"
)


def read_balances(path: Path) -> dict[str, int]:
    """Read the balances of a genesis file: a JSON object from addresses to winston (text or integer). Raises
    `ClientError`."""
    try:
        raw = path.read_bytes()
        found = json.loads(raw) if len(raw) <= BALANCES_BYTES_MAX else None
    except (OSError, ValueError) as error:
        raise ClientError(f"the balances {path} can't be read: {error}", hint=_HINT) from error
    if not isinstance(found, dict):
        raise ClientError(
            f"the balances {path} are not a JSON object of at most {BALANCES_BYTES_MAX} bytes", hint=_HINT
        )
    balances = {address: _winston(path, address, amount) for address, amount in found.items()}
    if sum(balances.values()) > WINSTON_MAX:
        raise ClientError(f"the balances {path} exceed the total supply of AR", hint=_HINT)
    return balances


_HINT = 'Write {"ADDRESS": "WINSTON", …}; 1 AR is 1000000000000 winston.'


def _winston(path: Path, address: str, amount: object) -> int:
    text = str(amount)
    if not is_id(address) or isinstance(amount, bool) or not (text.isascii() and text.isdecimal()):
        entry = f"{address[:50]!r}: {text[:50]!r}"
        raise ClientError(f"{entry} in {path} is not an address and its winston", hint=_HINT)
    return int(text) if len(text) <= len(str(WINSTON_MAX)) else WINSTON_MAX + 1


def begin(db: sqlite3.Connection, balances: Mapping[str, int] | None) -> bool:
    """Give a new network its balances, and return whether it has a genesis file. Raises `ClientError` if it
    started with others."""
    said = (
        ""
        if balances is None
        else b64url_encode(sha256(json.dumps(sorted(balances.items())).encode()).digest())
    )
    row = db.execute("SELECT digest FROM genesis").fetchone()
    if row is None:
        used = db.execute("SELECT 1 FROM wallet UNION ALL SELECT 1 FROM item LIMIT 1").fetchone()
        if said and used:
            raise ClientError(
                "this Arweave began without balances", hint="Start a new --data with --balances."
            )
        db.execute("INSERT INTO genesis VALUES (?)", [said])
        db.executemany(SET, [(address, str(amount), "") for address, amount in (balances or {}).items()])
    elif said and row[0] != said:
        raise ClientError(
            "this Arweave began with other balances than --balances says",
            hint="Leave --balances out to go on with what wallets have, or start a new --data.",
        )
    return bool(said or (row and row[0]))


def balance(db: sqlite3.Connection, address: str) -> int:
    """Return the balance of a wallet, in winston."""
    return int(_row(db, address)[0])


def last_tx(db: sqlite3.Connection, address: str) -> str:
    """Return the id of the last transaction that a wallet signed; '' if there is none."""
    return _row(db, address)[1]


def _row(db: sqlite3.Connection, address: str) -> tuple[str, str]:
    found = db.execute("SELECT balance, last_tx FROM wallet WHERE address = ?", [address]).fetchone()
    return found or ("0", "")


def mint(db: sqlite3.Connection, address: str, amount: int) -> int:
    """Add winston to a wallet, and return its balance. Raises `ClientError` beyond the total supply."""
    if not is_id(address):
        raise MalformedInput(f"{address[:60]!r} is not the address of a wallet", field="address")
    total = balance(db, address) + amount
    if total > WINSTON_MAX:
        raise ClientError(
            "the balance would exceed the total supply", hint=f"A wallet has at most {WINSTON_MAX} winston."
        )
    db.execute(SET, [address, str(total), ""])
    return total


def charge(db: sqlite3.Connection, transaction: Transaction, gift: int) -> None:
    """Move the winston of a transaction, and record it as the last of its wallet. `gift` is what a new wallet
    has. Raises `ClientError` if the funds do not suffice."""
    address = transaction.address
    new = db.execute("SELECT 1 FROM wallet WHERE address = ?", [address]).fetchone() is None
    funds = gift if new else balance(db, address)
    cost = transaction.quantity + transaction.reward
    if cost > funds:
        raise ClientError(
            f"wallet {address} has {funds} winston, and the transaction costs {cost}",
            hint=f"Mint some here: GET /mint/{address}/{cost}",
            id=transaction.id,
        )
    db.execute(SET, [address, str(funds - cost), transaction.id])
    if transaction.quantity:
        mint(db, b64url_encode(transaction.target), transaction.quantity)
