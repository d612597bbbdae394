"""The transport of a driver on the Ray cluster: Ray calls to the actor of a gateway, without HTTP.

Requests gather while calls are in progress, and go in batches; `gateway.driver_calls` answers them with the
same application that answers HTTP. While requests are unanswered, one call is always in progress, so the
death of the gateway is noticed: unanswered requests then raise `Unavailable`, and `retry` sends them again.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import urlencode

import ray

from aoray import limits
from aoray.client.transports import TransportResponse, closed
from aoray.cluster.calls import RayCalls
from aoray.cluster.names import is_gateway_actor
from aoray.contracts.gateway import Answered, Ask, GatewayCaller
from aoray.errors import AorayError, ClientError, Unavailable

Exchange = Callable[[list[Ask]], Awaitable[list[Answered]]]


class RayTransport:
    """A `Transport` over Ray calls. `close` also disconnects from Ray, if `connect_ray` connected to it."""

    def __init__(self, url: str, exchange: Exchange, *, joined: bool = False) -> None:
        self.url = url
        self._exchange = exchange
        self._joined = joined
        self._numbers = 0
        self._queue: deque[Ask] = deque()
        self._waiting: dict[int, asyncio.Future[TransportResponse]] = {}  # in the order of the requests
        self._calls: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
    ) -> TransportResponse:
        """Send one request with the next batch. Raises `Unavailable` if the gateway does not answer."""
        if self._closed:
            raise closed(self.url)
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[TransportResponse] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._queue.append(Ask(number, method, path, urlencode(params).encode(), body, content_type))
        self._go_on()
        try:
            async with asyncio.timeout(limits.CLIENT_REQUEST_SECONDS_MAX):
                return await answer
        except TimeoutError as error:
            raise Unavailable(f"{self.url} does not answer") from error
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End all calls; unanswered requests raise `ClientError`."""
        if self._closed:
            return
        self._closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(closed(self.url))
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._joined:
            ray.shutdown()

    def _go_on(self) -> None:
        """Start one more call, if there is something to send, or if no call is left that could bring an
        answer."""
        if (self._queue and len(self._calls) < limits.CLIENT_CALLS_MAX) or (
            self._waiting and not self._calls
        ):
            call = asyncio.ensure_future(self._call(self._batch()))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _batch(self) -> list[Ask]:
        batch: list[Ask] = []
        size = 0
        while self._queue and len(batch) < limits.BATCH_MESSAGES_MAX and size < limits.BATCH_BYTES_MAX:
            batch.append(self._queue.popleft())
            size += len(batch[-1].body)
        return batch

    async def _call(self, batch: list[Ask]) -> None:
        try:
            answered = await self._exchange(batch)
        except AorayError as error:
            queued = {ask.number for ask in self._queue}
            for number, waiting in self._waiting.items():
                if number not in queued and not waiting.done():
                    waiting.set_exception(Unavailable(error.message, hint=error.hint))
            return
        for number, status, headers, body in answered:
            found = self._waiting.get(number)
            if found is not None and not found.done():
                found.set_result(TransportResponse(status, headers, body))
                del self._waiting[number]

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.result()
            self._go_on()


def connect_ray(ray_address: str = "auto", namespace: str | None = None) -> RayTransport:
    """Return the transport to the computer on a Ray cluster, and join the cluster unless this program has
    joined it. If the cluster has several computers, `namespace` selects one: `aoray up` prints it. Raises
    `ClientError` or `Unavailable`."""
    joined = not ray.is_initialized()
    if joined:
        try:
            ray.init(address=ray_address, log_to_driver=False, logging_level="ERROR")
        except ConnectionError as error:
            raise Unavailable(
                f"no Ray cluster at {ray_address}: {error}", hint="`aoray up` prints the address of its Ray."
            ) from error
    try:
        where, gateway = _gateway(namespace)
    except ClientError:
        if joined:
            ray.shutdown()
        raise
    exchange = partial(GatewayCaller(RayCalls(where), gateway).exchange, uuid.uuid4().hex)
    return RayTransport(f"ray:{where}/{gateway}", exchange, joined=joined)


def _gateway(namespace: str | None) -> tuple[str, str]:
    """Return the namespace of the selected computer, and the name of one of its gateways. Raises
    `ClientError`."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    gateways = [each for each in actors if is_gateway_actor(each["name"])]
    spaces = sorted({each["namespace"] for each in gateways if namespace in (None, each["namespace"])})
    if len(spaces) != 1:
        found = ", ".join(spaces) or "none"
        raise ClientError(
            f"no single computer to connect to on this Ray cluster; there are: {found}",
            hint="Name one: connect(ray_address=…, namespace=…); `aoray up` prints both.",
        )
    names = [each["name"] for each in gateways if each["namespace"] == spaces[0]]
    return spaces[0], random.choice(names)
