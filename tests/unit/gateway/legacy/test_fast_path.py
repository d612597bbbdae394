"""Real sockets: the fast path of the two hot requests answers as the slow path does."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator

import pytest
from fake_computer import Computer
from fastapi import APIRouter
from polling import until

from aoray import limits
from aoray.gateway import apps
from aoray.gateway.legacy.fast_path import LegacyFastPath
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag
from aoray.web.server import serve

UNKNOWN = b64url_encode(bytes(32))
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def line(computer: Computer) -> AsyncIterator[Line]:
    """A connection to where all units answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = apps.all_units(computer.gateway, APIRouter())
        serving = asyncio.create_task(serve(app, listening))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        yield reader, writer
        writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def post(raw: bytes, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (more, len(raw), raw)


def get(process_id: str, message_id: str) -> bytes:
    return f"GET /result/{message_id}?process-id={process_id} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def answer(line: Line) -> tuple[bytes, list[bytes], bytes]:
    """Status line, headers in order (but for the date), body."""
    head = await line[0].readuntil(b"\r\n\r\n")
    status, *headers = head.strip().lower().split(b"\r\n")
    [length] = re.findall(rb"content-length: (\d+)", head)
    body = await line[0].readexactly(int(length))
    return status, sorted(each for each in headers if not each.startswith(b"date")), body


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The urls of what took the fast path."""
    taken: list[bytes] = []
    handler = LegacyFastPath.handler

    def noted(self: LegacyFastPath, method: bytes, url: bytes) -> object:
        if (found := handler(self, method, url)) is not None:
            taken.append(url)
        return found

    monkeypatch.setattr(LegacyFastPath, "handler", noted)
    return taken


async def test_both_ways_answer_alike(computer: Computer, line: Line, short: list[bytes]) -> None:
    process_id = await computer.spawn()
    good = computer.message_item(process_id).raw
    forged = bytearray(good)
    forged[-1] ^= 1
    homeless = computer.message_item(UNKNOWN).raw
    for raw in (good, bytes(forged), homeless, b"nothing", b"", computer.process_item().raw):
        line[1].write(post(raw))
        one = await answer(line)
        assert short.pop() == b"/"
        line[1].write(post(raw, b"expect: 100-continue\r\n"))
        assert not short
        assert await line[0].readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await answer(line) == one
    assert computer.gateway.in_flight.requests == computer.gateway.in_flight.bodies.bytes == 0


async def test_a_body_in_pieces_arrives_whole(computer: Computer, line: Line) -> None:
    process_id = await computer.spawn()
    raw = computer.message_item(process_id, data=b"d" * 3_000_000).raw
    whole = post(raw)
    for at in (0, 40, 80, 1_000):
        line[1].write(whole[at : {0: 40, 40: 80, 80: 1_000}.get(at, len(whole))])
        await line[1].drain()
        await asyncio.sleep(0)
    assert (await answer(line))[0] == b"http/1.1 202 accepted"


async def test_many_in_one_packet_are_answered_in_order(computer: Computer, line: Line) -> None:
    process_id = await computer.spawn()
    items = [computer.message_item(process_id, data=b"%d" % n) for n in range(20)]
    line[1].write(b"".join(post(item.raw) + get(process_id, item.id) for item in items))
    for item in items:
        assert item.id.encode() in (await answer(line))[2]
        assert b'"ok"' in (await answer(line))[2]


async def test_a_result_is_answered_when_it_is_delivered(
    computer: Computer, line: Line, short: list[bytes]
) -> None:
    process_id = await computer.spawn()
    computer.held = []
    message_id = await computer.send(process_id)
    line[1].write(get(process_id, message_id))
    await until(lambda: len(computer.gateway.pending_results) == 1)
    computer.gateway.pending_results.deliver([(process_id, message_id, b"{}")])
    assert (await answer(line))[2] == b"{}"
    line[1].write(get(process_id, message_id))
    assert (await answer(line))[2] == b"{}"
    assert len(short) == 2
    assert (
        len(computer.gateway.pending_results)
        == computer.gateway.in_flight.requests
        == computer.calls["watch"]
        == 0
    )


async def test_a_delivery_that_is_lost_is_looked_for(
    computer: Computer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESULT_REWATCH_S", 0.05)
    process_id = await computer.spawn()
    computer.held = []
    message_id = await computer.send(process_id)
    line[1].write(get(process_id, message_id))
    await until(lambda: len(computer.gateway.pending_results) == 1)
    computer.release()  # nobody watches yet, so nobody is told
    assert b'"ok"' in (await answer(line))[2]
    assert len(computer.gateway.pending_results) == computer.gateway.in_flight.requests == 0
    monkeypatch.setattr(
        limits, "RESULT_REWATCH_S", 3_600
    )  # a caller that asks again finds it in the store at once
    line[1].write(get(process_id, message_id))
    assert b'"ok"' in (await answer(line))[2]


async def test_a_result_that_does_not_come_is_watched_as_soon_as_it_is_overdue(
    computer: Computer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESULT_REWATCH_S", 0.05)
    computer.gateway.pending_results._rewatch_s = 3_600
    process_id = await computer.spawn()
    computer.held = []
    message_id = await computer.send(process_id)
    line[1].write(get(process_id, message_id))
    await until(lambda: (process_id, message_id) in computer.watched)
    assert (process_id, message_id) in computer.gateway.pending_results.backpressure, (
        "it still counts as awaited"
    )
    computer.release()
    assert b'"ok"' in (await answer(line))[2]


async def test_who_goes_away_is_forgotten(
    computer: Computer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESULT_REWATCH_S", 0.05)
    process_id = await computer.spawn()
    computer.held = []
    message_id = await computer.send(process_id)
    line[1].write(get(process_id, message_id))
    await until(lambda: len(computer.gateway.pending_results) == 1)
    line[1].transport.abort()
    await until(lambda: len(computer.gateway.pending_results) == 0)
    await until(lambda: computer.gateway.in_flight.requests == 0)


async def test_an_unknown_result_is_404_at_once(computer: Computer, line: Line) -> None:
    process_id = await computer.spawn()
    for known in (process_id, UNKNOWN):
        line[1].write(get(known, UNKNOWN))
        assert (await answer(line))[0] == b"http/1.1 404 not found"


async def test_the_door_is_asked(computer: Computer, line: Line) -> None:
    computer.gateway.in_flight.crowd.requests.most = 0
    line[1].write(post(b"x"))
    status, headers, _ = await answer(line)
    assert status == b"http/1.1 503 service unavailable"
    assert b"retry-after: 1" in headers


async def test_what_is_sent_to_a_late_process_is_refused_unread_and_unlogged(
    computer: Computer, line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process_id, prompt = await computer.spawn(), await computer.spawn(Tag("Name", "prompt"))
    monkeypatch.setattr(limits, "RESULTS_AWAITED_FREE", -1)
    key, pressure = (process_id, UNKNOWN), computer.gateway.pending_results.backpressure
    pressure.accepted(key, "another", time.monotonic() - 2 * limits.RESULT_LAG_SECONDS_MAX)
    pressure.delivered([key], time.monotonic())
    raw = computer.message_item(process_id).raw[:160]  # it ends within its tags
    line[1].write(post(raw))
    answers = [await answer(line)]
    line[1].write(post(raw, b"expect: 100-continue\r\n"))  # takes the ordinary way
    await line[0].readuntil(b"\r\n\r\n")
    answers.append(await answer(line))
    assert answers[0] == answers[1]
    assert answers[0][0] == b"http/1.1 503 service unavailable"
    assert b"retry-after: 1" in answers[0][1]
    assert computer.gateway.counts()["items_refused_total"] == 2
    assert not caplog.records
    line[1].write(post(computer.message_item(prompt).raw))
    assert (await answer(line))[0] == b"http/1.1 202 accepted"
