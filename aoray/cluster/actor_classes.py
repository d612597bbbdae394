"""The Ray actors of a computer, by class: each makes its service where it runs, and only there.

Whoever looks an actor up by its name loads the actor's class. A process actor that looked up a gateway would
hold all of FastAPI for it (22 MiB, and half a second of its time at the first result that it hands over), and
a shard would hold wasmtime. So what Ray loads are these classes: a service is named by its import path, and
its other methods are reached over its wire (`aoray.cluster.rpc`).

On failure: what a service's `__init__` raises is what the actor's raises.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from aoray.cluster.rpc import RpcAddress
from aoray.settings import Settings


class ServiceActor:
    """An actor whose service is of the class at an import path."""

    service_class: ClassVar[str]

    def __init__(self, settings: Settings, argument: Any) -> None:
        module, _, name = self.service_class.partition(":")
        self._service: Any = getattr(import_module(module), name)(settings, argument)

    async def wire(self) -> RpcAddress:
        """Return the address where other actors call the service without Ray."""
        return RpcAddress(*await self._service.wire())

    async def ready(self) -> dict[str, Any]:
        """Answer once the service accepts work."""
        return dict(await self._service.ready())


class ProcessActor(ServiceActor):
    """The Ray actor that evaluates the processes placed on it."""

    service_class = "aoray.actors.process_actor:ProcessActor"

    async def memory(self, process_id: str) -> tuple[bytes, int, int, int]:
        """Return the memory of a process, with the nonce, timestamp and block height of its last message. It
        may be so large that only Ray carries it."""
        memory, nonce, timestamp, block_height = await self._service.memory(process_id)
        return memory, nonce, timestamp, block_height


class ShardActor(ServiceActor):
    """The Ray actor that orders the messages of its processes."""

    service_class = "aoray.scheduler.shard:ShardActor"

    async def publish(self, items: list[bytes]) -> None:
        """Bring signed data items to Arweave; for who starts the computer, and has no event loop yet."""
        await self._service.publish(items)


class GatewayActor(ServiceActor):
    """The Ray actor that serves HTTP."""

    service_class = "aoray.gateway.gateway_actor:GatewayActor"
