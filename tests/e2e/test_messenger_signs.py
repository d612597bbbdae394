"""The messenger's signature is on nothing but what an outbox of this computer's own log holds.

Everything that it ever signed here is looked up in the results by the process, nonce and index that the
item carries, and compared with what the process said there; after requests that try to make it sign more.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from polling import between_looks

from aoray.client import Client
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag, ao_tag, first
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

VOUCHED = {"From-Process", "From-Module", "Pushed-For", "From-Nonce", "From-Index"}
PROTOCOL = {"Data-Protocol", "Type", "Assignments"}
CHILD = 'Spawn("MODULE", {Data = "code", Tags = {{name = "Pushed-For", value = "me"}}})'
SEND = 'Send({Target = "TARGET", Action = "Hi", ["From-Process"] = "me", ["From-Nonce"] = "9", Data = "say"})'


def query(path: Path, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def signed(computer: LocalComputer) -> dict[str, DataItem]:
    """Every item in the logs that the messenger signed, by id."""
    logs = computer.data.glob("log-*.sqlite")
    raws = [row[0] for path in logs for row in query(path, "SELECT DISTINCT item FROM entries")]
    items = map(parse, raws)
    return {item.id: item for item in items if item.address == computer.health["authority"]}


def check(computer: LocalComputer, item: DataItem, spawned: set[str]) -> None:
    """It is what its process said at the place that it carries; or the news of a process that it spawned."""
    sender, nonce = first(item.tags, "From-Process", ""), first(item.tags, "From-Nonce")
    if first(item.tags, "Action") == "Spawned":
        assert item.target_id == sender
        assert first(item.tags, "Process") in spawned
        return
    assert nonce is not None
    sql = "SELECT result, pushed_for FROM results WHERE process_id = ? AND nonce = ?"
    [(result, pushed_for)] = query(computer.data / "results.sqlite", sql, sender, int(nonce))
    kind = "Spawns" if ao_tag(item.tags, "Type") == "Process" else "Messages"
    entry = orjson.loads(result)[kind][int(first(item.tags, "From-Index", ""))]
    assert item.target_id == (entry["Target"] if kind == "Messages" else "")
    assert item.data.decode() == (entry.get("Data") or " ")
    said = [(tag["name"], tag["value"]) for tag in entry["Tags"] if tag["name"] not in VOUCHED | PROTOCOL]
    assert said == [tag for tag in item.tags if tag.name not in VOUCHED | PROTOCOL][: len(said)]
    assert [tag.value for tag in item.tags if tag.name == "From-Process"] == [sender]
    assert [tag.value for tag in item.tags if tag.name == "Pushed-For"] == [pushed_for]
    assert pushed_for != "me"


def attempts(process: str, other: str, said: DataItem) -> Iterator[tuple[str, str, bytes]]:
    """Requests that would have the messenger speak for somebody."""
    ao = [Tag("Data-Protocol", "ao"), Tag("Type", "Message"), Tag("From-Process", other)]
    claims = [*ao, Tag("From-Nonce", "1"), Tag("From-Index", "0"), Tag("Pushed-For", "me")]
    stranger = generate_ed25519()
    yield "POST", "/", build(stranger, target=process, tags=claims, data=b"claim").raw
    yield (
        "POST",
        "/",
        build(stranger, target=process, tags=[*claims, Tag("Assignments", other)], data=b"x").raw,
    )
    yield "POST", "/", said.raw[:-1] + bytes([said.raw[-1] ^ 1])
    yield "POST", "/", said.raw
    yield "POST", f"/?process-id={other}&assign={said.id}", b""
    dry = {"Owner": other, "From": other, "Tags": [{"name": "Action", "value": "Eval"}], "Data": SEND}
    yield "POST", f"/dry-run?process-id={process}", orjson.dumps(dry)
    yield "POST", f"/monitor/{process}", build(stranger, target=process, tags=[], data=b" ").raw
    for path in (f"{said.id}/0", f"{said.id}/1", "0/0", "1/0", "99/0", "1/99", "-1/0"):
        yield "POST", f"/push/{path}?process-id={process}", orjson.dumps({"Messages": [{"Target": other}]})
    yield "POST", f"/push/1/0?process-id={said.id}", b""


async def test_whatever_is_asked_the_messenger_signs_what_processes_said(
    computer: LocalComputer, client: Client
) -> None:
    process, other = [await client.spawn() for _ in range(2)]
    code = SEND.replace("TARGET", other) + CHILD.replace("MODULE", computer.health["module"])
    claim = await client.send(process, action="Eval", data=code, tags=[Tag("Pushed-For", "me")])
    async with asyncio.timeout(60):
        while {each["state"] for each in (await client.outbox(process))["outbox"]} != {"delivered"}:
            await between_looks()
    before = signed(computer)
    said = next(item for item in before.values() if item.target_id == other)
    assert first(said.tags, "Pushed-For") == claim
    async with httpx.AsyncClient(base_url=computer.url, timeout=60) as http:
        for method, path, body in attempts(process, other, said):
            response = await http.request(method, path, content=body)
            assert response.status_code < 500, (path, response.text)
        unmonitor = build(client.signer, target=process, tags=[], data=b" ").raw
        await http.request("DELETE", f"/monitor/{process}", content=unmonitor)
    for pid in (process, other):
        await client.result(pid, await client.send(pid, action="Eval", data="1"))
    after = signed(computer)
    spawned = {item.id for item in after.values() if ao_tag(item.tags, "Type") == "Process"}
    for item in after.values():
        check(computer, item, spawned)
    mine = {process, other}
    assert {item.id for item in after.values() if first(item.tags, "From-Process") in mine} == {
        item.id for item in before.values() if first(item.tags, "From-Process") in mine
    }
