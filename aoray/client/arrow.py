"""Logs as Arrow tables: which messages were scheduled, when, and with which results.

A log is read as any client of the network reads it: pages of the schedule, and the result of each slot, with
many requests at once. So this works with any computer, and over both transports. Tables are made in record
batches of `ROWS`, so a log of any length needs the memory of one batch. A message that is not evaluated yet
has no result (`evaluated` is false), and is not waited for.

| column | type | what | |---|---|---| | `process`, `nonce` | string, int64 | the slot | | `message`,
`assignment` | string | the ids of the message and of its assignment | | `scheduled` | timestamp[ms, UTC] |
when the message got the slot | | `block_height` | int64 | the height of Arweave at that time | | `owner` |
string | the address that signed the message; null if the item is elsewhere (an assigned message) | |
`from_process` | string | the process for which the owner says it sent the message; null if none | | `action`
| string | the `Action` tag; null if there is none | | `tags` | list<struct<name, value>> | all tags, in order
| | `data_bytes` | int64 | the length of the data as UTF-8 text | | `data` | string | the data; null unless
asked for | | `evaluated` | bool | whether there is a result | | `output` | string | what the process printed
or returned; null without a result | | `error` | string | why the message failed; null if it did not | | `gas`
| int64 | WASM instructions; null if the compute unit does not count them | | `outbox` | int64 | the number of
messages, spawns and assignments that the message sent |
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
    """Yield the logs of processes, one after another, in batches of at most `ROWS` rows, from the nonce after
    `after`."""
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
    """Return one row of the table, given a slot and its result (None if there is none yet)."""
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
    """Write batches into a file, and return the number of rows. The file appears once it is complete."""
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
