"""Logs as Arrow tables: what was scheduled, when, and what it gave; for whoever wants columns.

Read as any reader of the network would: pages of the schedule, and the result of each slot, many asked for
at once. So it works with any computer, and over both roads. It comes in record batches of `ROWS`, so a log of
any length needs the memory of one. What is not evaluated yet has no result (`evaluated` is false); it is not
waited for.

| column | type | what |
|---|---|---|
| `process`, `nonce` | string, int64 | the slot |
| `message`, `assignment` | string | ids of what has the slot, and of the scheduler's word for it |
| `scheduled` | timestamp[ms, UTC] | when it got the slot |
| `block_height` | int64 | Arweave's then |
| `owner` | string | who signed the message; null where the item lives elsewhere (assigned) |
| `from_process` | string | the process that the owner says it speaks for; null if none |
| `action` | string | its `Action` tag; null if it has none |
| `tags` | list<struct<name, value>> | all of them, in order |
| `data_bytes` | int64 | how long the data is, as UTF-8 text |
| `data` | string | the data; null unless asked for |
| `evaluated` | bool | whether there is a result |
| `output` | string | what it printed or returned; null without a result |
| `error` | string | why it failed; null if it did not |
| `gas` | int64 | WASM instructions; null where the compute unit does not count |
| `outbox` | int64 | messages, spawns and assignments that it sent |
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aoray.client.concurrency import map_concurrently
from aoray.client.models import result_of
from aoray.client.slots import LogSlot, following
from aoray.client.unit_client import Client
from aoray.protocol.tags import as_json, first

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1000
IN_FLIGHT = 64
Format = Literal["parquet", "arrow"]
Row = tuple[LogSlot, Mapping[str, Any] | None]


def schema() -> pa.Schema:
    """Return the Arrow schema of a log's table."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    tag = pa.struct([pa.field("name", text), pa.field("value", text)])
    return pa.schema(
        {
            "process": text,
            "nonce": number,
            "message": text,
            "assignment": text,
            "scheduled": pa.timestamp("ms", tz="UTC"),
            "block_height": number,
            "owner": text,
            "from_process": text,
            "action": text,
            "tags": pa.list_(tag),
            "data_bytes": number,
            "data": text,
            "evaluated": pa.bool_(),
            "output": text,
            "error": text,
            "gas": number,
            "outbox": number,
        }
    )


async def batches(
    client: Client,
    attempt: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    processes: Iterable[str],
    *,
    after: int,
    data: bool,
) -> AsyncIterator[pa.RecordBatch]:
    """Yield the logs of processes, one after another, in batches of at most `ROWS` rows."""
    import pyarrow as pa

    async def with_result(index: int, slot: LogSlot) -> Row:
        return slot, await attempt(partial(client.result_nowait, slot.process, slot.message))

    made = schema()
    slots: list[LogSlot] = []

    async def filled() -> pa.RecordBatch:
        found = [row async for row in map_concurrently(slots, with_result, in_flight=IN_FLIGHT)]
        place = {(slot.process, slot.nonce): at for at, slot in enumerate(slots)}
        found.sort(key=lambda row: place[row[0].process, row[0].nonce])
        slots.clear()
        return pa.RecordBatch.from_pylist([row_of(*row, data=data) for row in found], schema=made)

    for process in processes:
        async for slot in following(client, attempt, process, after, False):
            slots.append(slot)
            if len(slots) == ROWS:
                yield await filled()
    if slots:
        yield await filled()


def row_of(slot: LogSlot, raw: Mapping[str, Any] | None, *, data: bool) -> dict[str, Any]:
    """Return one row of the table, from a slot and its result."""
    result = None if raw is None else result_of(raw, slot.process, slot.message)
    sent = sum(len((raw or {}).get(kind) or ()) for kind in ("Messages", "Spawns", "Assignments"))
    gas = (raw or {}).get("GasUsed")
    return {
        "process": slot.process,
        "nonce": slot.nonce,
        "message": slot.message,
        "assignment": slot.assignment,
        "scheduled": slot.timestamp,
        "block_height": slot.block_height,
        "owner": slot.owner or None,
        "from_process": slot.from_process or None,
        "action": first(slot.tags, "Action"),
        "tags": as_json(slot.tags),
        "data_bytes": len(slot.data.encode()),
        "data": slot.data if data else None,
        "evaluated": result is not None,
        "output": result.output if result else None,
        "error": (result.error or None) if result else None,
        "gas": gas if isinstance(gas, int) else None,
        "outbox": sent if result else None,
    }


def write(found: Iterator[pa.RecordBatch], file: Path, kind: Format) -> int:
    """Write batches into a file, and return the number of rows. The file appears when it is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = file.with_name(f".{file.name}.part")
    rows = 0
    try:
        opened = pq.ParquetWriter(part, schema()) if kind == "parquet" else pa.ipc.new_file(part, schema())
        with opened as writer:
            for batch in found:
                writer.write_batch(batch)
                rows += batch.num_rows
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return rows
