"""What every unit's application shares: the door, bounded bodies, and errors as JSON.

Each request passes the `Door` first. It collapses leading slashes (AO's clients join addresses naively),
answers preflights, lets any origin read, and refuses with 503 beyond `limits.REQUESTS_IN_FLIGHT_MAX`.
Whatever goes wrong after it becomes a JSON body by `errors.body_of`; nothing is ever redirected, since
clients turn a redirected POST into a GET or lose its body.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from aoray import __version__, limits
from aoray.errors import (
    AorayError,
    ClientError,
    MalformedInput,
    NotFound,
    Overloaded,
    TooLarge,
    body_of,
    status_of,
)
from aoray.gateway.openapi import Described

log = logging.getLogger(__name__)

OPEN = (b"access-control-allow-origin", b"*")
PREFLIGHT = [
    OPEN,
    (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE"),
    (b"access-control-max-age", b"86400"),
    (b"content-length", b"0"),
]


class Load:
    """What is going on in one gateway: requests in flight, and the bytes of their bodies."""

    def __init__(self) -> None:
        self.requests = 0
        self.body_bytes = 0
        self.requests_total = 0


class Door:
    """The outermost ASGI layer of an application; `hot` routes of it are reached without the layers between.

    FastAPI's own layers cost more than a hot route does, and give it nothing but its error handlers.
    """

    def __init__(self, app: FastAPI, load: Load, hot: Sequence[Route] = ()) -> None:
        self._app = app
        self._load = load
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await _preflight(scope, send)
        elif self._load.requests >= limits.REQUESTS_IN_FLIGHT_MAX:
            busy = Overloaded("too many requests are under way", hint="Try again.", retry_after_s=1)
            await error_response(busy)(scope, receive, _opened(send))
        else:
            await self._enter(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("//"):
            path = "/" + scope["path"].lstrip("/")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        self._load.requests += 1
        self._load.requests_total += 1
        try:
            await self._reach(scope, receive, _opened(send))
        finally:
            self._load.requests -= 1

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
            message["headers"] = [*message["headers"], OPEN]
        await send(message)

    return opened


async def _preflight(scope: Scope, send: Send) -> None:
    asked = [value for name, value in scope["headers"] if name == b"access-control-request-headers"]
    allowed = [(b"access-control-allow-headers", asked[0] if asked else b"*")]
    await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT + allowed})
    await send({"type": "http.response.body", "body": b""})


def application(title: str) -> FastAPI:
    """An application without routes yet, whose errors are JSON."""
    app = Described(title=title, version=__version__, redirect_slashes=False)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def json_response(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def error_response(error: AorayError, status: int | None = None) -> Response:
    response = json_response(body_of(error), status or status_of(error))
    if (seconds := error.details.get("retry_after_s")) is not None:
        response.headers["retry-after"] = str(seconds)
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AorayError)
    if not isinstance(error, ClientError):
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
    """A fault of ours."""
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return error_response(AorayError("internal error", hint="The gateway's log says more."))


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    AorayError: _on_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    ClientDisconnect: _on_disconnect,
    Exception: _on_bug,
}


@asynccontextmanager
async def body_of_request(
    request: Request, load: Load, bytes_max: int = limits.REQUEST_BYTES_MAX
) -> AsyncIterator[bytes]:
    """The body, at most `bytes_max` of it, counted in `load` while it is used."""
    announced = _announced(request)
    if announced > bytes_max:
        raise _too_large(bytes_max)
    if load.body_bytes + announced > limits.BODIES_BYTES_MAX:
        raise Overloaded("too many bodies are being read", retry_after_s=1)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.REQUEST_BODY_SECONDS_MAX):
            async for chunk in request.stream():
                size += len(chunk)
                load.body_bytes += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
        yield b"".join(chunks)
    except TimeoutError as error:
        raise MalformedInput("the body did not arrive in time", field="body") from error
    finally:
        load.body_bytes -= size


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    if not text.isdecimal():
        raise MalformedInput(f"Content-Length is {text[:40]!r}", field="content-length")
    return int(text)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the body is over {bytes_max} bytes", field="body", bytes_max=bytes_max)
