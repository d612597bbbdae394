"""A typed caller says of an actor's call what the actor itself says: its parameters, and what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

from aoray.actors.process_actor import ProcessActor
from aoray.contracts.actor import ActorCaller
from aoray.contracts.gateway import GatewayCaller
from aoray.contracts.process_actor import ProcessActorCaller
from aoray.contracts.shard import ShardCaller, Shards
from aoray.gateway.gateway_actor import GatewayActor
from aoray.scheduler.shard import ShardActor

ACTORS: dict[type[ActorCaller], type[Any]] = {
    ShardCaller: ShardActor,
    ProcessActorCaller: ProcessActor,
    GatewayCaller: GatewayActor,
}
COUNTS = {"stats"}  # a gateway's are numbers alone


def methods() -> Iterator[object]:
    for caller in ACTORS:
        for name, method in inspect.getmembers(caller, inspect.iscoroutinefunction):
            yield pytest.param(caller, method, id=f"{caller.__name__}.{name}")


@pytest.mark.parametrize(("caller", "method"), list(methods()))
def test_a_caller_and_its_actor_agree_on_every_call(caller: type[ActorCaller], method: Any) -> None:
    answering = getattr(ACTORS[caller], method.__name__)
    asked, taken = inspect.signature(method).parameters, inspect.signature(answering).parameters
    assert [(each.name, each.default) for each in asked.values()] == [
        (each.name, each.default) for each in taken.values()
    ]
    if method.__name__ not in COUNTS:
        assert get_type_hints(method)["return"] == get_type_hints(answering)["return"]


async def test_a_caller_calls_that_method_of_that_actor_and_gives_its_answer() -> None:
    called = []

    async def call(actor: str, method: str, *arguments: Any) -> Any:
        called.append((actor, method, *arguments))
        return [*arguments]

    shards = Shards(call, 3)
    process_id = "A" * 42 + "E"
    assert await shards.of(process_id).locate([process_id]) == [[process_id]]
    for index, shard in enumerate(shards):
        await shard.flush()
        assert called[-1] == (f"shard-{index}", "flush")
    await ProcessActorCaller(call, "process-actor-1").watch([(process_id, "m")], "gateway-0")
    assert called[-1] == ("process-actor-1", "watch", [(process_id, "m")], "gateway-0")
    driven = await GatewayCaller(call, "gateway-1").exchange("driver", [])
    assert (called[-1], driven) == (("gateway-1", "exchange", "driver", []), ["driver", []])
