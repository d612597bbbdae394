"""Real sockets: a head is bounded in bytes and time, and a slow or endless client costs one connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from polling import until
from starlette.types import Receive, Scope, Send

from aoray import limits
from aoray.web.connection import BoundedProtocol
from aoray.web.crowd import Crowd
from aoray.web.server import serve

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SHORT_S = 0.2


LARGE = 8 * limits.MIB


class App:
    """Answers with the length of what it got; on /wait when it is told to, on /large with much."""

    def __init__(self) -> None:
        self.crowd = Crowd()
        self.release = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            self.reached.set()
            await self.release.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = bytes(LARGE) if scope["path"] == "/large" else str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def port(app: App) -> AsyncIterator[int]:
    """Where a gateway's server runs that application."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(serve(app, listening))
        yield listening.getsockname()[1]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def connect(port: int) -> Line:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0)


async def answer(line: Line) -> tuple[int, dict[str, str], bytes]:
    head = (await line[0].readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in head[1:] if each)
    body = await line[0].readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


async def refused(line: Line) -> tuple[int, dict[str, Any]]:
    """The answer, after which the connection ends (a slow reader of it is waited for a moment)."""
    status, headers, body = await answer(line)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert await line[0].read() == b""
    return status, json.loads(body)


GET = b"GET / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        GET + b"a: " + b"b" * 70_000 + b"\r\n\r\n",
        GET + b"b" * 70_000 + b": a\r\n\r\n",
        GET + b"a: b\r\n" * 40_000 + b"\r\n",
        GET + b"a: " + b"b" * 1_000_000,
        b"G" * 1_000_000,
        b"\r\n" * 1_000 + b"GET /" + b"a" * 1_000_000,
    ],
)
@pytest.mark.parametrize("again", [False, True], ids=["fresh", "used"])
async def test_a_head_over_the_bound_is_refused_also_if_it_has_no_end(
    port: int, head: bytes, again: bool
) -> None:
    line = await connect(port)
    if again:
        line[1].write(GET + b"\r\n")
        assert (await answer(line))[0] == 200
    line[1].write(head)
    status, body = await refused(line)
    line[1].close()
    assert (status, body["code"]) in ((431, "too_large"), (400, "malformed"))
    assert status == 431 or head.startswith(b"GG")


async def test_a_head_within_the_bound_is_taken_in_however_small_pieces_and_after_a_large_body(
    port: int,
) -> None:
    line = await connect(port)
    size = 1_000_000
    post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % size
    fill = b"a: " + b"b" * (limits.REQUEST_HEAD_BYTES_MAX - 500) + b"\r\n"
    line[1].write(post + b"\r\n" + bytes(size) + GET + fill + b"\r\n")
    assert [(await answer(line))[2] for _ in range(2)] == [b"1000000", b"0"]
    for byte in GET + b"\r\n":
        line[1].write(bytes([byte]))
        await line[1].drain()
        await asyncio.sleep(0)
    assert (await answer(line))[0] == 200


async def drip(line: Line, piece: bytes) -> None:
    """Ever more, until the other side has had enough."""
    try:
        while True:
            line[1].write(piece)
            await line[1].drain()
            await asyncio.sleep(SHORT_S / 20)
    except ConnectionError:
        return


@pytest.mark.parametrize("again", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("piece", [b"a: b\r\n", b"\r\n"], ids=["headers", "nothing"])
async def test_a_client_that_never_ends_its_head_is_let_go(
    port: int, monkeypatch: pytest.MonkeyPatch, again: bool, piece: bytes
) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_SECONDS_MAX", SHORT_S)
    line = await connect(port)
    if again:
        line[1].write(GET + b"\r\n")
        assert (await answer(line))[0] == 200
    if piece != b"\r\n":
        line[1].write(GET)
    dripping = asyncio.create_task(drip(line, piece))
    status, body = await refused(line)
    assert (status, body["field"]) == (408, "headers")
    dripping.cancel()


async def test_a_client_that_says_nothing_is_let_go_without_a_word(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_SECONDS_MAX", SHORT_S)
    line = await connect(port)
    assert await line[0].read() == b""


async def test_an_answer_that_takes_long_is_waited_for(
    port: int, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_SECONDS_MAX", SHORT_S / 10)
    late = asyncio.Event()
    is_late = BoundedProtocol._is_late
    monkeypatch.setattr(BoundedProtocol, "_is_late", lambda self: (late.set(), is_late(self)))
    line = await connect(port)
    line[1].write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n\r\n")
    await app.reached.wait()
    line[1].write(b"\r\n")
    await late.wait()
    app.release.set()
    assert (await answer(line))[0] == 200


async def test_connections_are_bounded_and_health_is_answered_beyond(port: int, app: App) -> None:
    lines = [await connect(port) for _ in range(2)]
    for line in lines:
        line[1].write(GET + b"\r\n")
        assert (await answer(line))[0] == 200
    app.crowd.connections.most = 4  # of which one address has half
    for head, status in ((GET, 503), (b"GET /health HTTP/1.1\r\nhost: x\r\n", 200)):
        line = await connect(port)
        line[1].write(head + b"\r\n")
        found, headers, body = await answer(line)
        assert (found, headers["connection"]) == (status, "close")
        assert status == 200 or (headers["retry-after"], json.loads(body)["code"]) == ("1", "overloaded")
        assert await line[0].read() == b""
    lines.pop()[1].close()
    while True:
        line = await connect(port)
        line[1].write(GET + b"\r\n")
        if (await answer(line))[0] == 200:
            break


async def test_more_connections_than_can_be_told_so_are_closed(
    port: int, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_SPARE", 1)
    app.crowd.connections.most = 0
    spare = await connect(port)
    status, body = await refused(await connect(port))
    assert (status, body["code"]) == (503, "overloaded")
    spare[1].close()
    await until(lambda: app.crowd.lingering == 0)


async def test_where_descriptors_are_scarce_a_connection_is_told_so(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = await connect(port)
    newest = spare[1].get_extra_info("socket").fileno()
    monkeypatch.setattr("aoray.web.crowd.resource.getrlimit", lambda _: (newest, newest))
    line = await connect(port)
    line[1].write(GET + b"\r\n")
    assert (await refused(line))[1]["error"] == "too many connections"


async def not_reading(port: int, buffer_bytes: int = 4096) -> socket.socket:
    """A connection that asks for much and reads nothing."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    line.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    line.setblocking(False)
    return line


async def test_who_does_not_read_is_cut_off(port: int, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_STALL_SECONDS", SHORT_S)
    with await not_reading(port):
        await until(lambda: app.crowd.unread.held > LARGE // 4)
        assert app.crowd.unread.of("127.0.0.1") == app.crowd.unread.held
        await until(lambda: app.crowd.stalled_total == 1)
        await until(lambda: app.crowd.unread.held == app.crowd.connections.held == 0)


async def test_who_reads_slowly_gets_all_of_it(port: int, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_STALL_SECONDS", SHORT_S)
    with await not_reading(port, 256 * limits.KIB) as line:
        loop, size = asyncio.get_running_loop(), 0
        begun = loop.time()
        while size < LARGE:
            size += len(await loop.sock_recv(line, 256 * limits.KIB))
            if loop.time() - begun < 3 * SHORT_S:
                await asyncio.sleep(SHORT_S / 10)
    assert loop.time() - begun > SHORT_S and app.crowd.stalled_total == 0


async def test_what_an_address_has_not_read_is_bounded(port: int, app: App) -> None:
    app.crowd.unread.most = 3 * LARGE
    lines = [await not_reading(port) for _ in range(4)]
    await until(lambda: app.crowd.stalled_total >= 2)
    assert app.crowd.unread.held <= 3 * LARGE // 2
    for line in lines:
        line.close()
    await until(lambda: app.crowd.unread.held == 0)


async def test_what_is_not_http_is_400_json(port: int) -> None:
    line = await connect(port)
    line[1].write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await refused(line))[0] == 400
