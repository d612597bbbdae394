"""Calls of the computer's Ray actors by name, over RPC (`aoray.cluster.rpc`); failures arrive as
`AorayError`s.

A call of an actor that died or is restarting raises `Unavailable`, and the next call looks the actor up
again. An `AorayError` raised inside an actor arrives as it is. Gateways and process actors depend only on
`Call`, so tests can pass plain functions.
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

BY_RAY = {"memory"}  # methods whose answers may be too large for an RPC frame


class Call(Protocol):
    """Anything that calls a method of an actor by the actor's name: `await call("shard-0", "submit",
    batch)`."""

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any: ...


def wire_host(settings: Settings) -> str:
    """Return the address on which this actor listens for RPC: loopback if the whole computer is on one
    machine."""
    return str(ray.util.get_node_ip_address()) if settings.ray_address else "127.0.0.1"


class Peer:
    """A `Call` to one actor, whatever name is passed. It uses RPC if the actor offers it, and Ray
    otherwise."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._line: asyncio.Task[RpcConnection] | None = None

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any:
        """Return or raise what the method does; raise `RayError` or `OSError` if the actor can't be
        reached."""
        address = getattr(self._handle, "wire", None)
        if address is None or method in BY_RAY:
            return await getattr(self._handle, method).remote(*arguments)
        if self._line is None or _is_lost(self._line):
            self._line = asyncio.create_task(_connect(address.remote))
        line = await asyncio.shield(self._line)
        return await line.call(method, arguments)

    def close(self) -> None:
        """Close the connection to the actor, if there is one."""
        if self._line is not None and not _is_lost(self._line):
            self._line.add_done_callback(_close)


async def _connect(address: Callable[[], Any]) -> RpcConnection:
    """Connect to an actor. A frozen actor does not answer Ray either, which raises `TimeoutError` (an
    `OSError`)."""
    async with asyncio.timeout(limits.WIRE_SILENCE_SECONDS_MAX):
        return await RpcConnection.connect(RpcAddress(*await address()))


def _is_lost(line: asyncio.Task[RpcConnection]) -> bool:
    return line.done() and (line.cancelled() or line.exception() is not None or line.result().lost)


def _close(line: asyncio.Task[RpcConnection]) -> None:
    if not _is_lost(line):
        line.result().close()


class RayCalls:
    """The `Call` of a real computer. It keeps its peers, since looking up an actor costs as much as a Ray
    call.

    The actors are looked up in the Ray namespace `namespace`, by default that of this program.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace
        self._peers: dict[str, Peer] = {}

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any:
        peer = self._peers.get(actor) or self._new_peer(actor)
        try:
            return await peer(actor, method, *arguments)
        except RayTaskError as error:
            raise _cause(error, actor, method) from error
        except (RayError, OSError) as error:
            if self._peers.get(actor) is peer:  # another call may have replaced it
                del self._peers[actor]
                peer.close()
            raise Unavailable(f"{actor} does not answer", hint="It is being restarted.") from error

    def _new_peer(self, actor: str) -> Peer:
        try:
            peer = self._peers[actor] = Peer(ray.get_actor(actor, namespace=self._namespace))
        except ValueError as error:
            raise Unavailable(f"{actor} is not there", hint="It is being started.") from error
        return peer


def _cause(error: RayTaskError, actor: str, method: str) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, AorayError) else AorayError(f"{actor}.{method} failed: {cause!r}")
