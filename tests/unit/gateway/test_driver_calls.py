"""Drivers on the cluster pass the same door as HTTP; an answer that is lost is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fake_computer import Computer
from fastapi import APIRouter
from polling import until
from starlette.types import Receive, Scope, Send

from aoray import limits
from aoray.client import Client
from aoray.client.connection import AsyncConnection
from aoray.client.ray_transport import RayTransport
from aoray.contracts.gateway import Answered, Ask
from aoray.errors import BadSignature, Unavailable, UnknownProcess
from aoray.gateway import apps
from aoray.gateway.driver_calls import Drivers
from aoray.protocol.ans104.items import DataItem, parse

Exchange = Callable[[list[Ask]], Awaitable[list[Answered]]]


@pytest.fixture
def drivers(computer: Computer) -> Drivers:
    return Drivers(apps.all_units(computer.gateway, APIRouter()))


def client(computer: Computer, exchange: Exchange) -> Client:
    return Client("ray:here", computer.user, RayTransport("ray:here", exchange))


async def test_the_same_bytes_get_the_same_answer_by_either_road(
    computer: Computer, drivers: Drivers, every: httpx.AsyncClient
) -> None:
    process = await computer.spawn()
    message = computer.message_item(process)
    forged = bytearray(message.raw)
    forged[-1] ^= 1
    asked = [
        ("POST", "/", "", bytes(forged)),
        ("POST", "/", "", b"nonsense"),
        ("POST", "/", "", message.raw),
        ("GET", f"/result/{message.id}", f"process-id={process}", b""),
        ("GET", f"/results/{process}", "limit=5&sort=DESC", b""),
        ("GET", "/nowhere/at/all", "", b""),
        ("POST", "/dry-run", f"process-id={process}", b'{"Data": "1"}'),
    ]
    statuses = []
    for number, (method, path, query, body) in enumerate(asked):
        by_http = await every.request(method, f"{path}?{query}", content=body)
        [by_ray] = await drivers.exchange(
            "driver", [Ask(number, method, path, query.encode(), body, "application/octet-stream")]
        )
        assert (by_ray.number, by_ray.status, by_ray.body) == (number, by_http.status_code, by_http.content)
        statuses.append(by_ray.status)
    assert statuses == [400, 400, 202, 200, 200, 404, 200]
    assert [each.message_id for each in computer.gateway.lookups.reader.entries(process, 0, 9, 9)] == [
        message.id
    ]


async def test_a_batch_is_answered_as_each_is_ready_and_a_newer_call_releases_the_one_that_waits(
    computer: Computer, drivers: Drivers
) -> None:
    calls: list[int] = []

    async def exchange(asks: list[Ask]) -> list[Answered]:
        calls.append(len(asks))
        return await drivers.exchange("driver", asks)

    async with client(computer, exchange) as ao:
        process = await ao.spawn(module=(await ao.health())["module"])
        computer.held = []
        sent = await asyncio.gather(*(ao.send(process, data=str(n)) for n in range(50)))
        assert len(calls) < 20
        waiting = asyncio.gather(*(ao.result(process, message) for message in sent))
        await until(lambda: len(computer.gateway.pending_results) == 50)
        assert await ao.send(process, data="while all of them wait")
        computer.release()
        computer.held = None
        assert {result["Output"] for result in await waiting} == {"ok"}


async def test_what_a_dying_gateway_took_is_sent_again_and_scheduled_once(
    computer: Computer, drivers: Drivers
) -> None:
    deaths = iter([False, False, True, True] + [False] * 1000)

    async def exchange(asks: list[Ask]) -> list[Answered]:
        answered = await drivers.exchange("driver", asks)
        if asks and next(deaths):
            raise Unavailable("the gateway died with the answers")
        return answered

    ao = AsyncConnection(client(computer, exchange), timeout_s=30)
    process = await ao.spawn(module=(await ao.health())["module"])
    results = await asyncio.gather(*(ao.ask(process, data=str(n)) for n in range(10)))
    await ao.close()
    assert all(result.ok for result in results)
    entries = computer.gateway.lookups.reader.entries(process, 0, 99, 99)
    assert sorted(parse(entry.item).data for entry in entries) == [str(n).encode() for n in range(10)]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": (await receive())["body"]})


def asking(*bodies: bytes) -> list[Ask]:
    return [Ask(number, "POST", "/", b"", body, "") for number, body in enumerate(bodies)]


async def test_no_call_carries_more_answers_than_a_batch_and_the_rest_comes_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 250)
    monkeypatch.setattr(limits, "EXCHANGE_BYTES_MAX", 500)
    drivers = Drivers(echo)
    answers = await drivers.exchange("driver", asking(*[bytes(100)] * 5, bytes(400), bytes(501)))
    sizes = [[len(each.body) for each in answers]]
    while sum(map(len, sizes)) < 7:
        answers = await drivers.exchange("driver", [])
        sizes.append([len(each.body) for each in answers])
    assert sizes[:4] == [[100, 100], [100, 100], [100], [400]]
    assert answers[-1].status == 413


async def test_a_newer_call_that_waits_gets_what_an_older_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 100)
    drivers = Drivers(echo)
    older = asyncio.create_task(drivers.exchange("driver", []))
    await asyncio.sleep(0)
    newer = asyncio.create_task(drivers.exchange("driver", asking(bytes(100), bytes(100))))
    assert [len(await older), len(await newer)] == [1, 1]


async def test_answers_of_a_driver_that_left_are_forgotten_though_nobody_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DRIVER_SECONDS_MAX", 0.02)
    drivers = Drivers(echo)
    assert await drivers.exchange("driver", asking(b"x"))
    await until(lambda: not drivers._drivers and drivers._forgetting is None)


async def test_errors_arrive_as_themselves(computer: Computer, drivers: Drivers) -> None:
    async with client(computer, lambda asks: drivers.exchange("driver", asks)) as ao:
        with pytest.raises(UnknownProcess):
            await ao.send("A" * 43)
        item = ao.message(await computer.spawn())
        forged = DataItem(**{**vars_of(item), "raw": item.raw[:-1] + b"?"})
        with pytest.raises(BadSignature):
            await ao.post(forged)


def vars_of(item: DataItem) -> dict[str, object]:
    return {name: getattr(item, name) for name in DataItem.__dataclass_fields__}
