"""What every unit's application shares: the door, bounded bodies, and errors as JSON.

Each request passes the `AdmissionMiddleware` first. It collapses leading slashes (AO's clients join addresses
naively), answers preflights, lets any origin read, refuses with 503 what an address has under way beyond its
share of `limits.REQUESTS_IN_FLIGHT_MAX`, and with 429 what `admit` refuses. `/health` always comes in. What
goes out is bounded by `answers`.
Whatever goes wrong after it becomes a JSON body by `errors.body_of`; nothing is ever redirected, since
clients turn a redirected POST into a GET or lose its body.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from aoray import limits
from aoray._version import __version__
from aoray.errors import (
    AorayError,
    ClientError,
    MalformedInput,
    NotFound,
    Overloaded,
    RateLimited,
    body_of,
    status_of,
)
from aoray.web.answers import DeferredSend
from aoray.web.bodies import BodyBudget
from aoray.web.connection import FastPath
from aoray.web.crowd import Crowd
from aoray.web.openapi import DocumentedApp, RouteTable
from aoray.web.rate_limit import address_of
from aoray.web.shares import OWN, OWN_WORD, WHO

log = logging.getLogger(__name__)

OPEN = (b"access-control-allow-origin", b"*")
# Tags and places of items, Retry-After, ranges, …: whatever there is. (No origin may send credentials.)
EXPOSED = (b"access-control-expose-headers", b"*")
NO_TABLE: RouteTable = MappingProxyType({})
HEALTH = "/health"
PREFLIGHT = [
    OPEN,
    (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE"),
    (b"access-control-max-age", b"86400"),
    (b"content-length", b"0"),
]


class InFlight:
    """What is under way in one gateway: its clients, their requests, and the bodies of those."""

    def __init__(self, folder: Path = Path("/tmp")) -> None:
        """`folder` is where large answers wait for their readers."""
        self.crowd = Crowd()
        self.folder = folder
        self.bodies = BodyBudget()
        self.requests_total = 0

    @property
    def requests(self) -> int:
        """The number of requests under way."""
        return self.crowd.requests.held

    def leave(self, scope: Scope) -> None:
        """Count a request as answered."""
        if who := scope[WHO]:
            self.crowd.requests.give(who)


class AdmissionMiddleware:
    """The outermost ASGI layer of an application; `hot` routes of it are reached without the layers between.

    FastAPI's own layers cost more than a hot route does, and give it nothing but its error handlers.
    """

    def __init__(
        self,
        app: FastAPI,
        in_flight: InFlight,
        hot: Sequence[Route] = (),
        admit: Callable[[Scope], None] = lambda scope: None,
        who: Callable[[Scope], str] | None = None,
        *,
        own_word: str = "",
    ) -> None:
        """Who says `own_word` is one of the computer's own actors, which have no rates. Without `who` a
        request is from the peer of its connection."""
        self._app = app
        self.in_flight = in_flight
        self._who = who
        self._own_word = own_word.encode()
        self.crowd = in_flight.crowd  # connections are in it too
        self._hot = hot
        self._admit = admit
        self.fast_path: FastPath | None = None  # which connections ask first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await _preflight(scope, send)
        elif (refusal := self.refusal(scope)) is not None:
            await error_response(refusal)(scope, receive, _opened(send))
        else:
            await self._enter(scope, receive, send)

    def refusal(self, scope: Scope, *, is_free: bool = False) -> AorayError | None:
        """Return why this request is refused; None if it is admitted. One that may is counted until it
        leaves (`InFlight.leave`). One that is free has no rate."""
        if scope.get("path") == HEALTH:
            scope[WHO] = ""
            return None
        if self._who is not None or WHO not in scope:  # a connection says it (web/connection.py)
            scope[WHO] = (self._who or address_of)(scope)
        scope[OWN] = bool(self._own_word) and self._is_own(scope)
        if not self.crowd.requests.take(scope[WHO]):
            return Overloaded("too many requests are under way", hint="Try again.", retry_after_s=1)
        try:
            if not is_free and not scope[OWN]:
                self._admit(scope)
        except RateLimited as error:
            self.crowd.requests.give(scope[WHO])
            return error
        return None

    def _is_own(self, scope: Scope) -> bool:
        said = next((value for name, value in scope["headers"] if name == OWN_WORD.encode()), b"")
        return hmac.compare_digest(said, self._own_word)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("//"):
            path = "/" + scope["path"].lstrip("/")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        self.in_flight.requests_total += 1
        opened = _opened(send)
        answer = DeferredSend(opened, self.crowd, scope[WHO], self.in_flight.folder)
        try:
            await self._reach(scope, receive, answer.send)
            if (error := await answer.finish()) is not None:
                await error_response(error)(scope, receive, opened)
        finally:
            answer.close()
            self.in_flight.leave(scope)

    async def _reach(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._hot:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope = {**scope, **child, "app": self._app, "starlette.exception_handlers": (HANDLERS, {})}
                await route.handle(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _opened(send: Send) -> Send:
    async def opened(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], OPEN, EXPOSED]
        await send(message)

    return opened


async def _preflight(scope: Scope, send: Send) -> None:
    asked = [value for name, value in scope["headers"] if name == b"access-control-request-headers"]
    allowed = [(b"access-control-allow-headers", asked[0] if asked else b"*")]
    await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT + allowed})
    await send({"type": "http.response.body", "body": b""})


def application(title: str, table: RouteTable = NO_TABLE) -> FastAPI:
    """Return an application without routes, whose errors are JSON; `table` describes the routes that are
    added."""
    app = DocumentedApp(title=title, version=__version__, redirect_slashes=False)
    app.table = table
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def json_response(content: Any, status: int = 200) -> Response:
    """Return a response with this content as JSON."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def error_response(error: AorayError, status: int | None = None) -> Response:
    """Return the response for an error: its status, its JSON, and `Retry-After` where the error says when."""
    response = json_response(body_of(error), status or status_of(error))
    if (seconds := error.details.get("retry_after_s")) is not None:
        response.headers["retry-after"] = str(seconds)
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AorayError)
    if not isinstance(error, ClientError | Overloaded):  # overload is counted: lines would add to it
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Of the router: no such route, or not with this method."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return error_response(NotFound(f"no route {where}"))
    response = error_response(ClientError(f"{error.detail}: {where}"), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    return error_response(MalformedInput(str(fault["msg"]), field=".".join(map(str, fault["loc"]))))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return error_response(ClientError("the client went away"))


async def _on_bug(request: Request, error: Exception) -> Response:
    """A fault in aoray."""
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return error_response(AorayError("internal error", hint="The gateway's log says more."))


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    AorayError: _on_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    ClientDisconnect: _on_disconnect,
    Exception: _on_bug,
}


def body_of_request(request: Request, load: InFlight) -> AbstractAsyncContextManager[bytes]:
    """Give the body of a request, counted in `in_flight` while it is used."""
    return load.bodies.read(
        request,
        bytes_max=limits.REQUEST_BYTES_MAX,
        total_bytes_max=limits.BODIES_BYTES_MAX,
        seconds_max=limits.REQUEST_BODY_SECONDS_MAX,
    )
