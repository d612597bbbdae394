"""What is said to a gateway, and what a gateway answers."""

from __future__ import annotations

from typing import NamedTuple

from aoray.contracts.actor import ActorCaller
from aoray.storage.records import ResultRow


class Ask(NamedTuple):
    """A driver's request; `number` is the driver's own."""

    number: int
    method: str
    path: str
    query: bytes
    body: bytes
    content_type: str


class Answered(NamedTuple):
    """The answer to the driver's request of that number. The names of headers are in small letters."""

    number: int
    status: int
    headers: dict[str, str]
    body: bytes


ResultDelivery = tuple[str, str, bytes]
Reference = tuple[str, int]  # process id, nonce
Announced = ResultRow | tuple[str, int]  # the latter its process and its nonce


class GatewayCaller(ActorCaller):
    """Calls of one gateway."""

    async def deliver(self, results: list[ResultDelivery]) -> None:
        """Bring results that the gateway watches for."""
        await self._call(self.name, "deliver", results)

    async def push(self, announced: list[Announced]) -> None:
        """Tell of results with outboxes, of processes whose gateway it is."""
        await self._call(self.name, "push", announced)

    async def exchange(self, driver: str, asks: list[Ask]) -> list[Answered]:
        """Requests of a driver on the cluster, and answers that are ready for it."""
        found: list[Answered] = await self._call(self.name, "exchange", driver, asks)
        return found
