"""The cheapest HTTP/1.1 client that does the job: a kept connection, one request at a time, as prepared
bytes.

The load generator runs on the cores that it measures, so what it costs is taken from the server. httpx
takes 1 ms and more for a request, this about 0.05 ms. It trusts its server, and knows no redirects, no
compression and no TLS.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One connection to the server of `url`, opened again when the server has closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def close(self) -> None:
        """Close the connection; a later request opens it again."""
        if self._transport is not None:
            self._transport.close()

    async def _open(self) -> asyncio.Transport:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self, self._host, self._port
        )
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        return transport

    async def request(self, prepared: bytes) -> Reply:
        """Send a request made by `prepare`, and wait for its reply."""
        transport = self._transport or await self._open()
        self._reply = asyncio.get_running_loop().create_future()
        transport.write(prepared)
        return await self._reply

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionResetError("the server closed the connection"))

    def on_message_begin(self) -> None:
        self._body = []

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(Reply(self._parser.get_status_code(), b"".join(self._body)))


def prepare(method: str, path: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    length = f"content-type: application/octet-stream\r\ncontent-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nhost: aoray\r\n{length}\r\n".encode() + body
