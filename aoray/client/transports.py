"""Transports: how a client's requests get to a computer, and how its refusals become errors again.

A `Transport` sends a request and returns the answer, whatever its status; only a computer that does not
answer raises an error (`Unavailable`). `refusal` makes an error from the status and body of an answer: of the
same class as in the computer, by its `code`, with its hint and ids, the HTTP `status`, and `retry_after_s` if
the computer asks to wait.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from aoray import limits
from aoray.errors import AorayError, ClientError, InfrastructureError, NotFound, RateLimited, Unavailable

if TYPE_CHECKING:
    import aiohttp

TAKEN = frozenset({"message", "hint", "error", "code", "cls"})  # names of an error's own arguments
STATUS_CLASS: Mapping[int, type[AorayError]] = {404: NotFound, 429: RateLimited, 500: AorayError}


class TransportResponse(NamedTuple):
    """A computer's answer to a request. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """A way to send requests to a computer."""

    url: str
    """The address of the computer, for people."""

    async def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
    ) -> TransportResponse:
        """Send one request. Raises `Unavailable` if the computer does not answer."""

    async def close(self) -> None:
        """Close the connections; every later request raises `ClientError`."""


class HttpTransport:
    """A `Transport` over HTTP, which keeps connections open."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
    ) -> TransportResponse:
        """Send one request. Raises `Unavailable` if the computer does not answer, `ClientError` if the URL is
        malformed."""
        import aiohttp

        if self._closed:
            raise closed(self.url)
        headers = {"content-type": content_type} if content_type else {}
        request = functools.partial(
            self._asked, method, self.url + path, params=params, data=body or None, headers=headers
        )
        try:
            try:
                return await request()
            except aiohttp.ServerDisconnectedError:  # an old connection to a restarted computer
                return await request()  # repeating is safe: an id is scheduled once
        except aiohttp.InvalidURL as error:
            raise ClientError(
                f"{self.url!r} is not a URL", hint="Write it like http://127.0.0.1:4000."
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(
                f"{self.url} does not answer: {_reason(error)}",
                hint="Start the computer with `aoray up`, or name another with --url or AORAY_URL.",
            ) from error

    async def _asked(self, method: str, url: str, **request: Any) -> TransportResponse:
        async with self._opened().request(method, url, **request) as response:
            names = {name.lower(): value for name, value in response.headers.items()}
            return TransportResponse(response.status, names, await response.read())

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, which belongs to the event loop in which it is first used."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=limits.CLIENT_REQUEST_SECONDS_MAX),
                connector=aiohttp.TCPConnector(limit=limits.CLIENT_CONNECTIONS_MAX),
                headers=self._headers,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections; every later request raises `ClientError`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def __del__(self) -> None:
        """Close the connections of a program that ended without closing, so that aiohttp prints no
        warning."""
        session = self._session
        if session is None or session.closed or (connector := session.connector) is None:
            return
        session.detach()
        # `close` is a coroutine, and there may be no event loop any more; this is its synchronous part.
        close = getattr(connector, "_close", None) or getattr(connector, "_close_immediately", None)
        if close is not None:
            with contextlib.suppress(RuntimeError):  # the event loop and its connections are closed
                close()


def closed(url: str) -> ClientError:
    """Return the error that every call after `close` raises."""
    return ClientError(f"the connection to {url} is closed", hint="Make another: aoray.connect(…).")


def _reason(error: Exception) -> str:
    """Return why a computer does not answer, with the text of the operating system if there is one."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return str(getattr(cause, "strerror", "") or error or type(error).__name__)


def json_object(answer: TransportResponse, url: str) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises `ClientError` if it is anything else."""
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise ClientError(
            f"{url} did not answer with JSON", hint="Check that this is an AO computer."
        ) from error
    if not isinstance(found, dict):
        raise ClientError(f"{url} answered {type(found).__name__}, not an object")
    return found


def refusal(answer: TransportResponse) -> AorayError:
    """Return the computer's own error, from the status and body of its answer."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    details = {name: value for name, value in body.items() if name not in TAKEN} | {"status": answer.status}
    if (seconds := answer.headers.get("retry-after", "")).isdecimal():
        details["retry_after_s"] = int(seconds)
    text = str(body.get("error") or f"{answer.status} from the computer")
    return _class_of(answer.status, body.get("code"))(text, hint=str(body.get("hint", "")), **details)


def _class_of(status: int, code: object) -> type[AorayError]:
    """Return the class of an error, by the code that aoray sends, or by the status alone for other
    computers."""
    known = {cls.code: cls for cls in _tree(AorayError)}
    if isinstance(code, str) and code in known:
        return known[code]
    default: type[AorayError] = Unavailable if status > 500 else ClientError
    return STATUS_CLASS.get(status, default)


def _tree(cls: type[AorayError]) -> Iterator[type[AorayError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def is_patient(error: AorayError) -> bool:
    """Return whether the same request may succeed later: after a rate limit, a full queue, or a failure of
    the computer."""
    return isinstance(error, RateLimited | InfrastructureError)
