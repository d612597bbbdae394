"""RPC: calls from one actor to another over a direct TCP connection, once Ray has found the actor.

Where in a message's journey: each hop between gateway, shard and process actor. Ray creates the actors, finds
them by name, restarts and moves them, and carries calls that are rare or very large. A Ray call costs both
sides together about 1 ms of CPU, an RPC call 0.02 ms (benchmarks/README.md), and each message needs several.

A caller asks the actor through Ray for its address and secret (`RpcServer.address`), connects, and sends the
secret first. So only those who can call an actor over Ray can call it over RPC; like Ray's own traffic, RPC
is not encrypted. A computer on one machine listens on loopback only. A frame is a length (4 bytes, little
endian) and a pickle: `(number, method, arguments)` for a call, `(number, value, error)` for an answer.

Invariants: calls of one connection start in the order in which they were made; each gets one answer. Callers
bound the number of calls in flight, as they do with Ray.

On failure: when a connection breaks, each call in flight raises `ConnectionError`; as with Ray, it is not
known whether the call was carried out. The next call asks Ray for the address again. A caller that waits for
an answer sends pings, and breaks a connection on which nothing has arrived for
`limits.WIRE_SILENCE_SECONDS_MAX`: the other host is gone, or the actor is frozen.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import pickle
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from aoray import limits
from aoray.errors import AorayError

log = logging.getLogger(__name__)

SECRET_BYTES = 32
LENGTH_BYTES = 4
PROBES = 5  # pings without an answer before a connection is broken
PING = pickle.dumps((0, "", ()))  # calls are numbered from 1
PONG = pickle.dumps((0, None, None))


class RpcAddress(NamedTuple):
    """The address where an actor listens, and the secret that a caller must send first."""

    host: str
    port: int
    secret: bytes


class RpcServer:
    """The listening side of RPC: it answers calls of the public methods of `target`."""

    def __init__(self, target: object, host: str) -> None:
        self._target = target
        self._host = host
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._address: asyncio.Task[RpcAddress] | None = None
        self._open: set[_ServerConnection] = set()

    async def address(self) -> RpcAddress:
        """Return where the server listens; the first call starts the server."""
        if self._address is None:
            self._address = asyncio.create_task(self._listen())
        return await asyncio.shield(self._address)

    async def _listen(self) -> RpcAddress:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self._host, 0)
        return RpcAddress(self._host, self._server.sockets[0].getsockname()[1], self._secret)

    def _accept(self) -> _ServerConnection:
        answering = _ServerConnection(self._target, self._secret, self._open.discard)
        self._open.add(answering)
        return answering

    def close(self) -> None:
        """Stop listening, and break every connection."""
        self._server.close()
        for answering in list(self._open):
            answering.transport.abort()


class FrameProtocol(asyncio.Protocol):
    """An asyncio protocol that cuts the bytes that arrive into frames."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._arrived = bytearray()
        self.frame_bytes_max = limits.WIRE_FRAME_BYTES_MAX

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the connection to give up on bytes that stay unacknowledged for WIRE_SILENCE_SECONDS_MAX."""
        self.transport = cast(asyncio.Transport, transport)
        # Without this, the kernel would go on for long to send an answer to a host that is gone.
        connection = transport.get_extra_info("socket")
        milliseconds = limits.WIRE_SILENCE_SECONDS_MAX * 1000
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(milliseconds))

    def data_received(self, data: bytes) -> None:
        """Pass each complete frame to `on_frame`; close the connection if that fails."""
        self._arrived += data
        try:
            for frame in self.frames():
                self.on_frame(frame)
        except Exception:  # the caller is not aoray, and its further bytes have no meaning
            log.exception("a connection between actors is closed")
            self.transport.abort()

    def frames(self) -> Iterator[bytes]:
        """Yield the frames that have arrived completely. Raises `ValueError` for a frame over the bound."""
        arrived = self._arrived
        at = 0
        while len(arrived) - at >= LENGTH_BYTES:
            size = int.from_bytes(arrived[at : at + LENGTH_BYTES], "little")
            if size > self.frame_bytes_max:
                raise ValueError(f"a frame of {size} bytes")
            if len(arrived) - at - LENGTH_BYTES < size:
                break
            at += LENGTH_BYTES
            yield bytes(arrived[at : at + size])
            at += size
        if at:
            del arrived[:at]

    def send(self, frame: bytes) -> None:
        """Send a frame: its length, and its bytes."""
        self.transport.write(len(frame).to_bytes(LENGTH_BYTES, "little") + frame)

    def on_frame(self, frame: bytes) -> None:
        """Handle a frame that has arrived."""
        raise NotImplementedError


class _ServerConnection(FrameProtocol):
    """The server's side of the connection of one caller."""

    def __init__(self, target: object, secret: bytes, lost: Callable[[_ServerConnection], None]) -> None:
        super().__init__()
        self.frame_bytes_max = SECRET_BYTES  # until the caller has sent the secret
        self._target = target
        self._lost = lost
        self._secret = secret
        self._known = False
        self._answers: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._loop = asyncio.get_running_loop()
        self._secret_timer = self._loop.call_later(limits.WIRE_CONNECT_SECONDS_MAX, self.transport.abort)

    def on_frame(self, frame: bytes) -> None:
        if not self._known:
            self._greet(frame)
            return
        if frame == PING:
            self.send(PONG)
            return
        answer = self._loop.create_task(self._answer(*pickle.loads(frame)))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def _greet(self, frame: bytes) -> None:
        self._secret_timer.cancel()
        if not hmac.compare_digest(frame, self._secret):
            raise PermissionError("the caller does not know the secret")
        self._known = True
        self.frame_bytes_max = limits.WIRE_FRAME_BYTES_MAX

    async def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        value, error = None, None
        try:
            if method.startswith("_"):
                raise AorayError(f"{method} is not a method that other actors may call")
            value = await getattr(self._target, method)(*arguments)
        except AorayError as failed:
            error = failed
        except Exception as failed:  # a fault in aoray: the caller gets it as an error
            log.exception("%s failed", method)
            error = AorayError(f"{method} failed: {failed!r}")
        if not self.transport.is_closing():
            self.send(_answer(number, value, error))

    def connection_lost(self, error: Exception | None) -> None:
        self._secret_timer.cancel()
        self._lost(self)


def _answer(number: int, value: Any, error: AorayError | None) -> bytes:
    """Return the frame of an answer; if the answer can't be sent, return the frame of an error that says
    so."""
    try:
        return _frame(number, value, error)
    except Exception as unsendable:  # the caller must not wait forever
        log.exception("an answer can't be sent")
        return _frame(number, None, AorayError(f"an answer can't be sent: {unsendable!r}"))


def _frame(*content: Any) -> bytes:
    frame = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    if len(frame) > limits.WIRE_FRAME_BYTES_MAX:
        raise AorayError(f"{len(frame)} bytes are too much for one call between actors")
    return frame


class RpcConnection(FrameProtocol):
    """The caller's side of a connection between actors."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._calls = 0
        self._unheard = 0  # pings since anything arrived
        self._probing: asyncio.TimerHandle | None = None
        self.lost = False

    @classmethod
    async def connect(cls, address: RpcAddress) -> RpcConnection:
        """Return a connection to the actor at this address. Raises `OSError` if nothing answers in
        WIRE_CONNECT_SECONDS_MAX."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(limits.WIRE_CONNECT_SECONDS_MAX):
            _, line = await loop.create_connection(lambda: cls(address.secret), address.host, address.port)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the secret as the first frame."""
        super().connection_made(transport)
        self.send(self._secret)

    async def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the actor, and return or raise what the method does. Raises `ConnectionResetError`
        if the connection breaks first."""
        if self.lost:
            raise ConnectionResetError("the connection is gone")
        self._calls += 1
        number = self._calls
        frame = _frame(number, method, arguments)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send(frame)
        if self._probing is None:
            self._probe_later()
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def data_received(self, data: bytes) -> None:
        """Note that the actor is alive, and handle its frames."""
        self._unheard = 0
        super().data_received(data)

    def _probe_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._probing = loop.call_later(limits.WIRE_SILENCE_SECONDS_MAX / PROBES, self._probe)

    def _probe(self) -> None:
        """Ping the actor while a call waits; break the connection if PROBES pings in a row bring no sign of
        life."""
        self._probing = None
        if self.lost or not self._waiting:
            return
        if self._unheard >= PROBES:
            log.warning("an actor has not been heard for %s s", limits.WIRE_SILENCE_SECONDS_MAX)
            self.transport.abort()
            return
        self._unheard += 1
        self.send(PING)
        self._probe_later()

    def on_frame(self, frame: bytes) -> None:
        """Give an answer to the call that waits for it."""
        number, value, error = pickle.loads(frame)
        answer = self._waiting.get(number)
        if answer is None or answer.done():  # the caller is gone
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Raise `ConnectionResetError` in every call that waits for an answer."""
        self.lost = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the actor is gone"))

    def close(self) -> None:
        """Break the connection at once."""
        self.transport.abort()
