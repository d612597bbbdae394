"""The classes of a computer's Ray actors. Each imports and makes its service only on the node where it runs.

Ray loads the class of an actor in every process that looks the actor up by name. If these classes were the
services themselves, a process actor that looks up a gateway would import FastAPI (22 MiB and half a second at
its first result), and a shard would import wasmtime. Therefore a class here names its service by import path,
and the methods of the service are called over RPC (`aoray.cluster.rpc`).

On failure: an error raised by the service's `__init__` is raised by the actor's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from aoray.cluster.rpc import RpcAddress
from aoray.settings import Settings


class ServiceActor:
    """A Ray actor whose service is an instance of the class at the import path `service_class`."""

    service_class: ClassVar[str]

    def __init__(self, settings: Settings, argument: Any) -> None:
        module, _, name = self.service_class.partition(":")
        self._service: Any = getattr(import_module(module), name)(settings, argument)

    async def wire(self) -> RpcAddress:
        """Return the address where the service answers RPC calls of other actors."""
        return RpcAddress(*await self._service.wire())

    async def ready(self) -> dict[str, Any]:
        """Return the service's report about itself, once it accepts work."""
        return dict(await self._service.ready())


class ProcessActor(ServiceActor):
    """The Ray actor that evaluates the processes placed on it."""

    service_class = "aoray.actors.process_actor:ProcessActor"

    async def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """Return the memory of a process, with the nonce, timestamp and block height of its last message. The
        memory may be too large for an RPC frame, so this call goes through Ray."""
        memory, nonce, timestamp, block_height = await self._service.memory(process_id)
        return memory, nonce, timestamp, block_height


class ShardActor(ServiceActor):
    """The Ray actor that orders the messages of its shard's processes."""

    service_class = "aoray.scheduler.shard:ShardActor"

    async def publish(self, items: list[bytes]) -> None:
        """Bring signed data items to Arweave. This is for the program that starts the computer, which has no
        event loop yet."""
        await self._service.publish(items)


class GatewayActor(ServiceActor):
    """The Ray actor that serves HTTP."""

    service_class = "aoray.gateway.gateway_actor:GatewayActor"
