"""Crons over HTTP: started and stopped by their owner alone; what can never tick is refused at the spawn."""

from __future__ import annotations

import httpx
from fake_computer import NOWHERE, Computer

from aoray.client import unique_anchor
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.key_files import load_key


def order(signer: Signer, process_id: str, *tags: Tag) -> bytes:
    """An item to start or stop crons with."""
    return build(signer, target=process_id, anchor=unique_anchor(), tags=tags, data=b" ").raw


async def test_monitors_are_kept_and_taken_away(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    start, stop = order(computer.user, pid), order(computer.user, pid)
    response = await every.post(f"/monitor/{pid}", content=start)
    assert (response.status_code, response.text) == (200, "Monitoring process")
    assert (await every.get(f"/monitor/{pid}")).json() == {
        "process": pid,
        "monitored": True,
        "missed": "one",
        "crons": [],
    }
    response = await every.post(f"/monitor/{pid}", content=start)
    assert (response.status_code, response.json()["error"]) == (400, "Process already being monitored")
    response = await every.request("DELETE", f"/monitor/{pid}", content=stop)
    assert (response.status_code, response.text) == (200, "Process deleted")
    assert (await every.request("DELETE", f"/monitor/{pid}", content=stop)).status_code == 404
    assert (await every.post(f"/monitor/{pid}", content=b"")).status_code == 400
    response = await every.post(f"/monitor/{pid}", content=start[:-1] + b"!")
    assert response.json()["code"] == "bad_signature"
    assert (await every.post(f"/monitor/{NOWHERE}", content=start)).status_code == 404


async def test_an_item_that_was_seen_starts_or_stops_no_crons_again(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))

    async def status(method: str, content: bytes) -> int:
        return (await every.request(method, f"/monitor/{pid}", content=content)).status_code

    start, stop = order(computer.user, pid), order(computer.user, pid)
    assert await status("POST", start) == 200
    assert (await status("DELETE", start), await status("DELETE", stop)) == (400, 200)
    assert [await status("POST", used) for used in (start, stop)] == [400, 400]
    said = [Tag("Action", "Unmonitor")], [Tag("Action", "Monitor")]
    assert await status("POST", order(computer.user, pid, *said[0])) == 400
    assert await status("POST", order(computer.user, pid, *said[1])) == 200
    assert await status("DELETE", order(computer.user, pid, *said[1])) == 400
    assert await status("DELETE", order(computer.user, pid, *said[0])) == 200


async def test_only_the_owner_starts_and_stops_crons(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))
    for method in ("POST", "DELETE"):
        theirs = order(generate_ed25519(), pid)
        refused = await every.request(method, f"/monitor/{pid}", content=theirs)
        assert (refused.status_code, refused.json()["process_id"]) == (400, pid)
    assert not (await every.get(f"/monitor/{pid}")).json()["monitored"]
    assert (await every.post(f"/monitor/{pid}", content=order(computer.user, pid))).is_success
    assert (await every.get(f"/monitor/{pid}")).json()["crons"][0]["cron"] == "0-2-seconds"


async def test_the_crons_of_a_spawned_process_are_its_parents_owners(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    """However far up the chain of spawns; the messenger, which signed the spawns, gives no orders."""
    messenger = load_key(computer.settings, "authority")
    parent = await computer.spawn()
    for _ in range(3):
        process = computer.process_item(Tag("Cron-Interval", "2-seconds"), Tag("From-Process", parent))
        spawned = build(messenger, tags=process.tags, data=b" ")
        await computer.gateway.ingress.spawn(spawned)
        parent = spawned.id
    for method in ("POST", "DELETE"):
        for stranger in (generate_ed25519(), messenger):
            response = await every.request(method, f"/monitor/{parent}", content=order(stranger, parent))
            assert response.status_code == 400 and computer.user.address in response.json()["error"]
        response = await every.request(method, f"/monitor/{parent}", content=order(computer.user, parent))
        assert response.status_code == 200


async def test_a_stranger_does_not_own_what_names_his_process_as_its_parent(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    """Only where the messenger signed, `From-Process` is true."""
    theirs = generate_ed25519()
    parent = await computer.spawn()
    process = computer.process_item(Tag("Cron-Interval", "2-seconds"), Tag("From-Process", parent))
    spawned = build(theirs, tags=process.tags, data=b" ")
    await computer.gateway.ingress.spawn(spawned)
    response = await every.post(f"/monitor/{spawned.id}", content=order(computer.user, spawned.id))
    assert response.status_code == 400
    assert (await every.post(f"/monitor/{spawned.id}", content=order(theirs, spawned.id))).is_success


async def test_the_owners_public_messages_do_not_start_or_stop_crons(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))
    sent = computer.message_item(pid)
    assert (await every.post("/", content=sent.raw)).status_code == 202
    for method in ("POST", "DELETE"):
        refused = await every.request(method, f"/monitor/{pid}", content=sent.raw)
        assert (refused.status_code, refused.json()["process_id"]) == (400, pid)
    assert not (await every.get(f"/monitor/{pid}")).json()["monitored"]


async def test_a_cron_that_cannot_be_is_refused_at_the_spawn(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    raw = computer.process_item(Tag("Cron-Interval", "often")).raw
    response = await every.post("/", content=raw)
    assert (response.status_code, response.json()["field"]) == (400, "tags.Cron-Interval")
    assert "10-seconds" in response.json()["hint"]
