"""The scheduler unit: what others read of a process's order."""

from __future__ import annotations

import httpx
from fake_computer import NOWHERE, Computer

from aoray.gateway import apps
from aoray.protocol.ans104.items import build
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag, as_json


async def nonces(client: httpx.AsyncClient, path: str) -> tuple[list[str], bool, list[str]]:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    page = response.json()
    slots = [dict(map(dict.values, edge["node"]["assignment"]["tags"])) for edge in page["edges"]]
    found = [slot["Nonce"] for slot in slots]
    return found, page["page_info"]["has_next_page"], [edge["cursor"] for edge in page["edges"]]


async def test_a_post_is_answered_with_its_timestamp(
    computer: Computer, scheduler: httpx.AsyncClient
) -> None:
    process = computer.process_item()
    body = (await scheduler.post("/", content=process.raw)).json()
    assert body["id"] == process.id
    assert isinstance(body["timestamp"], int)
    other = await computer.spawn(Tag("N", "2"))
    message = await computer.send(process.id)
    body = (await scheduler.post(f"/?process-id={other}&assign={message}")).json()
    entry = computer.gateway.lookups.reader.entry(other, message)
    assert entry is not None
    assert body == {"timestamp": entry.timestamp, "id": entry.assignment_id}


async def test_a_slot_is_read_by_its_message_or_its_assignment(
    computer: Computer, scheduler: httpx.AsyncClient, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    item = build(
        computer.user,
        target=pid,
        anchor=b"a" * 32,
        tags=[Tag("Data-Protocol", "ao"), Tag("Type", "Message"), Tag("Type", "twice")],
        data=b"h\xc3\xa9 \xff",
    )
    await computer.gateway.ingress.take(item.raw)
    node = (await scheduler.get(f"/{item.id}?process-id={pid}")).json()
    assert node["message"] == {
        "id": item.id,
        "owner": {"address": computer.user.address, "key": item.owner_key},
        "data": "hé \N{REPLACEMENT CHARACTER}",
        "tags": as_json(item.tags),
        "signature": b64url_encode(item.signature),
        "anchor": "a" * 32,
        "target": pid,
    }
    assignment = node["assignment"]
    assert list(assignment) == ["id", "owner", "tags", "signature", "anchor", "target"]
    assert assignment["owner"]["address"] == computer.signer.address
    assert (assignment["anchor"], assignment["target"]) == (None, "")
    assert {"name": "Message", "value": item.id} in assignment["tags"]
    for client, any_id in ((scheduler, assignment["id"]), (every, item.id)):
        assert (await client.get(f"/{any_id}?process-id={pid}")).json() == node


async def test_an_assigned_message_is_null_since_it_lives_elsewhere(
    computer: Computer, scheduler: httpx.AsyncClient
) -> None:
    first, second = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    message = await computer.send(first)
    await computer.gateway.ingress.assign(second, message)
    assert (await scheduler.get(f"/{message}?process-id={second}")).json()["message"] is None


async def test_a_process_is_paged_by_time_from_itself_on(
    computer: Computer, scheduler: httpx.AsyncClient, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    for number in range(4):
        await computer.send(pid, data=str(number).encode())
    found, more, cursors = await nonces(scheduler, f"/{pid}?process-id={pid}&limit=3")
    assert (found, more) == (["0", "1", "2"], True)
    found, more, last = await nonces(scheduler, f"/{pid}?process-id={pid}&from={cursors[-1]}")
    assert (found, more) == (["3", "4"], False)
    assert (await nonces(scheduler, f"/{pid}?from={cursors[0]}&to={cursors[2]}"))[0] == ["1", "2"]
    assert (await nonces(every, f"/{pid}?limit=undefined"))[0] == ["0", "1", "2", "3", "4"]
    assert (await nonces(scheduler, f"/{pid}"))[0] == ["0", "1", "2", "3", "4"]
    assert (await nonces(scheduler, f"/{pid}?from={last[-1]}")) == ([], False, [])


async def test_a_process_is_paged_by_nonce(computer: Computer, scheduler: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    for number in range(4):
        await computer.send(pid, data=str(number).encode())
    assert await nonces(scheduler, f"/{pid}?process-id={pid}&from-nonce=-1&limit=2") == (
        ["0", "1"],
        True,
        ["0", "1"],
    )
    assert (await nonces(scheduler, f"/{pid}?from-nonce=1&to-nonce=3"))[0] == ["2", "3"]
    assert (await nonces(scheduler, f"/{pid}?to-nonce=1"))[0] == ["0", "1"]


async def test_a_process_and_its_latest_message(computer: Computer, scheduler: httpx.AsyncClient) -> None:
    item = computer.process_item(Tag("Name", "it"))
    pid = item.id
    await computer.gateway.ingress.take(item.raw)
    body = (await scheduler.get(f"/processes/{pid}")).json()
    assert (body["process_id"], body["block"], body["target"]) == (pid, "000000000007", None)
    assert (body["data"], body["signature"]) == ("boot", b64url_encode(item.signature))
    assert isinstance(body["timestamp"], int)
    assert body["owner"] == {"address": computer.user.address, "key": item.owner_key}
    response = await scheduler.get(f"/{pid}/latest")
    assert (response.status_code, response.json()["error"]) == (400, "Latest message not available")
    message = await computer.send(pid)
    assert (await scheduler.get(f"/{pid}/latest")).json()["message"]["id"] == message


async def test_time_and_address(computer: Computer, scheduler: httpx.AsyncClient) -> None:
    body = (await scheduler.get("/timestamp?process-id=x")).json()
    assert (body["block_height"], body["timestamp"].isdecimal()) == ("000000000042", True)
    body = (await scheduler.get("/")).json()
    assert (body["address"], body["timestamp"].isdecimal()) == (computer.gateway.addresses.scheduler, True)


async def test_what_is_not_there_is_refused(computer: Computer, scheduler: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    for path, status in (
        (f"/{NOWHERE}", 404),
        (f"/{NOWHERE}?process-id={pid}", 404),
        (f"/{pid}?process-id={NOWHERE}", 404),
        (f"/short?process-id={pid}", 400),
        ("/short", 404),
        (f"/{pid}?limit=x", 400),
        (f"/{pid}?from=x", 400),
        (f"/processes/{NOWHERE}", 404),
        (f"/{NOWHERE}/latest", 404),
    ):
        response = await scheduler.get(path)
        assert response.status_code == status, path
        assert response.json()["error"]


async def test_where_all_units_answer_an_id_alone_is_arweaves(computer: Computer) -> None:
    from fastapi import APIRouter

    arweave = APIRouter()
    arweave.add_api_route("/{id}", lambda id: {"data": id})
    pid = await computer.spawn()
    async with computer.http(apps.all_units(computer.gateway, arweave)) as client:
        assert (await client.get(f"/{pid}")).json() == {"data": pid}
        assert "edges" in (await client.get(f"/{pid}?limit=1")).json()
