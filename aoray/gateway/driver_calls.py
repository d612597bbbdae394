"""Requests of drivers on the Ray cluster: the same door as HTTP's, reached by a Ray call.

A program in the cluster needs no sockets to reach its computer: it calls the gateway's actor with a list of
requests, and each goes through the very application that answers HTTP, from the `Door` on. So whatever is
parsed, verified, bounded, ordered and made durable there is so here, and there is nothing that a client
could leave out.

Answers come when they are ready, not request by request: `exchange` takes new requests, and gives the
answers that are ready by then (a batch of `limits.BATCH_BYTES_MAX`, the rest with the next call), or waits
for one. At most one call of a driver is held here; a newer one
releases it. All drivers together count as one address (`ray`) where addresses have a rate.

On failure: a gateway that dies takes requests and answers with it. Its driver sees the call fail, and asks
again: an item is scheduled once however often it is sent. A driver that stays away for
`limits.DRIVER_SECONDS_MAX` is forgotten, with the answers that it did not take. An answer that no call can
carry is a 413.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

from aoray import limits
from aoray.contracts.gateway import Answered, Ask
from aoray.errors import TooLarge, body_of, status_of

log = logging.getLogger(__name__)


class Drivers:
    """The drivers that use the application of one gateway."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._drivers: dict[str, _Driver] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._forgetting: asyncio.TimerHandle | None = None

    async def exchange(self, driver: str, asks: list[Ask]) -> list[Answered]:
        """Take requests of a driver, and return the answers that are ready to earlier ones or these."""
        if self._forgetting is None:
            self._forget()
        known = self._drivers.setdefault(driver, _Driver())
        for ask in asks:
            task = asyncio.create_task(self._answer(known, ask))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await known.take()

    async def _answer(self, driver: _Driver, ask: Ask) -> None:
        response = _Response(ask.body)
        try:
            await self._app(_scope(ask), response.receive, response.send)
        except Exception:  # noqa: BLE001  Starlette raises a fault in aoray again after it has answered
            log.info("%s %s failed", ask.method, ask.path)
        answered = Answered(ask.number, response.status, response.headers, b"".join(response.body))
        driver.give(_carried(answered))

    def _forget(self) -> None:
        """Now and then for as long as there are drivers, also if none of them calls any more."""
        limit = time.monotonic() - limits.DRIVER_SECONDS_MAX
        for name in [name for name, driver in self._drivers.items() if driver.seen < limit]:
            del self._drivers[name]
        again_s = limits.DRIVER_SECONDS_MAX / 2
        loop = asyncio.get_running_loop()
        self._forgetting = loop.call_later(again_s, self._forget_again)

    def _forget_again(self) -> None:
        self._forgetting = None
        if self._drivers:
            self._forget()


class _Driver:
    """The answers that one driver has not taken yet, and its call that waits for some."""

    def __init__(self) -> None:
        self.seen = time.monotonic()
        self._answers: deque[Answered] = deque()
        self._held = asyncio.Event()

    def give(self, answered: Answered) -> None:
        self._answers.append(answered)
        self._held.set()

    async def take(self) -> list[Answered]:
        self._held.set()  # of an older call: this one waits in its place
        self._held = held = asyncio.Event()
        if not self._answers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.EXCHANGE_SECONDS_MAX):
                    await held.wait()
            await asyncio.sleep(0)  # what is ready at the same moment comes along
        self.seen = time.monotonic()
        answers: list[Answered] = []
        size = 0
        while self._answers and (not answers or size + len(self._answers[0].body) <= limits.BATCH_BYTES_MAX):
            answers.append(self._answers.popleft())
            size += len(answers[-1].body)
        if self._answers:  # for a newer call that waits already
            self._held.set()
        return answers


class _Response:
    """One request's end of ASGI."""

    def __init__(self, body: bytes) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self._request: bytes | None = body

    async def receive(self) -> Message:
        if self._request is None:  # a caller by Ray does not go away before it is answered
            await asyncio.get_running_loop().create_future()
        body, self._request = self._request, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            self.body.append(message.get("body", b""))


def _carried(answered: Answered) -> Answered:
    """The answer, or that it is too large for a call."""
    if len(answered.body) <= limits.EXCHANGE_BYTES_MAX:
        return answered
    error = TooLarge("the answer is too large for a driver", hint="Ask by HTTP.", bytes=len(answered.body))
    headers = {"content-type": "application/json"}
    return Answered(answered.number, status_of(error), headers, orjson.dumps(body_of(error)))


def _scope(ask: Ask) -> dict[str, Any]:
    headers = [(b"host", b"aoray"), (b"content-length", str(len(ask.body)).encode())]
    if ask.content_type:
        headers.append((b"content-type", ask.content_type.encode("latin-1")))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "query_string": ask.query,
        "root_path": "",
        "headers": headers,
        "client": ("ray", 0),
        "server": ("aoray", 0),
    }
