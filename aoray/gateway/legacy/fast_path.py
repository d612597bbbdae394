"""The fast path of the two requests that every message makes: `POST /` and `GET /result/{id}`.

Where in a message's journey: the first and the last stop. A request that is whole in what one read of its
connection gave, plain HTTP/1.1, and of one of these forms, is answered by the connection itself: no ASGI
scope, no task, no timers but one. Everything else (bodies that come in pieces, spawns' modules, results that
are not on their way to us, odd queries) goes the ordinary way, `messenger` and `compute`; and so does what
the fast path finds too hard.

Invariants: those of `web.fast_path`; and bodies are counted while they are used.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial

from aoray import limits
from aoray.contracts.shard import Receipt
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy.compute import find_result
from aoray.gateway.legacy.messenger import PROCESSING
from aoray.web.application import AdmissionMiddleware
from aoray.web.connection import FastRequest, Handler
from aoray.web.crowd import WHO
from aoray.web.fast_path import FastPathBase, send

_ID = rb"([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])"
_RESULT = re.compile(rb"/result/" + _ID + rb"\?process-id=" + _ID)


class LegacyFastPath(FastPathBase):
    """The fast path of the legacy dialect into one application."""

    def __init__(
        self, gateway: Gateway, admission: AdmissionMiddleware, *, posts: bool, results: bool
    ) -> None:
        super().__init__(admission)
        self._gateway = gateway
        self._posts = posts
        self._results = results

    def handler(self, method: bytes, url: bytes) -> Handler | None:
        """Return the handler of this request, to be called with the whole body; None if it takes the slow
        path."""
        if method == b"POST":
            return self._post if self._posts and url == b"/" else None
        if method == b"GET" and self._results and (found := _RESULT.fullmatch(url)):
            message_id, process_id = found.groups()
            return partial(self._result, (process_id.decode(), message_id.decode()))
        return None

    # POST /

    def _post(self, exchange: FastRequest, raw: bytes) -> None:
        if not self.admits(exchange, "POST"):
            return
        bodies = self.in_flight.bodies
        try:
            bodies.check(len(raw), total_bytes_max=limits.BODIES_BYTES_MAX)
            taken = self._gateway.ingress.take(raw)
        except Exception as error:  # noqa: BLE001 - it is answered, and logged
            self.fail(exchange, error)
        else:
            bodies.bytes += len(raw)
            taken.add_done_callback(partial(self._posted, exchange, len(raw)))

    def _posted(self, exchange: FastRequest, size: int, taken: asyncio.Future[Receipt]) -> None:
        self.in_flight.bodies.bytes -= size
        try:
            receipt = taken.result()
        except Exception as error:  # noqa: BLE001 - it is answered, and logged
            self.fail(exchange, error)
        else:
            self.json(exchange, 202, PROCESSING % (b"DataItem", receipt.message_id.encode()))

    # GET /result/{id}

    def _result(self, key: tuple[str, str], exchange: FastRequest, _: bytes) -> None:
        if not self.admits(exchange, "GET", is_free=True):
            return
        pending = self._gateway.pending_results
        found = pending.fresh.get(key)
        if found is not None:
            self._serve(exchange, found)
        elif key in pending.backpressure.awaited:
            self._await(key, exchange)
        else:
            self._find(key, exchange)

    def _serve(self, exchange: FastRequest, result: bytes) -> None:
        self._gateway.results_served_total += 1
        self.json(exchange, 200, result)

    def _await(self, key: tuple[str, str], exchange: FastRequest) -> None:
        """It comes unasked; if it does not, look for it."""
        waiter = self._gateway.pending_results.waiter(key)
        timer = waiter.get_loop().call_later(limits.RESULT_REWATCH_S, self._insist, key, exchange, waiter)
        waiter.add_done_callback(partial(self._delivered, exchange, timer))

    def _delivered(
        self, exchange: FastRequest, timer: asyncio.TimerHandle, waiter: asyncio.Future[bytes]
    ) -> None:
        timer.cancel()
        if not waiter.cancelled():
            self._serve(exchange, waiter.result())

    def _insist(self, key: tuple[str, str], exchange: FastRequest, waiter: asyncio.Future[bytes]) -> None:
        if waiter.done():
            return
        waiter.cancel()
        self._gateway.pending_results.forget(key, waiter)
        if exchange.is_closed:
            self.requests.give(exchange.scope[WHO])
        else:
            self._find(key, exchange, overdue=True)

    def _find(self, key: tuple[str, str], exchange: FastRequest, *, overdue: bool = False) -> None:
        self.begin(self._found(key, exchange, overdue))

    async def _found(self, key: tuple[str, str], exchange: FastRequest, overdue: bool) -> None:
        wait_ms = limits.RESULT_WAIT_MS_MAX
        try:
            who = exchange.scope[WHO]
            found = await find_result(self._gateway, *key, wait_ms, exchange.is_gone, who, overdue=overdue)
        except Exception as error:  # noqa: BLE001 - it is answered, and logged
            self.fail(exchange, error)
            return
        if isinstance(found, bytes):
            self._serve(exchange, found)
        else:
            self.requests.give(exchange.scope[WHO])
            send(exchange, found)
