"""Connections: what comes before a request is one. uvicorn's HTTP protocol, with the bounds that it lacks.

uvicorn (with httptools) waits forever for a request's head, and keeps however much of it comes. Here the
request line and headers together have about `limits.REQUEST_HEAD_BYTES_MAX` (and what one read gave beyond
it), and must have arrived `limits.REQUEST_HEAD_SECONDS_MAX` after the connection was opened, or after the
first byte when it is used again; a slow client holds a connection no longer than that. Bodies have bounds of
their own (`aoray.web.bodies`), and idle connections end by uvicorn's keep-alive time.

Connections are shared by addresses (`crowd`, up to `limits.CONNECTIONS_MAX` on all ports), and end where file
descriptors become scarce. One beyond its share is answered `/health`, and 503 for all else; there are
`limits.CONNECTIONS_SPARE` of those at once, and more are closed.

What a client has not read yet is in the transport's buffer, counted for its address. Nothing is written while
something is in it, and whoever reads less than `limits.ANSWER_PROGRESS_BYTES` of it in
`limits.ANSWER_STALL_SECONDS` is cut off.

On failure: 431, 408, 503 or 400 with a JSON body as all of our errors have, and the connection ends. What the
client still sends is thrown away for a moment: to close at once would reset the connection, and the client
might never see the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aoray import limits
from aoray.errors import AorayError, MalformedInput, Overloaded, TooLarge, body_of
from aoray.web import answers
from aoray.web.crowd import WHO, Crowd, lacks_descriptors
from aoray.web.rate_limit import LOCAL, key_of

LINGER_SECONDS = 2.0
HEALTH = b"/health"
TOO_MANY = Overloaded("too many connections", hint="Close some, or wait.", retry_after_s=1)
_NOBODY = Crowd()  # of an application that counts nobody


class HttpFastRequest:
    """A request that takes the fast path (`FastPath`); stands where uvicorn has its cycle, with its
    fields."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.scope: dict[str, Any] = protocol.scope  # type: ignore[assignment]
        self.keep_alive = True  # unless the server is to end
        self.response_complete = self.disconnected = False
        self.message_event = self

    def set(self) -> None:
        """Note that the connection is lost, as uvicorn's event does. Whoever answers finds out."""

    @property
    def is_closed(self) -> bool:
        """Whether the client has gone, so that nobody reads an answer."""
        return self._protocol.is_closed

    async def is_gone(self) -> bool:
        """Return whether the client has gone."""
        return self.is_closed

    def answer(self, status: bytes, rest: bytes) -> None:
        """Write the response (its status line; the other headers, and the body), once."""
        assert not self.response_complete
        self.response_complete = True
        protocol = self._protocol
        if not protocol.is_closed:
            protocol.write_head(status, rest, self.keep_alive)
            protocol.end_answer(self.keep_alive)

    async def answer_long(self, status: bytes, head: bytes, body: bytes) -> None:
        """Write a response with a large body, as fast as the client reads it. `Overloaded` before
        anything is sent, if what the client has not read is too much already."""
        protocol = self._protocol
        with protocol.crowd.held(protocol.crowd.unread, protocol.who, len(body)) as taken:
            if not taken:
                raise Overloaded(answers.TOO_MANY, hint=answers.READ_HINT, retry_after_s=1)
            if not protocol.is_closed:
                protocol.write_head(status, head, self.keep_alive)
            view = memoryview(body)
            for at in range(0, len(view), limits.DATA_CHUNK_BYTES):
                await protocol.drained()
                protocol.write_piece(view[at : at + limits.DATA_CHUNK_BYTES])
        self.response_complete = True
        if not protocol.is_closed:
            protocol.end_answer(self.keep_alive)


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP connection, bounded in what it may hold."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None  # runs while a head is awaited
        self._in_head = self._in_body = self._heard = self._refused = False
        self._headed = False  # whether a head ended in this reading
        self._feeding = 0  # bytes that the parser is given now
        self._fed = 0  # since the reading in which the head began
        self._fields = 0  # bytes of the head that are out of the parser
        self._fast_path: FastPath | None = getattr(self.app, "fast_path", None)
        self._handler: Handler | None = None  # of a request that may take the fast path, once it is whole
        self._body = b""
        self._crowd: Crowd = getattr(self.app, "crowd", None) or _NOBODY
        self._who = LOCAL
        self._counted = self._beyond = False
        self._unread = 0  # bytes that are counted as such
        self._stall: asyncio.TimerHandle | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is read from or answered on this connection."""
        return self._refused or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count a new connection for its address, and close it if even refusals are at their bound."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that whatever is not read is known
        self._who = key_of(self.client[0]) if self.client else LOCAL
        self._await_head()
        scarce = (opened := transport.get_extra_info("socket")) and lacks_descriptors(opened.fileno())
        self._counted = not scarce and self._crowd.connections.take(self._who)
        self._beyond = not self._counted
        if self._beyond:
            self._crowd.lingering += 1
            if self._crowd.lingering > limits.CONNECTIONS_SPARE:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY)
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back everything that was counted for the connection."""
        self._stop_timer()
        self._count_unread(0)
        if self._counted:
            self._crowd.connections.give(self._who)
        self._crowd.lingering -= self._beyond
        self._counted = self._beyond = False
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Count what the client has not read: it is slower than the server."""
        super().pause_writing()
        self._count_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Continue: the client has read all there was."""
        super().resume_writing()
        self._count_unread(0)

    def _count_unread(self, size: int) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._unread:
            self._crowd.unread.give(self._who, self._unread)
        self._unread = size
        if not size:
            return
        if not self._crowd.unread.take(self._who, size):
            self._unread = 0
            self._cut_off()
        else:
            self._stall = self.loop.call_later(limits.ANSWER_STALL_SECONDS, self._look_at_progress)

    def _look_at_progress(self) -> None:
        self._stall = None
        left = self.transport.get_write_buffer_size()
        if self._unread - left < limits.ANSWER_PROGRESS_BYTES:
            self._cut_off()
        else:
            self._count_unread(left)

    def _cut_off(self) -> None:
        self._crowd.stalled_total += 1
        self.transport.abort()

    @property
    def who(self) -> str:
        """The address of the connection."""
        return self._who

    @property
    def crowd(self) -> Crowd:
        """The crowd that the connection is counted in."""
        return self._crowd

    async def drained(self) -> None:
        """Wait until the client has read all that was written."""
        if self.flow.write_paused:
            await self.flow.drain()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, within the bounds of a head in bytes and time."""
        if self.is_closed:
            return
        self._heard = True
        self._headed = False
        self._feeding = len(data)
        super().data_received(data)
        if self._timer is None and not self._in_body and (self._in_head or not self._headed):
            self._await_head()
        if self._handler is not None:
            self._take_slow_path()
        # What is not whole yet is inside the parser: of that we know what it was fed.
        self._fed += len(data)
        if self._in_head and self._fed > limits.REQUEST_HEAD_BYTES_MAX and not self._refused:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Start to count the head of a request."""
        super().on_message_begin()
        self.scope[WHO] = self._who  # type: ignore[literal-required]
        self._in_head = True
        self._fields, self._fed = 0, -self._feeding

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of a header."""
        self._fields += len(name) + len(value)
        if self._fields > limits.REQUEST_HEAD_BYTES_MAX:
            raise TooLarge("the head is too large")  # ends the parser
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Choose the path of a request: refuse it, keep it for the fast path, or hand it to ASGI."""
        self._fields += len(self.url)
        if self._fields > limits.REQUEST_HEAD_BYTES_MAX:
            raise TooLarge("the head is too large")  # the same
        self._stop_timer()
        if self._beyond:
            self._answer_beyond()
            return
        self._in_head, self._in_body, self._headed = False, True, True
        if self._fast_path is not None and self._is_plain():
            self._handler, self._body = self._fast_path.handler(self.parser.get_method(), self.url), b""
        if self._handler is None:
            super().on_headers_complete()

    def _answer_beyond(self) -> None:
        """The one request of a connection beyond the bound."""
        if self._refused:
            return
        if self.parser.get_method() == b"GET" and self.url == HEALTH:
            super().on_headers_complete()
            self.cycle.keep_alive = False
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY)

    def _is_plain(self) -> bool:
        """Whether nothing keeps this request from the fast path but what it asks for."""
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
        """Keep a part of a body for the fast path, or hand it to ASGI."""
        if self._handler is None:
            if self.cycle is not None:
                super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer a request on the fast path, or tell ASGI that its body is whole."""
        self._in_body = False
        if self._handler is None:
            if self.cycle is not None:
                super().on_message_complete()
            return
        handler, self._handler = self._handler, None
        exchange = HttpFastRequest(self)
        self.cycle = exchange  # type: ignore[assignment]
        handler(exchange, self._body)

    def _take_slow_path(self) -> None:
        """The body is not all here: that takes the bounds that the application has for it."""
        self._handler = None
        if not self.is_closed:
            super().on_headers_complete()
            if self._body:
                super().on_body(self._body)

    def write_head(self, status: bytes, rest: bytes, keep_alive: bool) -> None:
        """Write the beginning of an answer, or all of it, to a connection that is not closed."""
        headers = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not keep_alive:
            headers.append(b"connection: close\r\n")
        self.transport.write(b"".join((status, *headers, rest)))

    def write_piece(self, piece: bytes | memoryview) -> None:
        """Write more of a response's body."""
        if not self.is_closed:
            self.transport.write(piece)

    def end_answer(self, keep_alive: bool) -> None:
        """End the response: all of it is written. Continue with what the client has sent meanwhile."""
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that does not parse, or a `TooLarge` that the parser has turned into a fault
        of its own."""
        if self._fields > limits.REQUEST_HEAD_BYTES_MAX:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, MalformedInput(msg, field="request"))

    def _await_head(self) -> None:
        seconds = LINGER_SECONDS if self._beyond else limits.REQUEST_HEAD_SECONDS_MAX
        self._timer = self.loop.call_later(seconds, self._is_late)

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
            "access-control-expose-headers: *",
            "connection: close",
        ]
        if "retry_after_s" in error.details:
            lines.append(f"retry-after: {error.details['retry_after_s']}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.write_eof()
        self._stop_timer()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._is_late)


class FastRequest(Protocol):
    """A request on its connection, and the way back; `scope` is as ASGI has it, without path and query."""

    scope: dict[str, Any]

    @property
    def is_closed(self) -> bool:
        """Whether the client has gone, so that nobody reads an answer."""

    async def is_gone(self) -> bool:
        """Return whether the client has gone."""

    def answer(self, status: bytes, rest: bytes) -> None:
        """Write the response, once: its status line, then the other headers and the body."""

    async def answer_long(self, status: bytes, head: bytes, body: bytes) -> None:
        """Write a response whose body is sent as fast as the client reads it."""


Handler = Callable[[FastRequest, bytes], None]


class FastPath(Protocol):
    """A handler that answers some requests without ASGI; a dialect has one."""

    def handler(self, method: bytes, url: bytes) -> Handler | None:
        """Return the handler of a request by method and URL; None if it takes the slow path."""
