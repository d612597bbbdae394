"""The settings of one computer: a plain value, from `AORAY_*` variables and the command line.

`Settings()` is a computer on one machine. A setting is one field, declared by `setting` with its purpose and
its permitted values. Everything else is made from these fields (`SETTINGS`): the variable `AORAY_PORT` and
the option `--port` of `aoray up`, the checks, `aoray config`, and the page docs/settings.md (`make
settings`).

On failure: `ClientError` names the option or the variable, its value, and what it must be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from aoray import limits
from aoray.util.log_setup import LEVELS
from aoray.util.setting_fields import Setting, setting, settings_of

PORT_MAX = 65_535
HTTP = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """What `aoray up` passes to the actors on all nodes of a cluster (see `aoray.cluster.nodes`). Users do
    not set it."""

    head: str
    """The address of the node of `aoray up`."""
    arweave_url: str
    """The URL at which all nodes reach the embedded Arweave."""
    offered: frozenset[str]
    """The kinds of actors (`gateway`, `shard`, `process`) for which some nodes are declared."""
    keys: Mapping[str, bytes] = field(repr=False)
    """Private keys (JWK) by name; empty if `--keys` names a directory that each node has."""
    schedulers: Sequence[tuple[str, str, str, int]] = ()
    """The addresses that the scheduler has had (`key_files.Held`)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one computer. Paths are absolute in `resolved()`."""

    data: Path = setting(
        Path("aoray-data"),
        "The directory of all data of this computer: logs, results, the embedded Arweave, modules, keys.",
        section="Where everything is kept",
        is_path=True,
    )
    store: str = setting(
        "",
        "The database of log and results, for all nodes: postgresql://user@host/database?schema=aoray"
        " (docs/storage.md).",
        unset="SQLite in --data",
    )
    files: str = setting(
        "",
        "The folder of modules and checkpoints, for all nodes: a URI that pyarrow.fs knows, such as"
        " s3://bucket/folder.",
        unset="in --data",
    )
    keys: str = setting(
        "",
        "The directory of the computer's keys, the same on each node.",
        unset="keys in --data",
        is_path=True,
    )
    host: str = setting("127.0.0.1", "The address to listen on.", section="Network")
    port: int = setting(
        4000,
        "The port at which all units answer. Four more follow it: the embedded Arweave, and one port each for"
        " messenger, scheduler and compute unit.",
        least=1,
        most=PORT_MAX - 4,
    )
    trusted_proxies: str = setting(
        "",
        "Addresses and networks of proxies, separated by commas. The X-Forwarded-For header of their requests"
        " is taken as the address of the client.",
        unset="none",
    )
    gateway_url: str = setting(
        "",
        "The Arweave gateway from which everything is read, and to which everything is posted.",
        section="Arweave",
        unset="the embedded Arweave",
        schemes=HTTP,
    )
    balances: str = setting(
        "",
        'A JSON file with the first balances of wallets on the embedded Arweave: {"ADDRESS": "WINSTON", …}.',
        unset="a gift to each wallet that pays",
        is_path=True,
    )
    bundler_url: str = setting(
        "",
        "A bundler (Turbo, Irys) to which bundles of the log are posted instead of to the gateway.",
        unset="the gateway",
        schemes=HTTP,
    )
    arweave_wallet: str = setting(
        "",
        "The file of an Arweave wallet (RSA JWK, mode 0600) that pays the bundler. Without a bundler, bundles"
        " become layer-1 transactions, and the gateway must be a node or forward transactions to one.",
        unset="none",
        is_path=True,
    )
    confirmations_min: int = setting(
        10,
        "The number of confirmations after which a bundle on Arweave counts as final. Not used with the"
        " embedded Arweave.",
    )
    repost_seconds: int = setting(
        600,
        "Seconds after which a bundle is posted again that Arweave accepted but does not show (any more).",
    )
    flush_interval_ms: int = setting(1000, "Milliseconds between two posts of the log to Arweave.", least=1)
    attest_interval_ms: int = setting(
        2000,
        "Milliseconds between two rounds of attestations: one for each process that has new results.",
        least=1,
    )
    ray_address: str = setting(
        "",
        "The Ray cluster to join (auto, host:port).",
        section="Ray and its actors",
        unset="a Ray started here, for this computer alone",
    )
    shards: int = setting(
        1, "The number of scheduler shards. It is fixed when a data directory is first used.", least=1
    )
    gateways: int = setting(1, "The number of gateways, spread over the nodes.", least=1)
    actors_per_node: int = setting(0, "The number of process actors of each node.", unset="one for each core")
    actors: int = setting(
        0, "The number of process actors of all nodes together.", unset="as many as the nodes offer"
    )
    actor_per_process: bool = setting(
        False,
        "Give each process a Ray actor of its own. Without this option, only processes with the tag"
        " `Actor: own` get one.",
    )
    resident_processes_max: int = setting(
        limits.RESIDENT_PROCESSES_MAX,
        "The number of processes that an actor keeps in memory. Beyond it, idle ones hibernate"
        " (docs/density.md).",
        section="What processes may take",
        least=1,
    )
    resident_bytes_max: int = setting(
        0,
        "The bytes of memory that the processes of one actor may take. Beyond them, idle ones hibernate.",
        unset="an equal part of 40 % of the machine's memory",
    )
    idle_seconds_max: int = setting(
        limits.IDLE_SECONDS_MAX,
        "Seconds after which an idle process hibernates. Its next message wakes it.",
        least=1,
    )
    compute_limit_max: int = setting(
        limits.FUEL_MAX,
        "The largest Compute-Limit (fuel for a message) of a process that may be spawned here.",
        least=1,
    )
    memory_limit_max: int = setting(
        limits.MEMORY_BYTES_MAX,
        "The largest Memory-Limit, in bytes, of a process that may be spawned here.",
        least=1,
    )
    rate_per_address: float = setting(
        0.0,
        "Requests per second that write or compute, from one address at each gateway.",
        section="Rates",
        unset="no limit",
    )
    rate_reads_per_address: float = setting(
        1000.0,
        "GET requests per second from one address at each gateway. A search counts as 10, a state as 100, a"
        " result as none. 0: no limit.",
    )
    rate_per_wallet: float = setting(
        0.0,
        "Messages and spawns per second that one wallet signs, at each gateway.",
        unset="no limit",
    )
    rate_burst_seconds: float = setting(
        10.0, "Seconds of each of these three rates that may be used at once, as a burst."
    )
    push_rate_per_process: float = setting(
        250.0,
        "Outbox messages per second of one process, for its actor and for its gateway each. Messages over the"
        " rate wait. 0: no limit.",
    )
    push_rate_per_wallet: float = setting(
        500.0,
        "Outbox messages per second of all processes of one wallet together: those that it spawned, and those"
        " that these spawned. Messages over the rate wait.",
    )
    cron_rate_per_wallet: float = setting(
        100.0,
        "Cron ticks per second of all processes of one wallet together, at each shard. Ticks over the rate"
        " are left out. 0: no limit.",
    )
    push_burst_seconds: float = setting(
        60.0, "Seconds of each of these three rates that may be used at once, as a burst."
    )
    push_foreign_attempts_max: int = setting(
        limits.PUSH_FOREIGN_ATTEMPTS_MAX,
        "The number of attempts to push an outbox message to another network, or one that needs an item that"
        " Arweave does not show. After the last attempt the message is dead.",
    )
    log_level: str = setting(
        "warning",
        "The lowest level that actors write into their logs.",
        section="Logs",
        choices=LEVELS,
    )
    cluster: ClusterInfo | None = None
    """Set by `aoray up`, on a cluster of several nodes only."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """Return the settings in force (see `in_force`). Raises `ClientError`."""
        return cls(**{each.setting.name: each.value for each in in_force(environment, options)})

    def check(self) -> None:
        """Raise `ClientError` unless each setting has a value that its field permits; `Settings` itself
        accepts any value."""
        for each in SETTINGS:
            each.check(getattr(self, each.name), each.name)

    def resolved(self) -> Self:
        """Return the settings with absolute paths, since actors have another working directory."""
        paths = {each.name: getattr(self, each.name) for each in SETTINGS if each.is_path}
        return replace(
            self,
            **{
                name: type(path)(Path(path).expanduser().resolve()) if path else path
                for name, path in paths.items()
            },
        )

    @property
    def keys_directory(self) -> Path:
        """The directory of the computer's keys."""
        return Path(self.keys) if self.keys else self.data / "keys"

    @property
    def pool(self) -> int:
        """The number of process actors."""
        return self.actors or self.actors_per_node or os.cpu_count() or 1

    @property
    def url(self) -> str:
        """The URL at which all units answer."""
        return f"http://{self.host}:{self.port}"

    @property
    def publishes(self) -> bool:
        """Whether everything for Arweave is posted by the shards, from their logs, because uploads do not go
        to the gateway."""
        return bool(self.bundler_url or self.arweave_wallet)

    @property
    def arweave_url(self) -> str:
        """The URL of Arweave: the configured gateway, or the embedded Arweave."""
        embedded = self.cluster.arweave_url if self.cluster else f"http://{self.host}:{self.port + 1}"
        return self.gateway_url or embedded


SETTINGS = settings_of(Settings)
"""Every setting, in the order of the help and of the page."""


class InForce(NamedTuple):
    """A setting, its value, and where the value comes from."""

    setting: Setting
    value: Any
    source: Literal["option", "environment", "default"]


def in_force(environment: Mapping[str, str], options: Mapping[str, Any]) -> list[InForce]:
    """Return every setting with its value: that of its option, unless it is None, or of its environment
    variable, or its default.

    `options` are values by the names of fields. Raises `ClientError` if a field does not permit its value.
    """
    if unknown := options.keys() - {each.name for each in SETTINGS}:
        raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
    found = []
    for each in SETTINGS:
        if (value := options.get(each.name)) is not None:
            each.check(value, each.option)
            found.append(InForce(each, value, "option"))
        elif each.variable in environment:
            value = each.parse(environment[each.variable])
            each.check(value, each.variable)
            found.append(InForce(each, value, "environment"))
        else:
            found.append(InForce(each, each.default, "default"))
    return found
