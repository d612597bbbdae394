"""Placement: chooses the actor of a process, once. Pure: no Ray, no store.

A process goes to the least loaded actor of the pool (load is the number of processes placed there), or to a
Ray actor of its own if it asks for that. The shard that owns the process decides, and writes the choice and a
raised term to its log before anything is sent to the actor; so the choice survives the shard.

Invariant: equal loads always give the same choice. Each shard breaks ties starting at a different actor, so
that several shards with few processes do not all start at actor 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from aoray import limits
from aoray.cluster.names import own_actor, pool_actor


class Placement:
    """The loads of the pool as one shard knows them."""

    def __init__(self, pool_size: int, *, offset: int = 0, all_own: bool = False) -> None:
        if pool_size < 1:
            raise ValueError("a pool has at least one actor")
        self.all_own = all_own
        self.pool = tuple(pool_actor(index) for index in range(pool_size))
        self._ties = tuple(self.pool[(index + offset) % pool_size] for index in range(pool_size))
        self._loads = dict.fromkeys(self.pool, 0)
        self._own = 0

    def load(self, counts: Mapping[str, int]) -> None:
        """Replace the loads by these counts of processes by actor name."""
        self._loads = {name: counts.get(name, 0) for name in self.pool}
        self._own = sum(name not in self._loads for name in counts if name)

    def choose(self, process_id: str, own: bool) -> str:
        """Choose the actor of a process that has none, and count the process there. `own` asks for an actor
        of its own; beyond OWN_ACTORS_MAX the process goes to the pool."""
        if (own or self.all_own) and self._own < limits.OWN_ACTORS_MAX:
            self._own += 1
            return own_actor(process_id)
        name = min(self._ties, key=self._loads.__getitem__)  # min keeps the first of equals
        self._loads[name] += 1
        return name

    def holds(self, actor: str, process_id: str, own: bool) -> bool:
        """Return whether an earlier choice is still allowed; the pool or a setting may have changed."""
        if actor in self._loads:
            return not (own or self.all_own) or self._own >= limits.OWN_ACTORS_MAX
        return (own or self.all_own) and actor == own_actor(process_id)
