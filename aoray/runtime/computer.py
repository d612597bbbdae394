"""A whole computer on Ray, started and stopped: the lock on its data, Ray, the actors, the built-in module.

A `Computer` is a context manager. Entering it locks the data directory (one computer for each directory),
starts Ray on this machine (or joins a cluster), makes the actors by name, publishes the built-in Lua module,
and waits until every unit accepts work. Leaving it stops the actors, and Ray if it was started here. The
actors live as long as the OS process that made them: Ray ends them when that process ends, even by kill -9,
and by then everything that matters is on disk.

A Ray of its own is set up by `ray_env.prepare`, which must run before this module is imported.

Ray restarts an actor that dies, and the actor recovers from disk. The `Supervisor` makes actors again that
Ray gave up, and on a cluster of several nodes moves actors when nodes join or leave. The computer ends only
when Ray itself ends (`watch`), so that a service manager can start it again.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import ray

from aoray import limits
from aoray.cluster import nodes
from aoray.errors import ClientError, Unavailable
from aoray.runtime import preflight
from aoray.runtime.preflight import check_shard_count, private_keys
from aoray.runtime.publish import compile_lua, publish_hand_overs, publish_location, publish_lua
from aoray.runtime.ray_env import scratch
from aoray.runtime.supervisor import Supervisor, capacity
from aoray.runtime.unit_keys import keep_keys, locked
from aoray.settings import ClusterInfo, Settings
from aoray.storage.factory import check_versions, claim_files, claim_store, store_of, upgrade_logs
from aoray.storage.key_files import schedulers
from aoray.util import log_setup

WATCH_SECONDS = 1.0
OBJECT_STORE_BYTES = 128 * 1024 * 1024  # batches are small; the default would take a third of the memory


class Computer:
    """A running computer: its resolved `settings`, and its `health` when it became ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.resolved()
        self.health: Mapping[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cluster, ExitStack() as stack:
            preflight.check(self.settings)
            log_setup.begin(self.settings.log_level)
            if self.settings.ray_address:  # before the first file, since a cluster may refuse the settings
                cluster.enter_context(ray_for(self.settings))
                check_cluster(self.settings, nodes.alive_nodes())
            stack.enter_context(locked(self.settings.data))
            check_shard_count(self.settings)
            check_versions(self.settings)
            keep_keys(self.settings)
            computer = schedulers(self.settings)[0].address  # key rotations do not change the first
            stack.enter_context(claim_store(self.settings, computer))
            upgrade_logs(self.settings)
            claim_files(self.settings, computer)
            # The actors end before the lock is released, also those on a cluster that was joined before it.
            ray_context = cluster.pop_all() if self.settings.ray_address else ray_for(self.settings)
            stack.enter_context(ray_context)
            self.settings = joined(self.settings)
            self._supervisor = Supervisor(self.settings)
            stack.callback(self._supervisor.stop)
            self._supervisor.start()
            compile_lua(self.settings)
            wait_ready(self._supervisor.actors, self.settings.data)
            publish_lua(self.settings)
            publish_hand_overs(self.settings)
            publish_location(self.settings)
            self.health = wait_healthy(self.settings)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def watch(self) -> None:
        """Block for as long as Ray's node on this machine lives, and supervise the actors. Then raise
        `Unavailable`, since the actors ended with the node and nobody restarts them."""
        while is_alive(nodes.own_node()):
            self._supervisor.reconcile()
            time.sleep(WATCH_SECONDS)
        raise Unavailable(
            "Ray has ended on this machine, and the actors with it",
            hint="Start the computer again: everything acknowledged is on disk.",
        )


@contextmanager
def ray_for(settings: Settings) -> Iterator[None]:
    """Run Ray for as long as the computer lives: its own on this machine, or the cluster at `ray_address`."""
    namespace = "aoray-" + hashlib.sha256(str(settings.data).encode()).hexdigest()[:12]
    if settings.ray_address:
        try:
            with preflight.joining(settings.ray_address):
                ray.init(address=settings.ray_address, namespace=namespace, log_to_driver=False)
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise Unavailable(
                f"no Ray cluster is reached by --ray-address {settings.ray_address}: {error}",
                hint="Check that it runs (`ray status`) and, if it needs a token, set RAY_AUTH_TOKEN_PATH.",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    with scratch(namespace) as directory:
        try:
            with uninterrupted():
                ray.init(
                    namespace=namespace,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _temp_dir=str(directory),
                )
            yield
        finally:
            ray.shutdown()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer SIGINT and SIGTERM, because a Ray that is stopped during its start leaves processes behind.

    Ray installs a handler for SIGTERM when it starts; the previous handler is restored.
    """
    if threading.current_thread() is not threading.main_thread():  # signals interrupt only the main thread
        yield
        return
    arrived: list[int] = []

    def arrives(number: int, _frame: object) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, arrives) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler) or signal.getsignal(number) is arrives:
                signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def is_alive(node: str) -> bool:
    """Return whether a node is alive. While Ray's control store does not answer, the node counts as alive."""
    try:
        return any(each["Alive"] for each in ray.nodes() if each["NodeID"] == node)
    except ray.exceptions.RayError:
        return True


def check_cluster(settings: Settings, alive: Sequence[nodes.Node]) -> None:
    """Raise `ClientError` if the settings can't work on a Ray cluster of these nodes."""
    others = len(alive) - 1
    if others < 1:
        return
    if not store_of(settings).is_shared:
        raise ClientError(
            f"this Ray cluster has {len(alive)} nodes, and the log would be SQLite: a file on one of"
            " them, which the actors on the others can't read",
            hint="Name a PostgreSQL that all nodes reach: --store postgresql://user@host/database.",
        )
    if settings.host in nodes.LOOPBACKS:
        raise ClientError(
            f"the other {others} nodes of this Ray cluster can't reach {settings.host}",
            hint="Give an address of this node that they can reach: --host ADDRESS (0.0.0.0: all addresses).",
        )


def joined(settings: Settings) -> Settings:
    """Return the settings as the actors get them: on a cluster, with what its nodes can't find out by
    themselves."""
    if not settings.ray_address or not store_of(settings).is_shared:
        return settings
    alive = nodes.alive_nodes()
    head = ray.util.get_node_ip_address()
    reached = head if settings.host in nodes.WILDCARDS else settings.host
    handed = ClusterInfo(
        head=head,
        arweave_url=f"http://{reached}:{settings.port + 1}",
        offered=frozenset(
            k for k in nodes.ACTOR_KINDS if any(node.resources.get(f"aoray_{k}") for node in alive)
        ),
        schedulers=schedulers(settings),
        keys={} if settings.keys else private_keys(settings),
    )
    return replace(settings, actors=settings.actors or capacity(alive, settings), cluster=handed)


def wait_ready(actors: list[Any], data: Path) -> None:
    """Wait until every actor answers `ready`. Raises `Unavailable`, or the error of an actor that can't
    start."""
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=limits.START_SECONDS_MAX)
    except ray.exceptions.GetTimeoutError as error:
        raise Unavailable(
            f"the actors did not start within {limits.START_SECONDS_MAX} s",
            hint="The machine may be busy, or the log long. Everything acknowledged is on disk: start again.",
        ) from error
    except ray.exceptions.ActorDiedError as error:
        reason = str(error).strip().rpartition("\n")[2].strip()  # Ray's traceback ends with `Class: why`
        if reason.startswith("aoray.errors."):
            reason = reason.partition(": ")[2]
        raise Unavailable(
            f"an actor can't start: {reason}", hint=f"Everything acknowledged is still in {data}."
        ) from error
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error


def wait_healthy(settings: Settings) -> Mapping[str, Any]:
    """Wait until `/health` answers 200, and return the answer. Raises `Unavailable` after
    START_SECONDS_MAX."""
    deadline = time.monotonic() + limits.START_SECONDS_MAX
    while True:
        response = httpx.get(f"{settings.url}/health", timeout=limits.START_SECONDS_MAX)
        if response.status_code == httpx.codes.OK:
            return dict(response.json())
        if time.monotonic() > deadline:
            raise Unavailable(f"the computer is not ready: {response.text}")
        time.sleep(0.05)
