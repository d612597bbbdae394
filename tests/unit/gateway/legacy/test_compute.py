"""The compute unit: results that are waited for, pages with cursors, dry runs, memory."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from fake_computer import EMPTY, NOWHERE, Computer
from legacy_units import compute_unit
from polling import until

from aoray import limits
from aoray.cli.render import describe_status
from aoray.cluster.names import own_actor
from aoray.errors import ClientError, Diverged, Overloaded, Unavailable
from aoray.gateway.legacy import dry_runs
from aoray.gateway.legacy.cursors import cursor
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import Tag
from aoray.storage.records import Divergence

OWN_KEYS = ["Messages", "Assignments", "Spawns", "Output", "GasUsed"]


async def waiting(computer: Computer, count: int) -> None:
    """Until that many results are waited for and watched."""
    await until(lambda: len(computer.gateway.pending_results) >= count and len(computer.watched) >= count)


async def test_a_stored_result_is_served_by_any_of_its_ids_as_it_was_stored(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    message = await computer.send(pid)
    entry = computer.gateway.lookups.reader.entry(pid, message)
    assert entry is not None
    for any_id in (message, entry.assignment_id, pid):
        response = await every.get(f"/result/{any_id}?process-id={pid}&no-busy=1")
        assert (response.status_code, response.content) == (200, orjson.dumps(EMPTY))
        assert response.headers["content-type"] == "application/json"
        assert list(response.json()) == OWN_KEYS
    assert computer.calls["watch"] == 0


async def test_a_result_that_is_not_there_yet_is_waited_for(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    computer.held = []
    message = await computer.send(pid)
    entry = computer.gateway.lookups.reader.entry(pid, message)
    assert entry is not None
    asked = [
        asyncio.create_task(every.get(f"/result/{any_id}?process-id={pid}"))
        for any_id in (message, message, entry.assignment_id)
    ]
    await waiting(computer, 1)
    computer.release()
    assert [(await one).content for one in asked] == [orjson.dumps(EMPTY)] * 3
    assert len(computer.gateway.pending_results) == 0
    assert computer.calls["watch"] <= 3
    stored = computer.results.get
    computer.results.get = None  # type: ignore[assignment, method-assign]
    again = await every.get(f"/result/{message}?process-id={pid}")
    computer.results.get = stored  # type: ignore[method-assign]
    assert again.status_code == 200, "a result that arrived a moment ago is served from memory"


async def test_a_result_is_found_in_the_store_when_its_delivery_is_lost(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    computer.gateway.pending_results._rewatch_s = 0.001
    pid = await computer.spawn()
    computer.held = []
    message = await computer.send(pid)
    computer.failures["watch"] = [Unavailable("restarting") for _ in range(10)]
    asked = asyncio.create_task(every.get(f"/result/{message}?process-id={pid}"))
    await until(lambda: computer.calls["watch"] >= 3)
    computer.release()
    assert (await asked).content == orjson.dumps(EMPTY)
    assert computer.calls["locate"] > 0, "the actor is looked up anew"


async def test_waiting_ends_with_202_and_how_far_the_process_is(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    computer.held = []
    await computer.send(pid, data=b"1")
    message = await computer.send(pid, data=b"2")
    response = await every.get(f"/result/{message}?process-id={pid}&wait=1")
    assert response.status_code == 202
    body = response.json()
    assert (body["process"], body["current"], body["target"]) == (pid, 0, 2)
    assert isinstance(body["message"], str)
    assert len(computer.gateway.pending_results) == 0


async def test_who_waits_for_a_process_that_waits_for_the_machine_is_told_so(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    computer.held = []
    message = await computer.send(pid, data=b"1")
    computer.waits[pid] = {"reason": "no module on Arweave", "seconds": 3.0, "attempts": 2}
    body = (await every.get(f"/result/{message}?process-id={pid}&wait=1")).json()
    assert body["waiting"] == computer.waits[pid] and "waits for the machine" in body["message"]
    status = (await every.get("/status")).json()
    assert status["waits"] == computer.waits and status["processes_waiting"] >= 1
    assert f"waits        {pid} for 3 s, tried 2 times: no module on Arweave" in describe_status(status)


async def test_the_status_names_processes_with_an_actor_of_their_own_that_wait(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pooled, own = await computer.spawn(), await computer.spawn(Tag("Actor", "own"))
    assert computer.gateway.locations.get(own) == own_actor(own)
    wait = {"reason": "no module on Arweave", "seconds": 3.0, "attempts": 2}
    computer.waits |= {pooled: wait, own: wait}
    status = (await every.get("/status")).json()
    assert status["waits"] == computer.waits
    computer.failures["stats"] = [Unavailable("the shard is being restarted")] * 2
    async with computer.http(compute_unit(computer.gateway)) as another:
        assert (await another.get("/status")).json()["waits"] == {pooled: wait}


async def test_a_process_whose_results_differ_is_answered_at_once_and_named(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid, other = await computer.spawn(), await computer.spawn(Tag("Name", "other"))
    served = await computer.send(pid, data=b"1")
    computer.held = []
    message = await computer.send(pid, data=b"2")
    computer.results.diverge(Divergence(pid, 1, b"stored", b"evaluated", 5))
    await computer.gateway.halted.look()
    for path in (f"/result/{message}?process-id={pid}", f"/result/2?process-id={pid}"):
        response = await every.get(path)
        assert response.status_code == 409 and response.json()["code"] == "diverged", response.text
    assert (await every.get(f"/result/{served}?process-id={pid}")).status_code == 200
    with pytest.raises(Diverged):
        await computer.gateway.ingress.take(computer.message_item(pid, data=b"3").raw)
    await computer.gateway.ingress.take(computer.message_item(other, data=b"3").raw)
    status = (await every.get("/status")).json()
    assert status["diverged"][pid]["nonce"] == 1 and status["processes_diverged"] == 1
    assert f"diverged     {pid} is stopped: slot 1 gave" in describe_status(status)


async def test_who_waits_for_a_long_message_sees_how_far_it_is(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    computer.held = []
    message = await computer.send(pid, data=b"1")
    body = (await every.get(f"/result/{message}?process-id={pid}&wait=1")).json()
    assert "evaluating" not in body
    computer.long[pid] = {"nonce": 1, "fuel": 5, "fuel_max": 9, "seconds": 0.1}
    body = (await every.get(f"/result/{message}?process-id={pid}&wait=1")).json()
    assert body["evaluating"] == computer.long[pid]
    computer.failures["progress"] = [Unavailable("the actor is restarted")]
    body = (await every.get(f"/result/{message}?process-id={pid}&wait=1")).json()
    assert "evaluating" not in body


async def test_who_follows_waits_for_the_slot_that_is_still_to_come(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    there = await every.get(f"/result/0?process-id={pid}")
    assert (there.status_code, there.content) == (200, orjson.dumps(EMPTY))
    early = await every.get(f"/result/1?process-id={pid}&wait=1")
    assert (early.status_code, early.json()["current"], early.json()["target"]) == (202, 0, 1)
    followed = asyncio.create_task(every.get(f"/result/1?process-id={pid}"))
    await waiting(computer, 1)
    await computer.send(pid)
    answer = await followed
    assert (answer.status_code, answer.content) == (200, orjson.dumps(EMPTY))
    assert len(computer.gateway.pending_results) == 0
    far = await every.get(f"/result/{10**18 - 1}?process-id={pid}")
    assert (far.status_code, far.json()["code"]) == (404, "unknown_message")
    nowhere = await every.get(f"/result/1?process-id={NOWHERE}")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "unknown_process")


async def test_who_follows_in_a_crowd_looks_in_place_of_waiting(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.gateway.in_flight.crowd.slots.most = 2
    monkeypatch.setattr(limits, "WAIT_CROWDED_SECONDS", 0.01)
    pid = await computer.spawn()
    first = asyncio.create_task(every.get(f"/result/1?process-id={pid}"))
    await waiting(computer, 1)
    assert (await every.get(f"/result/1?process-id={pid}")).status_code == 202
    await computer.send(pid)
    assert (await first).status_code == 200


async def test_results_of_nothing_are_refused_at_once(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    for path, status, code in (
        (f"/result/{NOWHERE}?process-id={pid}", 404, "unknown_message"),
        (f"/result/{NOWHERE}?process-id={NOWHERE}", 404, "unknown_process"),
        (f"/result/{pid}", 400, "malformed"),
        (f"/result/short?process-id={pid}", 400, "malformed"),
        (f"/result/{pid}?process-id=short", 400, "malformed"),
        (f"/result/{NOWHERE}?process-id={pid}&wait=x", 400, "malformed"),
    ):
        response = await every.get(path)
        assert (response.status_code, response.json()["code"]) == (status, code), path


def echo(entry: LogEntry) -> dict[str, Any]:
    """Each slot says its nonce; slot 3 is an error."""
    return EMPTY | {"Output": str(entry.nonce)} | ({"Error": "no", "Output": ""} if entry.nonce == 3 else {})


async def outputs(every: httpx.AsyncClient, pid: str, query: str) -> tuple[list[str], bool, list[str]]:
    response = await every.get(f"/results/{pid}?{query}")
    assert response.status_code == 200, response.text
    page = response.json()
    edges = page["edges"]
    assert all(list(edge["node"]) == ["Messages", "Assignments", "Spawns", "Output"] for edge in edges)
    found = [edge["node"]["Output"] for edge in edges]
    return found, page["pageInfo"]["hasNextPage"], [edge["cursor"] for edge in edges]


async def test_results_are_paged_both_ways_by_their_cursors(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    computer.evaluate = echo
    pid = await computer.spawn()
    for number in range(5):
        await computer.send(pid, data=str(number).encode())
    assert (await outputs(every, pid, ""))[:2] == (["0", "1", "2", "4", "5"], False)
    found, more, cursors = await outputs(every, pid, "sort=ASC&limit=2")
    assert (found, more) == (["0", "1"], True)
    found, more, cursors = await outputs(every, pid, f"limit=2&from={cursors[-1]}")
    assert (found, more) == (["2", "4"], True)
    assert (await outputs(every, pid, f"from={cursors[-1]}"))[:2] == (["5"], False)
    found, more, newest = await outputs(every, pid, "sort=DESC&limit=2")
    assert (found, more) == (["5", "4"], True)
    assert (await outputs(every, pid, f"sort=ASC&from={newest[-1]}"))[0] == ["5"], (
        "`from` is older in DESC too"
    )
    assert (await outputs(every, pid, f"to={cursors[-1]}&from={cursors[0]}"))[0] == ["4"]
    assert (await outputs(every, pid, "limit=undefined"))[0] == ["0", "1", "2", "4", "5"]


async def test_the_sort_in_a_cursor_wins_so_that_its_text_stays(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    for number in range(3):
        await computer.send(pid, data=str(number).encode())
    _, _, first = await outputs(every, pid, "sort=DESC&limit=5")
    _, _, later = await outputs(every, pid, f"sort=ASC&limit=1000&from={first[-1]}")
    assert later == first[:-1]


async def test_pages_of_results_refuse_bad_queries(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    for query in ("sort=up", "limit=x", "limit=-1", "from=x", "to=x"):
        assert (await every.get(f"/results/{pid}?{query}")).status_code == 400, query
    assert (await every.get(f"/results/{NOWHERE}")).status_code == 404
    assert (await every.get("/results/short")).status_code == 404
    far = cursor(10**17, 1, "ASC")
    assert (await outputs(every, pid, f"from={far}"))[0] == []


async def test_a_dry_run_answers_what_the_actor_does(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    body = {"Id": "1234", "Owner": "1234", "Data": {"a": 1}, "Tags": []}
    response = await every.post(f"/dry-run?process-id={pid}", json=body)
    assert (response.status_code, response.json()["Output"]) == (200, {"a": 1})
    computer.failures["dry_run"] = [Unavailable("restarting")]
    assert (await every.post(f"/dry-run?process-id={pid}", json=body)).status_code == 200


async def test_a_dry_run_whose_client_is_gone_is_dropped_at_the_actor(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_runs, "LOOK_SECONDS", 0.01)
    pid, asked, dropped = await computer.spawn(), list[str](), list[str]()

    async def never(process_id: str, message: dict[str, Any], ticket: str) -> None:
        asked.append(ticket)
        await asyncio.Event().wait()

    async def gone() -> bool:
        return True

    async def drop(ticket: str) -> None:
        dropped.append(ticket)

    monkeypatch.setattr(computer, "_dry_run", never)
    monkeypatch.setattr(computer, "_drop_dry_run", drop, raising=False)
    with pytest.raises(ClientError, match="went away"):
        await dry_runs.dry_run(computer.gateway, pid, {}, "1.2.3.4", gone)
    crowd = computer.gateway.in_flight.crowd
    assert asked == dropped and (crowd.dry_runs.held, crowd.dry_runs_dropped_total) == (0, 1)


async def test_the_body_of_a_dry_run_counts_until_it_is_answered(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def dry_run(*_: Any) -> Any:
        begun.set()
        await goes_on.wait()
        return EMPTY

    monkeypatch.setattr(computer, "_dry_run", dry_run)
    pid = await computer.spawn()
    asked = asyncio.create_task(every.post(f"/dry-run?process-id={pid}", json={"Data": "x" * 1000}))
    await begun.wait()
    assert computer.gateway.in_flight.bodies.bytes > 1000
    goes_on.set()
    assert (await asked).status_code == 200
    assert computer.gateway.in_flight.bodies.bytes == 0


async def test_bad_dry_runs_are_refused(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await computer.spawn()
    for query, content, status in (
        ("", b"{}", 400),
        (f"process-id={NOWHERE}", b"{}", 404),
        (f"process-id={pid}", b"{", 400),
        (f"process-id={pid}", b"[]", 400),
        (f"process-id={pid}", b"", 400),
        (f"process-id={pid}", b"\xff\xfe", 400),
    ):
        response = await every.post(f"/dry-run?{query}", content=content)
        assert response.status_code == status, (query, content)
        assert response.json()["error"]
    computer.failures["dry_run"] = [Overloaded("busy", retry_after_s=3)]
    response = await every.post(f"/dry-run?process-id={pid}", content=b"{}")
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    monkeypatch.setattr(computer.gateway.in_flight.crowd.dry_runs, "most", 0)
    assert (await every.post(f"/dry-run?process-id={pid}", content=b"{}")).status_code == 503


async def test_state_is_the_memory_and_where_it_is_of(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    response = await every.get(f"/state/{pid}")
    assert (response.content, response.headers["content-type"]) == (b"memory", "application/octet-stream")
    headers = [response.headers[f"last-{name}"] for name in ("ordinate", "timestamp", "block-height")]
    assert headers == ["3", "1700000000000", "7"]
    assert (await every.get(f"/state/{NOWHERE}")).status_code == 404


async def test_cron_pages_the_results_of_ticks_alone(computer: Computer, every: httpx.AsyncClient) -> None:
    computer.evaluate = lambda entry: EMPTY | {"Output": entry.nonce}
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"), Tag("Cron-Tag-Action", "Tick"))
    assert (await every.get(f"/cron/{pid}")).json() == {"pageInfo": {"hasNextPage": False}, "edges": []}
    await computer._monitor(pid)
    for _ in range(3):
        computer.tick(2000)
        await computer.send(pid, data=b"%d" % computer.now_ms)

    async def page(query: str) -> tuple[list[int], dict[str, Any]]:
        body = (await every.get(f"/cron/{pid}{query}")).json()
        return [edge["node"]["Output"] for edge in body["edges"]], body

    nonces, whole = await page("")
    assert nonces == [1, 3, 5]
    all_of_them = (await every.get(f"/results/{pid}")).json()["edges"]
    assert [edge for edge in all_of_them if edge["node"]["Output"] in nonces] == whole["edges"]
    latest = (await every.get(f"/results/{pid}?sort=DESC&limit=1")).json()["edges"][-1]["cursor"]
    assert (await page(f"?from={latest}&limit=50"))[0] == [], (
        "as the messenger of the contract asks, unencoded"
    )
    first, cut = await page("?limit=2")
    assert (first, cut["pageInfo"]["hasNextPage"]) == ([1, 3], True)
    assert (await page(f"?from={cut['edges'][-1]['cursor']}"))[0] == [5]
    assert (await every.get(f"/cron/{pid}?limit=x")).status_code == 400
    assert (await every.get(f"/cron/{NOWHERE}")).status_code == 404


async def test_the_unit_alone_says_who_it_is(computer: Computer) -> None:
    async with computer.http(compute_unit(computer.gateway)) as client:
        body = (await client.get("/")).json()
        assert body["address"] == computer.gateway.addresses.compute
        assert isinstance(body["timestamp"], int)
        pid = await computer.spawn(Tag("N", "1"))
        assert (await client.get(f"http://ao//result/{pid}?process-id={pid}")).status_code == 200
        assert (await client.post("/", content=b"x")).status_code == 405


async def test_nobody_is_waited_for_who_went_away(computer: Computer) -> None:
    computer.gateway.pending_results._rewatch_s = 0.001
    pid = await computer.spawn()
    computer.held = []
    message = await computer.send(pid)

    async def gone() -> bool:
        return True

    async def stored() -> None:
        return None

    assert await computer.gateway.pending_results.result((pid, message), stored, 60, gone) is None
    assert len(computer.gateway.pending_results) == 0
