"""A connection that is closed says so, at once, to every caller and in every thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from aoray.client import Client
from aoray.client.blocking import Connection
from aoray.client.connection import AsyncConnection
from aoray.client.ray_transport import RayTransport
from aoray.client.transports import HttpTransport, TransportResponse
from aoray.errors import ClientError
from aoray.protocol.signatures.ed25519 import generate_ed25519

PROCESS = "A" * 43
CLOSED = "the connection to silent: is closed"


class Silent:
    """A transport where only health is answered; all else waits forever."""

    url = "silent:"

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.closes = 0

    async def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
    ) -> TransportResponse:
        if path != "/health":
            self.asked.set()
            await asyncio.Event().wait()
        return TransportResponse(200, {}, orjson.dumps({"module": "m", "scheduler": "s", "authority": "a"}))

    async def close(self) -> None:
        self.closes += 1


def connection(road: Silent) -> AsyncConnection:
    return AsyncConnection(Client(road.url, generate_ed25519(), road))


CALLS: list[Callable[[Connection], Any]] = [
    lambda ao: ao.health(),
    lambda ao: ao.spawn("x"),
    lambda ao: ao.eval(PROCESS, "1"),
    lambda ao: ao.result(PROCESS, PROCESS),
    lambda ao: list(ao.results(PROCESS)),
    lambda ao: list(ao.spawn_many(2)),
    lambda ao: ao.log(PROCESS),
    lambda ao: ao.__enter__(),
]


@pytest.mark.filterwarnings("error")
def test_every_call_after_close_says_that_it_is_closed() -> None:
    road = Silent()
    ao = Connection(lambda: connection(road))
    assert ao.address in repr(ao) and "closed" not in repr(ao)
    for _ in range(2):
        ao.close()
    for call in CALLS:
        with pytest.raises(ClientError, match=CLOSED) as refused:
            call(ao)
        assert "connect" in refused.value.hint
    assert road.closes == 1 and repr(ao).endswith(", closed>")
    gc.collect()  # what was never awaited would be said here


@pytest.mark.parametrize(
    "call", [lambda ao: ao.result(PROCESS, PROCESS), lambda ao: list(ao.results(PROCESS))]
)
def test_a_call_that_another_thread_waits_for_ends(call: Callable[[Connection], Any]) -> None:
    road = Silent()
    ao = Connection(lambda: connection(road))
    raised: list[ClientError] = []

    def wait() -> None:
        try:
            call(ao)
        except ClientError as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert road.asked.wait(10)
    ao.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [str(error) for error in raised] == [CLOSED]


def test_a_connection_that_nobody_holds_any_more_ends_its_thread() -> None:
    road = Silent()
    ao = Connection(lambda: connection(road))
    thread = ao._loop._thread  # the one thing that is seen of it from here
    del ao
    gc.collect()
    thread.join(10)
    assert not thread.is_alive() and road.closes == 1


async def test_the_asynchronous_one_says_the_same() -> None:
    ao = connection(Silent())
    async with ao:
        assert (await ao.health())["module"] == "m"
    for _ in range(2):
        await ao.close()
    for call in (ao.health, ao.spawn, lambda: ao.send(PROCESS), ao.__aenter__):
        with pytest.raises(ClientError, match=CLOSED):
            await call()
    with pytest.raises(ClientError, match=CLOSED):
        await anext(ao.results(PROCESS))


async def test_both_roads_say_so_themselves() -> None:
    async def exchange(_: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    for road in (HttpTransport("http://127.0.0.1:9"), RayTransport("ray:", exchange)):
        await road.close()
        with pytest.raises(ClientError, match="is closed"):
            await road.ask("GET", "/health", {}, b"", "")
    road = RayTransport("ray:", exchange)
    waiting = asyncio.ensure_future(road.ask("GET", "/result/x", {}, b"", ""))
    await asyncio.sleep(0)
    await road.close()
    with pytest.raises(ClientError, match="is closed"):
        await waiting


def test_a_session_that_nobody_closed_gives_no_warning() -> None:
    complaints: list[Any] = []

    async def forget() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        HttpTransport("http://127.0.0.1:9")._opened()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(forget())
        gc.collect()
    assert not complaints and not [each for each in said if "nclosed" in str(each.message)]
