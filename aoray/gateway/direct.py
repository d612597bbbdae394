"""The short way of the two requests that every message makes: `POST /` and `GET /result/{id}`.

Where in a message's journey: the first and the last stop. A request that is whole in what one read of its
connection gave, plain HTTP/1.1, and of one of these forms, is answered by the connection itself: no ASGI
scope, no task, no timers but one. Everything else (bodies that come in pieces, spawns' modules, results that
are not on their way to us, odd queries) goes the ordinary way, `messenger` and `compute`; and so does what
the short way finds too hard.

Invariants: the answers, the bounds and the counts are those of the ordinary way: the `Door` is asked first,
bodies are counted while they are used, one request of a connection is under way at a time, and a client that
does not read is not written to.

On failure: an `AorayError` becomes its JSON body, whatever else a 500; a client that went away is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Protocol

from starlette.responses import Response

from aoray import limits
from aoray.errors import AorayError, ClientError, Overloaded
from aoray.gateway.compute import find_result
from aoray.gateway.crowd import WHO
from aoray.gateway.gateway import Gateway
from aoray.gateway.messenger import processing
from aoray.gateway.web import Door, error_response
from aoray.scheduler.rules import Receipt

log = logging.getLogger(__name__)

BUG_HINT = "The gateway's log says more."
_ID = rb"([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])"
_RESULT = re.compile(rb"/result/" + _ID + rb"\?process-id=" + _ID)
_OPEN = b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n\r\n"
_JSON_HEAD = b"content-length: %d\r\ncontent-type: application/json\r\n" + _OPEN
_STATUS = {int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Exchange(Protocol):
    """A request on its connection, and the way back; `scope` is as ASGI has it, without path and query."""

    scope: dict[str, Any]

    @property
    def is_closed(self) -> bool: ...
    async def is_gone(self) -> bool: ...
    def answer(self, status: bytes, rest: bytes) -> None: ...
    async def answer_long(self, status: bytes, head: bytes, body: bytes) -> None: ...


Handler = Callable[[Exchange, bytes], None]


class Direct:
    """The short way into one application."""

    def __init__(self, gateway: Gateway, door: Door, *, posts: bool, results: bool) -> None:
        self._gateway = gateway
        self._door = door
        self._posts = posts
        self._results = results
        self._tasks: set[asyncio.Task[None]] = set()

    def handler(self, method: bytes, url: bytes) -> Handler | None:
        """What answers this request, if it may go the short way; call it with the whole body."""
        if method == b"POST":
            return self._post if self._posts and url == b"/" else None
        if method == b"GET" and self._results and (found := _RESULT.fullmatch(url)):
            message_id, process_id = found.groups()
            return partial(self._result, (process_id.decode(), message_id.decode()))
        return None

    def _admits(self, exchange: Exchange, method: str) -> bool:
        """Ask the door; whom it lets in counts as a request until it is answered."""
        exchange.scope["method"] = method
        refusal = self._door.refusal(exchange.scope)
        if refusal is not None:
            _send(exchange, error_response(refusal))
            return False
        self._gateway.load.requests_total += 1
        return True

    def _json(self, exchange: Exchange, status: int, body: bytes) -> None:
        if len(body) > limits.ANSWER_PLAIN_BYTES:
            self._begin(self._long(exchange, status, body))
            return
        self._gateway.load.leave(exchange.scope)
        exchange.answer(_STATUS[status], _JSON_HEAD % len(body) + body)

    async def _long(self, exchange: Exchange, status: int, body: bytes) -> None:
        try:
            await exchange.answer_long(_STATUS[status], _JSON_HEAD % len(body), body)
        except Overloaded as error:
            self._fail(exchange, error)
        else:
            self._gateway.load.leave(exchange.scope)

    def _fail(self, exchange: Exchange, error: AorayError) -> None:
        self._gateway.load.leave(exchange.scope)
        if isinstance(error, Overloaded):  # one of thousands, which are counted: no line in the log for each
            exchange.answer(*_overloaded(error.message, error.hint, error.details.get("retry_after_s", 1)))
            return
        if not isinstance(error, ClientError):
            log.warning("a request failed: %s", error)
        _send(exchange, error_response(error))

    # POST /

    def _post(self, exchange: Exchange, raw: bytes) -> None:
        if not self._admits(exchange, "POST"):
            return
        bodies = self._gateway.load.bodies
        try:
            bodies.check(len(raw), total_bytes_max=limits.BODIES_BYTES_MAX)
            taken = self._gateway.ingress.take(raw)
        except AorayError as error:
            self._fail(exchange, error)
        except Exception:
            log.exception("a request failed")
            self._fail(exchange, AorayError("internal error", hint=BUG_HINT))
        else:
            bodies.bytes += len(raw)
            taken.add_done_callback(partial(self._posted, exchange, len(raw)))

    def _posted(self, exchange: Exchange, size: int, taken: asyncio.Future[Receipt]) -> None:
        self._gateway.load.bodies.bytes -= size
        try:
            receipt = taken.result()
        except AorayError as error:
            self._fail(exchange, error)
        except Exception:
            log.exception("a request failed")
            self._fail(exchange, AorayError("internal error", hint=BUG_HINT))
        else:
            self._json(exchange, 202, processing("DataItem", receipt.message_id))

    # GET /result/{id}

    def _result(self, key: tuple[str, str], exchange: Exchange, _: bytes) -> None:
        if not self._admits(exchange, "GET"):
            return
        waiting = self._gateway.waiting
        found = waiting.fresh(*key)
        if found is not None:
            self._serve(exchange, found)
        elif key in waiting.pressure:
            self._await(key, exchange)
        else:
            self._find(key, exchange)

    def _serve(self, exchange: Exchange, result: bytes) -> None:
        self._gateway.results_served_total += 1
        self._json(exchange, 200, result)

    def _await(self, key: tuple[str, str], exchange: Exchange) -> None:
        """It comes unasked; if it does not, look for it."""
        waiter = self._gateway.waiting.waiter(key)
        timer = waiter.get_loop().call_later(limits.RESULT_REWATCH_S, self._insist, key, exchange, waiter)
        waiter.add_done_callback(partial(self._delivered, exchange, timer))

    def _delivered(
        self, exchange: Exchange, timer: asyncio.TimerHandle, waiter: asyncio.Future[bytes]
    ) -> None:
        timer.cancel()
        if not waiter.cancelled():
            self._serve(exchange, waiter.result())

    def _insist(self, key: tuple[str, str], exchange: Exchange, waiter: asyncio.Future[bytes]) -> None:
        if waiter.done():
            return
        waiter.cancel()
        self._gateway.waiting.forget(key, waiter)
        if exchange.is_closed:
            self._gateway.load.leave(exchange.scope)
        else:
            self._find(key, exchange, overdue=True)

    def _find(self, key: tuple[str, str], exchange: Exchange, *, overdue: bool = False) -> None:
        self._begin(self._found(key, exchange, overdue))

    def _begin(self, running: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _found(self, key: tuple[str, str], exchange: Exchange, overdue: bool) -> None:
        wait_ms = limits.RESULT_WAIT_MS_MAX
        try:
            who = exchange.scope[WHO]
            found = await find_result(self._gateway, *key, wait_ms, exchange.is_gone, who, overdue=overdue)
        except AorayError as error:
            self._fail(exchange, error)
            return
        except Exception:
            log.exception("a request failed")
            self._fail(exchange, AorayError("internal error", hint=BUG_HINT))
            return
        if isinstance(found, bytes):
            self._serve(exchange, found)
        else:
            self._gateway.load.leave(exchange.scope)
            _send(exchange, found)


def _send(exchange: Exchange, response: Response) -> None:
    """A response that was made for the ordinary way."""
    exchange.answer(*_parts(response))


def _parts(response: Response) -> tuple[bytes, bytes]:
    headers = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return _STATUS[response.status_code], headers + _OPEN + bytes(response.body)


@lru_cache(maxsize=16)
def _overloaded(message: str, hint: str, retry_after_s: int) -> tuple[bytes, bytes]:
    """The answer to what is refused: its bytes are made once."""
    return _parts(error_response(Overloaded(message, hint=hint, retry_after_s=retry_after_s)))
