"""The names of the computer's Ray actors, and which shard, gateway and actor belong to a process."""

from __future__ import annotations

from aoray.protocol.ids import b64url_decode, is_id


def shard_actor(index: int) -> str:
    """Return the name of a shard's actor."""
    return f"shard-{index}"


def gateway_actor(index: int) -> str:
    """Return the name of a gateway's actor."""
    return f"gateway-{index}"


def is_gateway_actor(name: str) -> bool:
    """Return whether an actor of that name is a gateway."""
    return name.startswith("gateway-")


def shard_of(process_id: str, shards: int) -> int:
    """Return the number of the shard that owns a process. It follows from the first bytes of the process id,
    which is a hash."""
    return int.from_bytes(b64url_decode(process_id)[:8], "big") % shards


def pool_actor(index: int) -> str:
    """Return the name of an actor of the pool, which many processes share."""
    return f"process-actor-{index}"


def own_actor(process_id: str) -> str:
    """Return the name of the actor that serves this one process alone."""
    return f"process-{process_id}"


def gateway_of(process_id: str, gateways: int) -> int:
    """Return the number of the gateway that pushes the outboxes of a process."""
    return int.from_bytes(b64url_decode(process_id)[:8], "big") % gateways


def is_own_actor(name: str) -> bool:
    """Return whether this is the name of an actor that serves a single process."""
    return is_id(name.removeprefix(own_actor("")))


def actor_label(name: str) -> str:
    """Return the label of an actor in metrics. Actors of single processes share the label `own`, since their
    number is not bounded."""
    return "own" if is_own_actor(name) else name
