"""Calls to the computer's Ray actors by name, over their wires (`aoray.cluster.rpc`), with errors turned into
ours.

An actor that died or restarts gives `Unavailable`, and its handle is looked up again at the next call. An
`AorayError` raised in an actor arrives as itself. Gateways and process actors see only `Call`, so tests
give it plain functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from aoray import limits
from aoray.cluster.rpc import RpcAddress, RpcConnection
from aoray.errors import AorayError, Unavailable
from aoray.settings import Settings

BY_RAY = {"memory"}  # answers as large as a guest's memory


class Call(Protocol):
    """Whatever calls a method of an actor by the actor's name: `await call("shard-0", "submit", batch)`."""

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any: ...


def wire_host(settings: Settings) -> str:
    """Return where this actor listens for the others: on loopback when all of them are on one machine."""
    return str(ray.util.get_node_ip_address()) if settings.ray_address else "127.0.0.1"


class Peer:
    """One actor, called over its wire if it has one, and by Ray otherwise; a `Call` that knows this actor
    alone, whatever it is named."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._line: asyncio.Task[RpcConnection] | None = None

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any:
        """What the method returns or raises; `RayError` or `OSError` when the actor is not reached."""
        address = getattr(self._handle, "wire", None)
        if address is None or method in BY_RAY:
            return await getattr(self._handle, method).remote(*arguments)
        if self._line is None or _is_lost(self._line):
            self._line = asyncio.create_task(_connect(address.remote))
        line = await asyncio.shield(self._line)
        return await line.call(method, arguments)

    def close(self) -> None:
        if self._line is not None and not _is_lost(self._line):
            self._line.add_done_callback(_close)


async def _connect(address: Callable[[], Any]) -> RpcConnection:
    """A frozen actor does not answer Ray either: `TimeoutError`, which is an `OSError`."""
    async with asyncio.timeout(limits.WIRE_SILENCE_SECONDS_MAX):
        return await RpcConnection.connect(RpcAddress(*await address()))


def _is_lost(line: asyncio.Task[RpcConnection]) -> bool:
    return line.done() and (line.cancelled() or line.exception() is not None or line.result().lost)


def _close(line: asyncio.Task[RpcConnection]) -> None:
    if not _is_lost(line):
        line.result().close()


class RayCalls:
    """The `Call` of real actors. Peers are kept: to look one up costs as much as a Ray call.

    The actors are those of `namespace`: of this program's own, unless it is named.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace
        self._peers: dict[str, Peer] = {}

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any:
        peer = self._peer(actor)
        try:
            return await peer(actor, method, *arguments)
        except RayTaskError as error:
            raise _cause(error, actor, method) from error
        except (RayError, OSError) as error:
            if self._peers.get(actor) is peer:  # many calls fail together; the next one may be there already
                del self._peers[actor]
                peer.close()
            raise Unavailable(f"{actor} does not answer", hint="It is being restarted.") from error

    def _peer(self, actor: str) -> Peer:
        if actor not in self._peers:
            try:
                self._peers[actor] = Peer(ray.get_actor(actor, namespace=self._namespace))
            except ValueError as error:
                raise Unavailable(f"{actor} is not there", hint="It is being started.") from error
        return self._peers[actor]


def _cause(error: RayTaskError, actor: str, method: str) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, AorayError) else AorayError(f"{actor}.{method} failed: {cause!r}")
