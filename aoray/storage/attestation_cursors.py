"""Attestation cursors: for each process of a shard, the last slot whose result and whose state the compute
unit signed.

Where in a message's journey: beside it, after the result. The attester signs what comes after these cursors;
its items and the moved cursors are written in one transaction, so a crash leaves both or neither. No slot is
left out, and none is attested twice. On failure: as in `storage.log`, whose transactions are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from aoray.protocol.ans104.items import DataItem
from aoray.protocol.engines import engine_named
from aoray.protocol.signed import ANS104, parse
from aoray.storage.sql import Tables, upsert_sql
from aoray.storage.uploads import publish

SCHEMA = """
CREATE TABLE attested (
    process_id TEXT PRIMARY KEY,
    nonce INTEGER NOT NULL,            -- all results up to this one
    state_nonce INTEGER NOT NULL       -- all states at checkpoints up to this one
) WITHOUT ROWID;
"""


class Cursor(NamedTuple):
    """The last nonces of a process that are attested: of results, and of states at checkpoints; -1 if there
    is none."""

    nonce: int = -1
    state_nonce: int = -1


class Attested(Tables):
    """The table of attestation cursors, in the log's database and under its term; `log.attested`."""

    def cursors(self, process_ids: Iterable[str]) -> dict[str, Cursor]:
        """Return the cursors of those processes that are in this log, in the given order."""
        rows = self._rows(
            "SELECT p.process_id, ifnull(a.nonce, -1), ifnull(a.state_nonce, -1) FROM json_each(?) j"
            " CROSS JOIN processes p ON p.process_id = j.value LEFT JOIN attested a USING (process_id)",
            orjson.dumps(list(process_ids)).decode(),
        )
        return {process_id: Cursor(*cursor) for process_id, *cursor in rows}

    def engines(self, process_ids: Iterable[str]) -> dict[str, int]:
        """Return the engine versions to which these processes are bound."""
        rows = self._rows(
            "SELECT e.process_id, e.assignment FROM json_each(?) j"
            " CROSS JOIN entries e ON e.process_id = j.value AND e.nonce = 0",
            orjson.dumps(list(process_ids)).decode(),
        )
        return {process_id: engine_named(parse(bytes(raw), ANS104).tags) for process_id, raw in rows}

    def keep(self, items: Sequence[DataItem], cursors: Mapping[str, Cursor]) -> None:
        """Store attestations for publication, and the cursors after them; on return both are on disk."""
        with self._writing() as db:
            publish(db, items)
            db.executemany(
                upsert_sql("attested", ["process_id"], Cursor._fields),
                [(process_id, *cursor) for process_id, cursor in cursors.items()],
            )
