"""Connections: what comes before a request is one. uvicorn's HTTP protocol, with the bounds that it lacks.

uvicorn (with httptools) waits for ever for a request's head, and keeps however much of it comes. Here the
request line and headers together have about `limits.REQUEST_HEAD_BYTES_MAX` (and what one read gave beyond
it), and must have arrived `limits.REQUEST_HEAD_SECONDS_MAX` after the connection was opened, or after the
first byte when it is used again; a slow client holds a connection no longer than that. More than
`limits.CONNECTIONS_MAX` are closed at once. Bodies have bounds of their own (`aoray.bodies`), and idle
connections end by uvicorn's keep-alive time.

On failure: 431, 408, 503 or 400 with a JSON body as all of our errors have, and the connection ends. What the
client still sends is thrown away for a moment: to close at once would reset the connection, and the client
might never see the answer.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aoray import limits
from aoray.errors import AorayError, MalformedInput, Overloaded, TooLarge, body_of
from aoray.gateway.direct import Direct, Handler

LINGER_SECONDS = 2.0


class Exchange:
    """A request that goes the short way (`direct`); stands where uvicorn has its cycle, with its fields."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.scope: dict[str, Any] = protocol.scope  # type: ignore[assignment]
        self.keep_alive = True  # unless the server is to end
        self.response_complete = self.disconnected = False
        self.message_event = self

    def set(self) -> None:
        """As uvicorn's event: the connection is lost. Whoever answers finds out."""

    @property
    def is_closed(self) -> bool:
        """Whether nobody reads an answer any more."""
        return self._protocol.is_closed

    async def is_gone(self) -> bool:
        return self.is_closed

    def answer(self, status: bytes, rest: bytes) -> None:
        """Write the response (its status line; the other headers, and the body), once."""
        assert not self.response_complete
        self.response_complete = True
        self._protocol.write_answer(status, rest, self.keep_alive)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None  # runs while a head is awaited
        self._in_head = self._in_body = self._heard = self._refused = False
        self._headed = False  # whether a head ended in this reading
        self._feeding = 0  # bytes that the parser is given now
        self._fed = 0  # since the reading in which the head began
        self._fields = 0  # bytes of the head that are out of the parser
        self._direct: Direct | None = getattr(self.app, "direct", None)
        self._handler: Handler | None = None  # of a request that may go the short way, once it is whole
        self._body = b""

    @property
    def is_closed(self) -> bool:
        return self._refused or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > limits.CONNECTIONS_MAX:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, Overloaded("too many connections", retry_after_s=1))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        self._heard = True
        self._headed = False
        self._feeding = len(data)
        super().data_received(data)
        if self._timer is None and not self._in_body and (self._in_head or not self._headed):
            self._await_head()
        if self._handler is not None:
            self._go_the_long_way()
        # What is not whole yet is inside the parser: of that we know what it was fed.
        self._fed += len(data)
        if self._in_head and self._fed > limits.REQUEST_HEAD_BYTES_MAX and not self._refused:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._fields, self._fed = 0, -self._feeding

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._in_head, self._in_body, self._headed = False, True, True
        if self._direct is not None and self._is_plain():
            self._handler, self._body = self._direct.handler(self.parser.get_method(), self.url), b""
        if self._handler is None:
            super().on_headers_complete()

    def _is_plain(self) -> bool:
        """Whether nothing keeps this request from the short way but what it asks for."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.expect_100_continue
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        if self._handler is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._handler is None:
            super().on_message_complete()
            return
        handler, self._handler = self._handler, None
        exchange = Exchange(self)
        self.cycle = exchange  # type: ignore[assignment]
        handler(exchange, self._body)

    def _go_the_long_way(self) -> None:
        """The body is not all here: that takes the bounds that the application has for it."""
        self._handler = None
        if not self.is_closed:
            super().on_headers_complete()
            if self._body:
                super().on_body(self._body)

    def write_answer(self, status: bytes, rest: bytes, keep_alive: bool) -> None:
        """Answer the exchange that is under way, and go on with what the client has sent meanwhile."""
        if self.is_closed:
            return
        headers = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not keep_alive:
            headers.append(b"connection: close\r\n")
        self.transport.write(b"".join((status, *headers, rest)))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What does not parse; or our own `TooLarge`, which the parser has turned into a fault of its own."""
        if self._fields > limits.REQUEST_HEAD_BYTES_MAX:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, MalformedInput(msg, field="request"))

    def _count(self, size: int) -> None:
        self._fields += size
        if self._fields > limits.REQUEST_HEAD_BYTES_MAX:
            raise TooLarge("the head is too large")  # ends the parser

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(limits.REQUEST_HEAD_SECONDS_MAX, self._is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self._refused:
            self.transport.close()
        elif self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # an answer is on its way; then again
        elif self._heard:
            seconds = limits.REQUEST_HEAD_SECONDS_MAX
            late = MalformedInput(f"the head did not arrive within {seconds:g} seconds", field="headers")
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, late)
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        bytes_max = limits.REQUEST_HEAD_BYTES_MAX
        error = TooLarge(f"the head is over {bytes_max} bytes", field="headers", bytes_max=bytes_max)
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def _refuse(self, status: HTTPStatus, error: AorayError) -> None:
        """Answer without an application, and let the connection end."""
        self._refused = True
        body = orjson.dumps(body_of(error))
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "access-control-allow-origin: *",
            "connection: close",
        ]
        if "retry_after_s" in error.details:
            lines.append(f"retry-after: {error.details['retry_after_s']}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.write_eof()
        self._stop_timer()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._is_late)
