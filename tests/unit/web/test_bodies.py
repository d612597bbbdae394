"""Request bodies in memory are bounded, and one address leaves room for the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from aoray.errors import Overloaded
from aoray.web.bodies import BodyBudget
from aoray.web.shares import WHO


def sending(who: str, size: int, more: asyncio.Event) -> Request:
    """A request whose body comes, but for its last byte, which comes when it is told to."""

    async def receive() -> dict[str, Any]:
        nonlocal size
        if size > 1:
            body, size = bytes(size - 1), 1
            return {"type": "http.request", "body": body, "more_body": True}
        await more.wait()
        return {"type": "http.request", "body": b"x", "more_body": False}

    headers = [(b"content-length", str(size).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers, WHO: who}, receive)


async def held(bodies: BodyBudget, request: Request) -> int:
    async with bodies.read(request, bytes_max=1000, total_bytes_max=1000, seconds_max=60) as body:
        return len(body)


async def test_one_address_with_several_bodies_has_half_of_the_room_that_others_leave() -> None:
    bodies, more = BodyBudget(), asyncio.Event()
    slow = [asyncio.create_task(held(bodies, sending("a", 250, more))) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await held(bodies, sending("a", 250, more))
    other = asyncio.create_task(held(bodies, sending("b", 250, more)))
    alone = asyncio.create_task(held(bodies, sending("c", 200, more)))
    await asyncio.sleep(0.01)
    more.set()
    assert await asyncio.gather(*slow, other, alone) == [250, 250, 250, 200]
    assert bodies.bytes == 0
    assert await held(bodies, sending("a", 900, more)) == 900  # a single one may be as large as there is room
