"""Calls between actors over sockets: each gets its answer, nobody calls without the secret
(aoray.cluster.rpc)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aoray import limits
from aoray.cluster.rpc import RpcAddress, RpcConnection, RpcServer
from aoray.errors import AorayError, UnknownProcess


class Target:
    """What is called."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.go = asyncio.Event()
        self.came = asyncio.Event()

    async def echo(self, value: Any) -> Any:
        return value

    async def note(self, number: int) -> int:
        self.begun.append(number)
        self.came.set()
        if number == 0:
            await self.go.wait()
        return number

    async def refuse(self) -> None:
        raise UnknownProcess("no such process", process_id="p")

    async def fail(self) -> None:
        raise ZeroDivisionError("by hand")

    async def large(self) -> bytes:
        return b"x" * 1001

    async def unspeakable(self) -> Any:
        return lambda: None

    async def _private(self) -> str:
        return "secret"


@pytest.fixture
async def target() -> Target:
    return Target()


@pytest.fixture
async def address(target: Target) -> AsyncIterator[RpcAddress]:
    wire = RpcServer(target, "127.0.0.1")
    yield await wire.address()
    wire.close()


@pytest.fixture
async def line(address: RpcAddress) -> AsyncIterator[RpcConnection]:
    line = await RpcConnection.connect(address)
    yield line
    line.close()


async def call(line: RpcConnection, method: str, *arguments: Any) -> Any:
    async with asyncio.timeout(10):
        return await line.call(method, arguments)


@pytest.mark.parametrize("value", [None, b"", "x" * 100, [b"\0" * 70_000, (1, None)], b"y" * 30_000_000])
async def test_what_is_sent_arrives_whole_both_ways(line: RpcConnection, value: Any) -> None:
    assert await call(line, "echo", value) == value


async def test_calls_begin_in_order_and_each_gets_its_own_answer(line: RpcConnection, target: Target) -> None:
    calls = [asyncio.ensure_future(call(line, "note", number)) for number in range(100)]
    assert await asyncio.gather(*calls[1:]) == list(range(1, 100))  # while the first still waits
    target.go.set()
    assert await calls[0] == 0
    assert target.begun == list(range(100))


async def test_errors_arrive_as_they_are(line: RpcConnection) -> None:
    with pytest.raises(UnknownProcess) as refused:
        await call(line, "refuse")
    assert refused.value.message == "no such process"
    with pytest.raises(AorayError, match="by hand"):
        await call(line, "fail")
    assert await call(line, "echo", 1) == 1


async def test_what_is_private_is_not_called(line: RpcConnection) -> None:
    with pytest.raises(AorayError, match="not a method that other actors may call"):
        await call(line, "_private")


async def test_who_does_not_know_the_secret_is_cut_off(address: RpcAddress, target: Target) -> None:
    for secret in (b"", b"x" * 32, address.secret[:-1]):
        line = await RpcConnection.connect(address._replace(secret=secret))
        with pytest.raises(ConnectionError):
            await call(line, "note", 1)
    assert target.begun == []


async def test_an_actor_that_goes_fails_the_calls_under_way(address: RpcAddress, target: Target) -> None:
    wire = RpcServer(target, "127.0.0.1")
    line = await RpcConnection.connect(await wire.address())
    waiting = asyncio.ensure_future(call(line, "note", 0))
    await target.came.wait()
    wire.close()
    with pytest.raises(ConnectionError):
        await waiting
    with pytest.raises(ConnectionError):
        await call(line, "echo", 1)
    assert line.lost


async def test_what_is_too_large_or_can_not_be_sent_is_refused_and_the_line_goes_on(
    line: RpcConnection, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WIRE_FRAME_BYTES_MAX", 1000)
    with pytest.raises(AorayError, match="too much"):
        await call(line, "echo", b"x" * 1001)
    with pytest.raises(AorayError, match="can't be sent"):
        await call(line, "large")
    with pytest.raises(AorayError, match="can't be sent"):
        await call(line, "unspeakable")
    assert await call(line, "echo", b"x") == b"x"


async def test_a_stranger_is_given_no_memory(address: RpcAddress) -> None:
    line = await RpcConnection.connect(address._replace(secret=b"x" * 100_000))
    with pytest.raises(ConnectionError):
        await call(line, "echo", 1)


async def test_an_actor_that_is_frozen_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WIRE_SILENCE_SECONDS_MAX", 0.1)
    loop = asyncio.get_running_loop()
    frozen = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)  # it takes, and answers nothing
    line = await RpcConnection.connect(RpcAddress("127.0.0.1", frozen.sockets[0].getsockname()[1], b"x" * 32))
    with pytest.raises(ConnectionError):
        await call(line, "echo", 1)
    frozen.close()


async def test_an_actor_that_takes_its_time_is_waited_for(
    line: RpcConnection, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WIRE_SILENCE_SECONDS_MAX", 0.05)
    waiting = asyncio.ensure_future(call(line, "note", 0))
    asked = 0
    send = line.send

    def count(frame: bytes) -> None:
        nonlocal asked
        asked += 1
        if asked == 20:  # signs of life, so four times the longest silence
            target.go.set()
        send(frame)

    monkeypatch.setattr(line, "send", count)
    assert await waiting == 0
