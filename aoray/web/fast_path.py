"""What every dialect's fast path does alike: requests that their connection answers by itself, without ASGI.

A request that is whole in what one read of its connection gave, plain HTTP/1.1, and of a form that a dialect
knows (`FastPath.handler`), is answered without a scope of ASGI's and without a task.

Invariants: the answers, the bounds and the counts are those of the ordinary way: the `AdmissionMiddleware` is
asked first, one request of a connection is under way at a time, and a client that does not read is not
written to.

On failure: an `AorayError` becomes its JSON body, whatever else a 500; a client that went away is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from aoray import limits
from aoray.errors import AorayError, ClientError, Overloaded
from aoray.web.application import AdmissionMiddleware, error_response
from aoray.web.connection import FastPath, FastRequest, Handler
from aoray.web.shares import WHO

log = logging.getLogger(__name__)

BUG_HINT = "The gateway's log says more."
_OPEN = b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n\r\n"
_JSON_HEAD = b"content-length: %d\r\ncontent-type: application/json\r\n" + _OPEN
_STATUS = {int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class FastPathBase:
    """The base of a fast path into one application. A dialect's own says which requests it takes
    (`handler`), and answers them: first it asks whether a request is admitted, and in the end it answers
    with `json` or `fail`."""

    def __init__(self, admission: AdmissionMiddleware) -> None:
        self._admission = admission
        self.in_flight = admission.in_flight
        self.requests = admission.in_flight.crowd.requests
        self._tasks: set[asyncio.Task[None]] = set()

    def admits(self, exchange: FastRequest, method: str, *, is_free: bool = False) -> bool:
        """Ask the middleware whether a request is admitted; if so, it counts as a request until it is
        answered. One that is free has no rate."""
        exchange.scope["method"] = method
        refusal = self._admission.refusal(exchange.scope, is_free=is_free)
        if refusal is not None:
            send(exchange, error_response(refusal))
            return False
        self.in_flight.requests_total += 1
        return True

    def json(self, exchange: FastRequest, status: int, body: bytes) -> None:
        """Answer with this JSON."""
        if len(body) > limits.ANSWER_PLAIN_BYTES:
            self.begin(self._long(exchange, status, body))
            return
        self.requests.give(exchange.scope[WHO])
        exchange.answer(_STATUS[status], _JSON_HEAD % len(body) + body)

    async def _long(self, exchange: FastRequest, status: int, body: bytes) -> None:
        try:
            await exchange.answer_long(_STATUS[status], _JSON_HEAD % len(body), body)
        except Overloaded as error:
            self.fail(exchange, error)
        else:
            self.requests.give(exchange.scope[WHO])

    def fail(self, exchange: FastRequest, error: Exception) -> None:
        """Answer with an error; an exception that is not an `AorayError` is a fault of aoray."""
        self.requests.give(exchange.scope[WHO])
        if not isinstance(error, AorayError):
            log.error("a request failed", exc_info=error)
            error = AorayError("internal error", hint=BUG_HINT)
        if isinstance(error, Overloaded):  # one of thousands, which are counted: no line in the log for each
            exchange.answer(*_overloaded(error.message, error.hint, error.details.get("retry_after_s", 1)))
            return
        if not isinstance(error, ClientError):
            log.warning("a request failed: %s", error)
        send(exchange, error_response(error))

    def begin(self, running: Coroutine[Any, Any, None]) -> None:
        """Continue in a task, where an answer takes time."""
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class FirstOf:
    """Several fast paths as one: the first that takes a request answers it."""

    def __init__(self, paths: Sequence[FastPath]) -> None:
        self._paths = paths

    def handler(self, method: bytes, url: bytes) -> Handler | None:
        """Return the handler of the first fast path that takes this request; None if none does."""
        return next((found for path in self._paths if (found := path.handler(method, url))), None)


def first_of(paths: Sequence[FastPath]) -> FastPath | None:
    """Combine several fast paths into one."""
    return FirstOf(paths) if len(paths) > 1 else next(iter(paths), None)


def send(exchange: FastRequest, response: Response) -> None:
    """Send a response that was made for the ordinary path."""
    exchange.answer(*_parts(response))


def _parts(response: Response) -> tuple[bytes, bytes]:
    headers = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return _STATUS[response.status_code], headers + _OPEN + bytes(response.body)


@lru_cache(maxsize=16)
def _overloaded(message: str, hint: str, retry_after_s: int) -> tuple[bytes, bytes]:
    """The answer to what is refused: its bytes are made once."""
    return _parts(error_response(Overloaded(message, hint=hint, retry_after_s=retry_after_s)))
