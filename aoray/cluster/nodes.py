"""The nodes of a Ray cluster: which nodes hold which actors, and the settings that apply on a node.

Names: `gateway-N`, `shard-N` and `process-actor-N` are named Ray actors; a process with an actor of its own
is in `process-<id>`. Callers know only the name, so an actor may move to another node.

Node types: a node declares by Ray's custom resources `aoray_gateway`, `aoray_shard` and `aoray_process` how
many actors of each kind it should hold (`ray start --resources '{"aoray_process": 4}'`). If no node declares
a kind, all nodes may hold it, each as many as it has CPUs. An actor reserves only `SHARE` of the resource:
the numbers decide how actors are spread, but when a node dies, the others take all of its actors at once. If
nodes declared a kind and none of them is alive, actors of this kind wait for such a node.

Pool: `--actors` process actors, by default as many as the nodes declare when the computer starts. If nodes
are missing, Ray's autoscaler is asked for them (`request_resources`).

Placement: an actor is made with a soft affinity to the node that `aoray.runtime.balancing` chooses, with
`max_restarts=-1` and `max_task_retries=0`. Ray restarts the actors of a dead node elsewhere; the balancer in
`aoray up` moves actors when a node joins or is drained. `gateway-0` stays on the node of `aoray up`, where
the embedded Arweave is. Without `--store` the log is a SQLite file of one machine, so all actors are pinned
to the node of `aoray up`.

An actor calls `localized_settings` for the settings of its node: there the node's own AORAY_DATA and
AORAY_HOST apply, and the keys come with `Settings.cluster`. On failure: `Unavailable` while Ray's control
store (GCS) does not answer.
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
    """Return how many bytes of the machine's memory an actor may use for the instances of its processes."""
    actors = settings.pool if settings.cluster is None else settings.actors_per_node or os.cpu_count() or 1
    return int(limits.RESIDENT_MEMORY_SHARE * _machine_bytes() / max(actors, 1))


def _machine_bytes() -> int:
    """Return the bytes of memory that the machine has, or that its container may use."""
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
    """A living node of the Ray cluster."""

    id: str
    address: str
    resources: Mapping[str, float]
    draining: bool = False


def alive_nodes() -> list[Node]:
    """Return the nodes of the cluster that are alive, including those that are being drained. Raises
    `Unavailable` while Ray's control store does not answer."""
    from ray._private.state import state  # the only source for which nodes are being drained

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
    """Return the id of the node on which this OS process runs; '' without Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def actor_identity() -> dict[str, Any]:
    """Return the OS process and the node on which an actor runs, as its `ready` reports them."""
    return {"pid": os.getpid(), "node": own_node()}


def weights(kind: ActorKind, nodes: list[Node]) -> dict[str, float]:
    """Return the ids of the nodes that may hold actors of a kind, each with its weight, without nodes that
    are being drained."""
    offering = [node for node in nodes if node.resources.get(f"aoray_{kind}")]
    amount = f"aoray_{kind}" if offering else "CPU"
    candidates = {node.id: float(node.resources.get(amount, 1)) for node in offering or nodes}
    return {node.id: candidates[node.id] for node in nodes if node.id in candidates and not node.draining}


def options(settings: Settings, kind: ActorKind, node: str = "") -> dict[str, Any]:
    """Return Ray's options for an actor of a kind that should be on the given node."""
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
    """Return the settings that apply on the node of this actor."""
    if settings.cluster is None or (address := ray.util.get_node_ip_address()) == settings.cluster.head:
        return settings
    host = settings.host if settings.host in WILDCARDS else address
    return replace(
        settings,
        data=Path(environment.get("AORAY_DATA", settings.data)).expanduser().resolve(),
        host=environment.get("AORAY_HOST", host),
    )


def is_head(settings: Settings) -> bool:
    """Return whether this is the node of `aoray up`, which has the embedded Arweave."""
    return settings.cluster is None or ray.util.get_node_ip_address() == settings.cluster.head
