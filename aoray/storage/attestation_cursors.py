"""What of each process is attested: for every process of a shard the last slot whose result, and whose state,
the compute unit has signed.

Beside a message's journey, after its result. The attester signs what comes after these cursors; here its
items and the moved cursors are written in one transaction, so that a crash leaves both or neither: no slot is
left out, and none is attested again. On failure: as `storage.log`, whose transactions these are.
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
    """How far a process is attested; -1 means not at all."""

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
        """Return the versions of the engine that these processes are bound to."""
        rows = self._rows(
            "SELECT e.process_id, e.assignment FROM json_each(?) j"
            " CROSS JOIN entries e ON e.process_id = j.value AND e.nonce = 0",
            orjson.dumps(list(process_ids)).decode(),
        )
        return {process_id: engine_named(parse(bytes(raw), ANS104).tags) for process_id, raw in rows}

    def keep(self, items: Sequence[DataItem], cursors: Mapping[str, Cursor]) -> None:
        """Publish attestations, and store how far they reach; on return both are on disk."""
        with self._writing() as db:
            publish(db, items)
            db.executemany(
                upsert_sql("attested", ["process_id"], Cursor._fields),
                [(process_id, *cursor) for process_id, cursor in cursors.items()],
            )
