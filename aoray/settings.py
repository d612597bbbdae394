"""How one computer is set up: a plain value, from `AORAY_*` variables and the command line.

`Settings()` is a laptop's computer. `Settings.from_environment()` lets `AORAY_DATA`, `AORAY_PORT`, … override
any field.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from aoray import limits
from aoray.errors import ClientError


@dataclass(frozen=True, slots=True)
class Handed:
    """What `aoray up` hands to actors on all nodes of a cluster (see `aoray.nodes`), and nobody sets."""

    head: str
    """The address of the node of `aoray up`."""
    arweave_url: str
    """Where all nodes reach the embedded Arweave."""
    offered: frozenset[str]
    """The kinds of actors (`gateway`, `shard`, `process`) that some nodes say they are for."""
    keys: Mapping[str, bytes] = field(repr=False)
    """Private keys (JWK) by name; none if `--keys` names a directory that each node has."""
    schedulers: Sequence[tuple[str, str, str, int]] = ()
    """The addresses that its scheduler has had (`keyfiles.Held`)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one computer. Paths are absolute once `resolved()`."""

    data: Path = Path("aoray-data")
    """The one directory that holds everything: logs, results, Arweave, modules, keys."""
    store: str = ""
    """Where log and results are, for all nodes: `postgresql://user@host/database?schema=aoray`; empty means
    SQLite under `data`. See docs/storage.md."""
    files: str = ""
    """Where modules and checkpoints are, for all nodes: a URI that `pyarrow.fs` knows, such as
    `s3://bucket/folder`; empty means under `data`."""
    keys: str = ""
    """The directory of the computer's keys, the same on each node; empty means `keys` under `data`."""
    host: str = "127.0.0.1"
    port: int = 4000
    """All units; the embedded Arweave alone on +1, messenger +2, scheduler +3, compute unit +4."""
    ray_address: str = ""
    """An existing Ray cluster (`auto`, `host:port`); empty starts one here for this computer alone."""
    gateway_url: str = ""
    """An Arweave gateway, which everything is read from, and posted to; empty means the embedded one."""
    balances: str = ""
    """A JSON file of what wallets have when the embedded Arweave begins: `{"ADDRESS": "WINSTON", …}`."""
    bundler_url: str = ""
    """A bundler, where bundles of the log are posted instead."""
    arweave_wallet: str = ""
    """File of an Arweave wallet (RSA JWK, mode 0600) that pays: the bundler if there is one; if not, bundles
    become layer-1 transactions, and the gateway must be a node's or pass them on to one."""
    confirmations_min: int = 10
    """Blocks on top of each other after which a bundle is on Arweave for good (not asked of the embedded)."""
    repost_seconds: int = 600
    """A bundle that Arweave has accepted and does not know (any more) is posted again after this time."""
    shards: int = 1
    """Scheduler shards. Fixed when a data directory is first used."""
    gateways: int = 1
    actors_per_node: int = 0
    """Process actors in the pool; 0 means one for each core."""
    actors: int = 0
    """Process actors of the whole computer; 0: as many as all its nodes offer."""
    actor_per_process: bool = False
    """Each process is a Ray actor for itself (a process can ask for it with the tag `Actor: own`)."""
    resident_processes_max: int = limits.RESIDENT_PROCESSES_MAX
    """Processes that an actor holds in memory; beyond it, idle ones are checkpointed and let go."""
    resident_bytes_max: int = 0
    """Bytes that the processes of an actor may take in memory; beyond it, idle ones are let go. 0: an
    actor's part of two fifths of the machine's memory."""
    idle_seconds_max: int = limits.IDLE_SECONDS_MAX
    """An idle process is let go after this time. The next message wakes it."""
    compute_limit_max: int = limits.FUEL_MAX
    """The largest Compute-Limit (fuel for a message) of a process that may be spawned here."""
    memory_limit_max: int = limits.MEMORY_BYTES_MAX
    """The largest Memory-Limit, in bytes."""
    flush_interval_ms: int = 1000
    rate_per_address: float = 0.0
    """Requests a second that write or compute, from one address at each gateway; 0: as many as come."""
    rate_reads_per_address: float = 1000.0
    """GETs a second from one address at each gateway, in looks at a page (a search is 10, a state 100, a
    result nothing); 0: as many as come."""
    rate_per_wallet: float = 0.0
    """Messages and spawns a second that one wallet signs, at each gateway; 0: as many as come."""
    rate_burst_seconds: float = 10.0
    """So many seconds' worth of either may come at once."""
    push_rate_per_process: float = 500.0
    """Outbox messages a second that one process sends on, by its actor and by its gateway each; 0: as many as
    come. What is over it waits."""
    push_rate_per_wallet: float = 2000.0
    """The same of all processes together that belong to one wallet: its own, and those that they spawned."""
    cron_rate_per_wallet: float = 100.0
    """Ticks a second of all crons of such processes, at each shard; 0: as many as are due. What is over it is
    left out, as it is behind a slow process."""
    push_burst_seconds: float = 60.0
    """So many seconds' worth of any of the three may come at once."""
    push_foreign_attempts_max: int = limits.PUSH_FOREIGN_ATTEMPTS_MAX
    """How often an outbox message is attempted towards another network before it is `dead`."""
    trusted_proxies: str = ""
    """Addresses and networks, with commas, whose `X-Forwarded-For` says whom a request is from."""
    attest_interval_ms: int = 2000
    """How often what messages gave is signed for Arweave, one attestation for each process that had some."""
    log_level: str = "warning"
    """What actors write into their logs: debug, info, warning, error or critical, and what is worse."""
    handed: Handed | None = None
    """Only on a cluster of several nodes."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **overrides: Any) -> Self:
        """Settings from `AORAY_<FIELD>` variables; `overrides` that are not None win."""
        found = {
            f.name: _parse(f.name, f.default, environment[variable])
            for f in fields(cls)
            if f.name != "handed" and (variable := f"AORAY_{f.name.upper()}") in environment
        }
        return cls(**found | {key: value for key, value in overrides.items() if value is not None})

    def resolved(self) -> Self:
        """The same, with absolute paths (actors have another working directory)."""
        wallet = str(Path(self.arweave_wallet).expanduser().resolve()) if self.arweave_wallet else ""
        balances = str(Path(self.balances).expanduser().resolve()) if self.balances else ""
        keys = str(Path(self.keys).expanduser().resolve()) if self.keys else ""
        return replace(
            self, data=self.data.expanduser().resolve(), arweave_wallet=wallet, keys=keys, balances=balances
        )

    @property
    def keys_directory(self) -> Path:
        """Where the computer's keys are."""
        return Path(self.keys) if self.keys else self.data / "keys"

    @property
    def pool(self) -> int:
        """How many process actors there are."""
        return self.actors or self.actors_per_node or os.cpu_count() or 1

    @property
    def url(self) -> str:
        """Where all units answer."""
        return f"http://{self.host}:{self.port}"

    @property
    def publishes(self) -> bool:
        """Whether what goes to Arweave goes through the shards' logs, since reads go elsewhere than posts."""
        return bool(self.bundler_url or self.arweave_wallet)

    @property
    def arweave_url(self) -> str:
        """Where Arweave answers: the configured gateway, or the embedded one."""
        embedded = self.handed.arweave_url if self.handed else f"http://{self.host}:{self.port + 1}"
        return self.gateway_url or embedded


def _parse(name: str, default: Any, text: str) -> Any:
    try:
        if isinstance(default, bool):
            return text.lower() in ("1", "true", "yes", "on")
        return type(default)(text) if not isinstance(default, Path) else Path(text)
    except ValueError as error:
        raise ClientError(
            f"AORAY_{name.upper()} is {text!r}", hint=f"It should be like {default!r}."
        ) from error
