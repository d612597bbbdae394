"""What an actor tells a gateway: in order, and bounded while that does not listen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aoray import limits
from aoray.actors.gateway_notifier import GatewayNotifier

RESULT_BYTES = 1_000


class FrozenGateway:
    """Takes a call, and answers it once it is thawed; notes the numbers of what it was told."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.thawed = asyncio.Event()
        self.told: list[int] = []
        self.all_told = asyncio.Event()

    async def call(self, actor: str, method: str, batch: list[Any]) -> None:
        self.called.set()
        await self.thawed.wait()
        self.told += [int(message_id) for _, message_id, _ in batch]
        if self.told[-1] == 999:
            self.all_told.set()


async def told_after_a_thousand() -> list[int]:
    gateway = FrozenGateway()
    notifier = GatewayNotifier(gateway.call, 1)
    notifier.deliver("gateway-0", "process", "0", bytes(RESULT_BYTES))
    await gateway.called.wait()
    for number in range(1, 1_000):
        notifier.deliver("gateway-0", "process", str(number), bytes(RESULT_BYTES))
    gateway.thawed.set()
    await gateway.all_told.wait()
    return gateway.told


async def test_all_is_told_in_order_while_there_is_room() -> None:
    assert await told_after_a_thousand() == list(range(1_000))


@pytest.mark.parametrize(
    ("name", "bound"), [("NOTIFIER_QUEUE_MAX", 10), ("NOTIFIER_QUEUE_BYTES_MAX", 10 * RESULT_BYTES)]
)
async def test_for_a_gateway_that_is_frozen_no_more_is_held_than_the_bounds(
    monkeypatch: pytest.MonkeyPatch, name: str, bound: int
) -> None:
    monkeypatch.setattr(limits, name, bound)
    assert await told_after_a_thousand() == [0, *range(990, 1_000)]
