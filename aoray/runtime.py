"""Starts and stops a whole computer on Ray: the lock on its data, Ray, the actors, the built-in module.

A `Computer` is a context manager. Entering it locks the data directory (one computer for one directory),
starts Ray on this machine (or joins a cluster), makes the actors by name, publishes the built-in Lua
module, and waits until every unit takes work. Leaving it stops the actors and a Ray that it started. The
actors live as long as the process that made them: Ray ends them when it goes, even by kill -9, and
everything that matters is on disk by then.

A Ray of its own is set up by `ray_environment.prepare`, which must run before this module is imported.

An actor that dies is restarted by Ray and recovers from disk by itself; the `Crew` makes anew whom Ray gave
up, and on a cluster of several nodes moves actors as nodes come and go. Only when Ray itself ends (`watch`)
does the computer, so that whoever supervises it starts it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import ray

from aoray import durable, logs, nodes, preflight
from aoray.actors.modules import keep_module
from aoray.arweave.wallets import read_balances
from aoray.client import OCTET_STREAM
from aoray.crew import Crew, capacity
from aoray.errors import ClientError, Unavailable
from aoray.files import files_of, keep_files
from aoray.gateway.admission import Admission
from aoray.keyfiles import KEY_NAMES, load_key, load_wallet, private, schedulers, units_of
from aoray.modules.lua import LUA_WASM, lua_item
from aoray.protocol.forms import AO
from aoray.protocol.ids import b64url_decode
from aoray.protocol.items import DataItem, build, parse
from aoray.protocol.tags import Tag
from aoray.ray_environment import scratch
from aoray.scheduler.stores import check_versions, keep_store
from aoray.settings import Handed, Settings
from aoray.unit_keys import keep_keys, locked
from aoray.wasm.engine import Engine

START_SECONDS_MAX = 120
WATCH_SECONDS = 1.0
OBJECT_STORE_BYTES = 128 * 1024 * 1024  # batches are small; the default would take a third of the memory
AT_LEAST_ONE = (
    "shards",
    "gateways",
    "resident_processes_max",
    "idle_seconds_max",
    "flush_interval_ms",
    "attest_interval_ms",
)
LOCATION_TTL_MS = str(3_600_000)


class Computer:
    """A running computer: its resolved `settings`, and `health` as it was when it became ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.resolved()
        self.health: Mapping[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        logs.begin(self.settings.log_level)
        Admission(self.settings)  # says here what is wrong with its settings
        check_numbers(self.settings)
        with ExitStack() as stack:
            check_arweave(self.settings)
            preflight.check(self.settings)
            stack.enter_context(locked(self.settings.data))
            keep_shards(self.settings)
            check_versions(self.settings)
            keep_keys(self.settings)
            computer = schedulers(self.settings)[0].address  # it stays, however often the key is rotated
            stack.enter_context(keep_store(self.settings, computer))
            keep_files(self.settings, computer)
            stack.enter_context(ray_for(self.settings))
            self.settings = joined(self.settings)
            self._crew = Crew(self.settings)
            stack.callback(self._crew.stop)
            self._crew.start()
            compile_lua(self.settings)
            wait_ready(self._crew.actors, self.settings.data)
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
        """Blocks for as long as Ray's node on this machine lives. Its actors end with it, and nobody restarts
        them: `Unavailable`."""
        while is_alive(nodes.own_node()):
            self._crew.look()
            time.sleep(WATCH_SECONDS)
        raise Unavailable(
            "Ray has ended on this machine, and the actors with it",
            hint="Start the computer again: what was acknowledged is on disk.",
        )


def check_numbers(settings: Settings) -> None:
    """Refuse a number of which there must be more: `Settings` takes any."""
    for each in fields(settings):
        value, least = getattr(settings, each.name), int(each.name in AT_LEAST_ONE)
        if isinstance(value, int | float) and value < least:
            raise ClientError(
                f"{each.name.replace('_', '-')} is {value}, and must be {least} or more",
                hint=f"Leave it out for the default, or set AORAY_{each.name.upper()}.",
            )


def check_arweave(settings: Settings) -> None:
    """Refuse at once what the shards could not work with."""
    for name, url in (("gateway", settings.gateway_url), ("bundler", settings.bundler_url)):
        if url and not url.startswith(("http://", "https://")):
            raise ClientError(
                f"the {name} {url!r} is no URL",
                hint=f"Name it with http:// or https:// (--{name}-url or AORAY_{name.upper()}_URL).",
            )
    if settings.publishes and not settings.gateway_url:
        raise ClientError(
            "a bundler or a wallet needs a gateway, where what was posted can be read",
            hint="Name one with --gateway-url or AORAY_GATEWAY_URL, such as https://arweave.net.",
        )
    if settings.arweave_wallet:
        load_wallet(Path(settings.arweave_wallet))
    if settings.balances and settings.gateway_url:
        raise ClientError(
            "balances are of the embedded Arweave, and --gateway-url names another",
            hint="Leave out --balances, or --gateway-url.",
        )
    if settings.balances:
        read_balances(Path(settings.balances))


def keep_shards(settings: Settings) -> None:
    """The number of shards says which log a process is in, so it stays as it was at first."""
    note = settings.data / "shards"
    if not note.exists():
        durable.write(note, str(settings.shards).encode())
    if (first := int(note.read_text())) != settings.shards:
        raise ClientError(
            f"{settings.data} was made with {first} shards, not {settings.shards}",
            hint=f"Set AORAY_SHARDS={first}, or use another --data.",
        )


@contextmanager
def ray_for(settings: Settings) -> Iterator[None]:
    """Ray, for as long as the computer lives: its own on this machine, or the cluster at `ray_address`."""
    namespace = "aoray-" + hashlib.sha256(str(settings.data).encode()).hexdigest()[:12]
    if settings.ray_address:
        try:
            with preflight.joining(settings.ray_address):
                ray.init(address=settings.ray_address, namespace=namespace, log_to_driver=False)
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise Unavailable(
                f"no Ray cluster is reached by --ray-address {settings.ray_address}: {error}",
                hint="Is it up (`ray status`), and, if it asks for a token, is RAY_AUTH_TOKEN_PATH set?",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    with scratch(namespace) as directory:
        ray.init(
            namespace=namespace,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(directory),
        )
        try:
            yield
        finally:
            ray.shutdown()


def is_alive(node: str) -> bool:
    """Whether a node lives; as long as nobody knows (the GCS is away), it does."""
    try:
        return any(each["Alive"] for each in ray.nodes() if each["NodeID"] == node)
    except ray.exceptions.RayError:
        return True


def joined(settings: Settings) -> Settings:
    """The settings as the actors get them: on a cluster with what its nodes can't find out by themselves."""
    alive = nodes.living() if settings.ray_address else []
    if not settings.store:
        if len(alive) > 1:
            raise ClientError(
                f"this Ray cluster has {len(alive)} nodes, and the log would be SQLite: a file on one of"
                " them, which the actors on the others can't read",
                hint="Name a PostgreSQL that all nodes reach: --store postgresql://user@host/database.",
            )
        return settings
    if not settings.ray_address:
        return settings
    if len(alive) > 1 and settings.host in nodes.LOOPBACKS:
        raise ClientError(
            f"the other {len(alive) - 1} nodes of this Ray cluster can't reach {settings.host}",
            hint="Give the address of this node that they reach: --host ADDRESS (0.0.0.0: all it has).",
        )
    head = ray.util.get_node_ip_address()
    reached = head if settings.host in nodes.WILDCARDS else settings.host
    handed = Handed(
        head=head,
        arweave_url=f"http://{reached}:{settings.port + 1}",
        offered=frozenset(k for k in nodes.KINDS if any(node.resources.get(f"aoray_{k}") for node in alive)),
        schedulers=schedulers(settings),
        keys={} if settings.keys else private_keys(settings),
    )
    return replace(settings, actors=settings.actors or capacity(alive, settings), handed=handed)


def private_keys(settings: Settings) -> dict[str, bytes]:
    """The keys that actors on other nodes sign with."""
    found = {name: private(settings.keys_directory / f"{name}.json") for name in KEY_NAMES}
    return found | ({"wallet": private(Path(settings.arweave_wallet))} if settings.arweave_wallet else {})


def wait_ready(actors: list[Any], data: Path) -> None:
    """Wait until every actor answers `ready`; an actor that can't start says why."""
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=START_SECONDS_MAX)
    except ray.exceptions.GetTimeoutError as error:
        raise Unavailable(
            f"the actors did not start within {START_SECONDS_MAX} s",
            hint="Is the machine busy, or the log long? What was acknowledged is on disk: start it again.",
        ) from error
    except ray.exceptions.ActorDiedError as error:
        reason = str(error).strip().rpartition("\n")[2].strip()  # of Ray's text, a traceback: `Class: why`
        if reason.startswith("aoray.errors."):
            reason = reason.partition(": ")[2]
        raise Unavailable(
            f"an actor can't start: {reason}", hint=f"What was acknowledged is in {data}, as it was."
        ) from error
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error


def compile_lua(settings: Settings) -> None:
    """Compile the built-in module into the cache while the actors start, so that no message waits for it."""
    Engine(settings.data / "compiled").load(LUA_WASM.read_bytes())


def publish_lua(settings: Settings) -> None:
    """Put the built-in Lua module on Arweave, and write its id where the gateways read it."""
    item = lua_item()
    keep_module(files_of(settings, "modules"), item)  # an Arweave with blocks shows it some time later
    note = settings.data / "lua-module.json"
    content = orjson.dumps({"id": item.id})
    if note.exists() and note.read_bytes() == content:
        return
    _upload(settings, item)
    durable.write(note, content)


def publish_hand_overs(settings: Settings) -> None:
    """Say on Arweave which address each unit handed over to, for those who verify its older statements.

    Each start says so again: the same items, which Arweave takes once.
    """
    for held in units_of(settings.data).values():
        for each in held:
            if each.hand_over:
                _upload(settings, parse(b64url_decode(each.hand_over, field="hand_over")))


def publish_location(settings: Settings) -> None:
    """Say on Arweave where the scheduler is, for clients that look its address up (wire-contract §2.5), and
    whose attestations go with it, for those who verify (protocol/forms.py).

    It has no data. When it had a space, a stranger's tick could pass for a newer location: what is signed now
    is another item, and so the newest where there are such ticks.
    """
    tags = [
        *AO,
        Tag("Type", "Scheduler-Location"),
        Tag("Url", f"http://{settings.host}:{settings.port + 3}"),
        Tag("Time-To-Live", LOCATION_TTL_MS),
        Tag("Compute-Unit", load_key(settings, "compute").address),
    ]
    _upload(settings, build(load_key(settings, "scheduler"), tags=tags))


def _upload(settings: Settings, item: DataItem) -> None:
    if settings.publishes:
        ray.get(ray.get_actor("shard-0").publish.remote([item.raw]), timeout=START_SECONDS_MAX)
        return
    try:
        response = httpx.post(
            f"{settings.arweave_url}/tx", content=item.raw, headers=OCTET_STREAM, timeout=60
        )
    except httpx.TransportError as error:
        raise Unavailable(
            f"{settings.arweave_url} does not answer: {error}", hint="Is Arweave up?"
        ) from error
    if response.is_error:
        raise Unavailable(
            f"{settings.arweave_url} did not take {item.id}: {response.status_code} {response.text[:200]}",
            hint="Is it an Arweave that takes data items? Others need --bundler-url or --arweave-wallet too.",
        )


def wait_healthy(settings: Settings) -> Mapping[str, Any]:
    """What `/health` says once it answers 200."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        response = httpx.get(f"{settings.url}/health", timeout=START_SECONDS_MAX)
        if response.status_code == httpx.codes.OK:
            return dict(response.json())
        if time.monotonic() > deadline:
            raise Unavailable(f"the computer is not ready: {response.text}")
        time.sleep(0.05)
