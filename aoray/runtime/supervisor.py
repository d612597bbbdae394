"""The supervisor of a computer's named Ray actors: makes, places, moves and ends them. `aoray.cluster.nodes`
gives the rules.

The supervisor belongs to the OS process of `aoray up`, and ends with it. Ray restarts an actor that dies, and
the actor recovers by itself. `reconcile` is called once a second, and does what Ray does not. It makes an
actor again that Ray gave up (its `__init__` failed, for example while the store was away or the disk full).
On a cluster of several nodes it also moves actors to a node that joined, and away from one that is being
drained, including actors of single processes, which Ray then restarts elsewhere.

To move an actor is to end it and to make it again by its name elsewhere. This is as safe at any moment as a
`kill -9`: what was acknowledged is in the store, and terms fence an actor that still runs. To disturb little,
actors move one at a time, and only when all of them answer; those on a node that is being drained move at
once.

On failure: while Ray's control store does not answer, nothing is moved. An interrupted move is completed by
the next `reconcile`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aoray import limits
from aoray.cluster import nodes
from aoray.cluster.actor_classes import GatewayActor, ProcessActor, ShardActor
from aoray.cluster.names import gateway_actor, is_own_actor, pool_actor, shard_actor
from aoray.cluster.nodes import ActorKind, Node
from aoray.errors import Unavailable
from aoray.runtime import balancing
from aoray.settings import Settings

logger = logging.getLogger(__name__)

HEAD_ACTOR = gateway_actor(0)


class Supervisor:
    """The supervisor of every actor of one computer, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arguments: dict[ActorKind, dict[str, tuple[type, Any]]] = {
            "process": {pool_actor(n): (ProcessActor, pool_actor(n)) for n in range(settings.pool)},
            "shard": {shard_actor(n): (ShardActor, n) for n in range(settings.shards)},
            "gateway": {gateway_actor(n): (GatewayActor, n) for n in range(settings.gateways)},
        }
        self._head = nodes.own_node()
        self._handles: dict[str, Any] = {}

    @property
    def actors(self) -> list[Any]:
        """The handles of all actors."""
        return list(self._handles.values())

    @property
    def _spread(self) -> bool:
        """Whether the actors are on several nodes."""
        return self._settings.cluster is not None

    def start(self) -> None:
        """Make all actors, which start at the same time."""
        alive = nodes.alive_nodes() if self._spread else []
        for kind, arguments in self._arguments.items():
            self._make_all(kind, list(arguments), {}, alive)
        nodes.request(self._settings)

    def stop(self) -> None:
        """End every actor at once. There is nothing to save, since everything acknowledged is on disk."""
        for actor in self.actors:
            ray.kill(actor, no_restart=True)

    def reconcile(self) -> None:
        """Make actors again that have ended; on a cluster of several nodes also move those that should be
        elsewhere."""
        try:
            alive = nodes.alive_nodes() if self._spread else []
            for kind in nodes.ACTOR_KINDS:
                where, lost = self._where(kind)
                self._make_all(kind, lost, where, alive)
                self._balance(kind, where, alive)
            self._free({node.id for node in alive if node.draining})
        except (RayError, Unavailable) as error:
            logger.warning("the actors can't be looked after just now: %s", error)

    def _make_all(
        self, kind: ActorKind, names: list[str], where: Mapping[str, str], alive: list[Node]
    ) -> None:
        """Make these actors, on several nodes each on the best one; `where` are the nodes of the other actors
        of this kind."""
        weights = nodes.weights(kind, alive)
        movable = [name for name in names if name != HEAD_ACTOR]
        chosen = balancing.assign_nodes(movable, [*_movable(where).values(), *self._pinned(kind)], weights)
        for name in names:
            self._make(kind, name, chosen.get(name, ""))

    def _balance(self, kind: ActorKind, where: Mapping[str, str], alive: list[Node]) -> None:
        """Move actors of a kind that answer, as `balancing` decides."""
        wanted = balancing.moves(_movable(where), nodes.weights(kind, alive), self._pinned(kind))
        leaving = {node.id for node in alive if node.draining}
        hurried = {name: node for name, node in wanted.items() if where[name] in leaving}
        settled = len(where) == len(self._arguments[kind])
        first = dict(list(wanted.items())[:1]) if settled else {}
        for name, node in (hurried or first).items():
            logger.warning("%s moves to node %s", name, node)
            self._end(name)
            self._make(kind, name, node)

    def _pinned(self, kind: ActorKind) -> list[str]:
        """Return the nodes of the actors of a kind that do not move."""
        return [self._head] if kind == "gateway" else []

    def _where(self, kind: ActorKind) -> tuple[dict[str, str], list[str]]:
        """Return the nodes of the actors that answer, and the names of those that have ended."""
        names = list(self._arguments[kind])
        lost = [name for name in names if name not in self._handles]
        where, died = _asked({name: self._handles[name] for name in names if name not in lost})
        for name in died:
            logger.warning("%s died for good: it is made again", name)
            self._end(name)
        return where, lost + died

    def _free(self, leaving: set[str]) -> None:
        """Restart the actors of single processes on these nodes, since Ray places none on a draining node."""
        if not leaving:
            return
        own = filter(is_own_actor, ray.util.list_named_actors())
        handles = {}
        for name in own:
            with contextlib.suppress(ValueError):  # the actor has ended
                handles[name] = ray.get_actor(name)
        for name, node in _asked(handles)[0].items():
            if node in leaving:
                logger.warning("%s leaves its node", name)
                ray.kill(handles[name], no_restart=False)

    def _end(self, name: str) -> None:
        """End an actor for good, even one whose `__init__` failed, since Ray keeps its name while a handle
        exists."""
        ray.kill(self._handles.pop(name), no_restart=True)

    def _make(self, kind: ActorKind, name: str, node: str) -> None:
        cls, argument = self._arguments[kind][name]
        options = nodes.options(self._settings, kind, node) | {"name": name}
        if name == HEAD_ACTOR and self._settings.ray_address:
            pinned = NodeAffinitySchedulingStrategy(self._head, soft=False)
            options |= {"num_cpus": 0, "resources": None, "scheduling_strategy": pinned}
        deadline = time.monotonic() + limits.ACTOR_NAME_SECONDS_MAX
        while True:
            try:
                self._handles[name] = ray.remote(cls).options(**options).remote(self._settings, argument)
                return
            except ValueError as error:  # the name of the ended actor is not free yet
                if time.monotonic() > deadline:
                    raise Unavailable(f"another {name} does not end: {error}") from error
            time.sleep(0.05)


def _asked(actors: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the nodes of the actors that answer, and the names of those that died for good."""
    asked = {actor.ready.remote(): name for name, actor in actors.items()}
    timeout_s = limits.ACTOR_LOOK_SECONDS_MAX
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s) if asked else ([], [])
    where, died = {}, []
    for answer in done:
        try:
            where[asked[answer]] = ray.get(answer)["node"]
        except ActorDiedError:
            died.append(asked[answer])
        except RayError:  # Ray is restarting it
            continue
    return where, died


def _movable(where: Mapping[str, str]) -> dict[str, str]:
    """Return the actors that may be on another node."""
    return {name: node for name, node in where.items() if name != HEAD_ACTOR}


def capacity(alive: Iterable[Node], settings: Settings) -> int:
    """Return how many process actors these nodes can hold."""
    found: Mapping[str, float] = nodes.weights("process", list(alive))
    return max(1, int(sum(settings.actors_per_node or amount for amount in found.values())))
