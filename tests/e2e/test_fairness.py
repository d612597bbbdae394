"""One hot process starves nobody: not where messages are ordered, nor where they are evaluated.

A part of the computer is stopped (SIGSTOP) until everything waits before it, so that what follows is decided
by the queues alone; then the order of the log, or of the results, is the proof.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from message_load import Load, messages, stopped
from metrics_text import figures

from aoray.client import Client
from aoray.protocol.ans104.items import DataItem
from aoray.testing.local_computer import LocalComputer
from benchmarks.http import Connection, prepare

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

HOT = 900  # that many results of a silent actor may be awaited
QUEUED = 600  # each is a connection that waits


def query(path: Path, sql: str, *values: str) -> list[tuple[str, Any]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute(sql, values).fetchall()


async def queued(computer: LocalComputer, requests: int) -> int:
    """Once so many requests wait in the gateway: how many items are in its queue (the rest is on its way)."""
    async with httpx.AsyncClient(base_url=computer.url) as http, asyncio.timeout(60):
        while True:
            counts = figures((await http.get("/metrics")).text)
            if counts["aoray_gateway_requests_in_flight"] == requests + 1:  # this one too
                return int(counts["aoray_gateway_items_queued"])


async def test_a_message_is_ordered_in_the_next_batch_however_many_wait_for_another_process(
    computer: LocalComputer, client: Client
) -> None:
    hot, other = await client.spawn(), await client.spawn()
    items = [*messages(client, hot, QUEUED), *messages(client, other, 1)]
    lines = [Connection(computer.url) for _ in items]
    with stopped(computer, "ShardActor"):
        posts = [asyncio.create_task(post(line, item)) for line, item in zip(lines, items[:-1], strict=False)]
        under_way = QUEUED - await queued(computer, QUEUED)
        posts.append(asyncio.create_task(post(lines[-1], items[-1])))
        assert await queued(computer, QUEUED + 1) == QUEUED + 1 - under_way
    assert set(await asyncio.gather(*posts)) == {202}
    for line in lines:
        line.close()
    logs = computer.data.glob("log-*.sqlite")
    rows = [row for path in logs for row in query(path, "SELECT process_id, seq FROM entries ORDER BY seq")]
    order = [process for process, _ in rows if process in (hot, other)][2:]  # without the processes
    assert len(order) == QUEUED + 1
    assert order.index(other) <= under_way + 1
    assert under_way < QUEUED // 2


async def post(line: Connection, item: DataItem) -> int:
    return (await line.request(prepare("POST", "/", item.raw))).status


async def test_a_message_is_evaluated_long_before_anothers_thousands_are_through(
    computer: LocalComputer, client: Client
) -> None:
    hot, *others = [await client.spawn() for _ in range(4)]
    for process in (hot, *others):
        await client.result(process, process)
    with stopped(computer, "ProcessActor"):
        await accepted(computer, messages(client, hot, HOT))
        late = [item for process in others for item in messages(client, process, 1)]
        await accepted(computer, late)
    for item in late:
        assert (await client.result(item.target_id, item.id))["Output"]["data"] == ""
    [last] = messages(client, hot, 1)
    await accepted(computer, [last])  # refused at first: so many of its own are late
    await client.result(hot, last.id)
    rows = query(computer.data / "results.sqlite", "SELECT process_id, nonce FROM results ORDER BY rowid")
    order = [process for process, nonce in rows if process == hot or (process in others and nonce)]
    assert len(order) == 1 + HOT + 1 + 3
    placed = dict(query(computer.data / "log-0.sqlite", "SELECT process_id, actor FROM processes"))
    # Placed on the least loaded of the two actors: so one of the three at least is where the hot one is.
    beside = [process for process in others if placed[process] == placed[hot]]
    assert beside
    for process in beside:
        before = order.index(process) - 1
        assert before < HOT // 10, "the hot one's messages that were evaluated before"


async def accepted(computer: LocalComputer, items: Sequence[DataItem]) -> None:
    load = Load(items, clients=32)
    await load.run(computer)
    assert len(load.acknowledged) == len(items)
