"""The nodes of a Ray cluster: which of them a computer uses for what, and how an actor finds itself on one.

Names: `gateway-N`, `shard-N` and `process-actor-N` are named Ray actors, wherever they are; a process with an
actor of its own is in `process-<id>`. Whoever calls one knows its name only, so it may move.

Node types: a node says by Ray's custom resources what it is for: `aoray_gateway`, `aoray_shard`,
`aoray_process`, with the number of actors it is good for (`ray start --resources '{"aoray_process": 4}'`). A
kind that no node offers may be on all of them; a node then counts as many as it has CPUs. An actor takes only
`SHARE` of what it needs: the number says how actors are spread, and when a node dies the others take its
actors at once, however many they have. A kind that is offered by no living node waits for one.

Pool: as many process actors as the nodes offer when the computer starts, or `--actors`. What is missing is
asked of Ray's autoscaler (`request_resources`), which then adds nodes of that type.

Placement: an actor is made with a soft affinity to a node that `aoray.runtime.balancing` chooses,
`max_restarts=-1` and `max_task_retries=0`. Ray restarts the actors of a dead node elsewhere; the balancer in
`aoray up` moves them when a node joins or is drained. `gateway-0` stays on the node of `aoray up`, where the
embedded Arweave is. SQLite is a file of one machine: without `--store`, all actors are pinned to the node of
`aoray up`.

On its node an actor asks `localized_settings` for its settings: AORAY_DATA and AORAY_HOST of that node's
raylet hold there, and the keys come with `Settings.cluster`. On failure: `Unavailable` while Ray's control
store (GCS) is away.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aoray import limits
from aoray.errors import Unavailable
from aoray.settings import Settings

ActorKind = Literal["gateway", "shard", "process"]
ACTOR_KINDS: tuple[ActorKind, ...] = ("process", "shard", "gateway")
SHARE = 0.001
WILDCARDS = ("0.0.0.0", "::")
LOOPBACKS = ("127.0.0.1", "::1", "localhost")
ACTOR_OPTIONS: Mapping[str, Any] = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": 10_000}


def memory_bytes(settings: Settings) -> int:
    """Return the bytes of its machine's memory that an actor may use for its processes' instances."""
    actors = settings.pool if settings.cluster is None else settings.actors_per_node or os.cpu_count() or 1
    return int(limits.RESIDENT_MEMORY_SHARE * _machine_bytes() / max(actors, 1))


def _machine_bytes() -> int:
    """What the machine has, or the container is given."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:  # not in a container of this kind
            continue
        if text.isdecimal():
            found = min(found, int(text))
    return found


class Node(NamedTuple):
    """A node of the Ray cluster that is alive."""

    id: str
    address: str
    resources: Mapping[str, float]
    draining: bool = False


def alive_nodes() -> list[Node]:
    """Return the nodes of the cluster that are alive, those being drained among them. `Unavailable` while the
    GCS is away."""
    from ray._private.state import state  # that a node is being drained is said nowhere else

    try:
        draining = state.get_draining_nodes()
        return [
            Node(each["NodeID"], each["NodeManagerAddress"], each["Resources"], each["NodeID"] in draining)
            for each in ray.nodes()
            if each["Alive"]
        ]
    except RayError as error:
        raise Unavailable(f"Ray's control store does not answer: {error}") from error


def own_node() -> str:
    """Return the id of the node that this OS process is on; empty without Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def actor_identity() -> dict[str, Any]:
    """Return the OS process and the node that an actor is on, as its `ready` reports them."""
    return {"pid": os.getpid(), "node": own_node()}


def weights(kind: ActorKind, nodes: list[Node]) -> dict[str, float]:
    """Return the nodes that may hold actors of a kind, each with its weight; nodes being drained are left
    out."""
    offering = [node for node in nodes if node.resources.get(f"aoray_{kind}")]
    amount = f"aoray_{kind}" if offering else "CPU"
    candidates = {node.id: float(node.resources.get(amount, 1)) for node in offering or nodes}
    return {node.id: candidates[node.id] for node in nodes if node.id in candidates and not node.draining}


def options(settings: Settings, kind: ActorKind, node: str = "") -> dict[str, Any]:
    """Return Ray's options for an actor of a kind that is best placed on that node."""
    if not settings.ray_address:
        return {**ACTOR_OPTIONS, "num_cpus": 0}
    if settings.cluster is None:  # the log is a file of this machine
        pinned = NodeAffinitySchedulingStrategy(own_node(), soft=False)
        return {**ACTOR_OPTIONS, "num_cpus": 0, "scheduling_strategy": pinned}
    offered = kind in settings.cluster.offered
    need = {"num_cpus": 0, "resources": {f"aoray_{kind}": SHARE}} if offered else {"num_cpus": SHARE}
    # Ray ignores the affinity of an actor that needs nothing at all.
    strategy = NodeAffinitySchedulingStrategy(node, soft=True) if node else "SPREAD"
    return {**ACTOR_OPTIONS, **need, "scheduling_strategy": strategy}


def request(settings: Settings) -> None:
    """Ask Ray's autoscaler, if there is one, for enough nodes for the whole pool."""
    from ray.autoscaler.sdk import request_resources

    if settings.cluster is not None and "process" in settings.cluster.offered:
        request_resources(bundles=[{"aoray_process": 1}] * settings.pool)


def localized_settings(settings: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings as they apply on the node of this actor."""
    if settings.cluster is None or (address := ray.util.get_node_ip_address()) == settings.cluster.head:
        return settings
    host = settings.host if settings.host in WILDCARDS else address
    return replace(
        settings,
        data=Path(environment.get("AORAY_DATA", settings.data)).expanduser().resolve(),
        host=environment.get("AORAY_HOST", host),
    )


def is_head(settings: Settings) -> bool:
    """Return whether these settings are those of the node of `aoray up`, which has the embedded Arweave."""
    return settings.cluster is None or ray.util.get_node_ip_address() == settings.cluster.head
