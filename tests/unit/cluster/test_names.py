"""The names of actors: each kind is told from the others, whatever the ids of processes are."""

from __future__ import annotations

from aoray.cluster.names import (
    actor_label,
    gateway_actor,
    is_gateway_actor,
    is_own_actor,
    own_actor,
    pool_actor,
    shard_actor,
)

ODD_ID = "actor-1" + "A" * 36  # an id that somebody searched for


def test_each_kind_of_actor_is_known_by_its_name() -> None:
    others = [shard_actor(0), gateway_actor(3), pool_actor(12)]
    for process_id in ("A" * 43, ODD_ID):
        assert is_own_actor(own_actor(process_id)) and actor_label(own_actor(process_id)) == "own"
        assert not is_gateway_actor(own_actor(process_id))
    assert [is_own_actor(name) for name in others] == [False, False, False]
    assert [is_gateway_actor(name) for name in others] == [False, True, False]
    assert [actor_label(name) for name in others] == others
