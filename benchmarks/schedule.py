"""How many messages a second one scheduler shard orders and makes durable, when nothing evaluates them.

It is a real `ShardActor` on Ray: rules, signed assignments, SQLite with an fsync for each commit, receipts.
Submissions are signed and known before the clock starts, and a driver sends them over Ray in batches as a
gateway does, a few batches in flight. In place of process actors stands one that is told of every entry and
drops it. So what is *not* in it: HTTP, verification of signatures, evaluation and results, Arweave (the
interval of the flusher is longer than the run). At the end the log is read: every message once, without gap.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from aoray.protocol.ans104.items import build
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.runtime import ray_env
from aoray.settings import Settings
from benchmarks.report import Report

NAME = "schedule"
DESCRIPTION = "messages ordered and durable in one shard, nothing evaluated"

KIND = Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1")
SOME_ID = b64url_encode(bytes(32))
NEVER_MS = 86_400_000
OPTIONS = {"num_cpus": 0, "max_concurrency": 10_000}


class Drops:
    """Stands for a process actor: is told, and evaluates nothing."""

    async def assign(self, works: list[Any]) -> None:
        """Entries to evaluate."""

    async def activate(self, terms: list[tuple[str, int]]) -> None:
        """Processes to look after."""

    async def ready(self) -> dict[str, Any]:
        """Who it is."""
        return {"incarnation": os.getpid()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--messages", type=int, default=30_000, help="for each row [30000]")
    parser.add_argument("--batch", default="64,250,1000", help="messages of a call; several with commas")
    parser.add_argument("--in-flight", type=int, default=4, help="calls at once [4]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each size of batch."""
    with tempfile.TemporaryDirectory(prefix="aoray-benchmark-") as directory:
        # Port 1: nobody answers as Arweave.
        settings = Settings(
            data=Path(directory), port=1, flush_interval_ms=NEVER_MS, attest_interval_ms=NEVER_MS
        )
        ray_env.prepare(settings)  # before Ray is imported
        from aoray.runtime.computer import ray_for

        with ray_for(settings):
            rows = [_row(settings, arguments, size) for size in map(int, arguments.batch.split(","))]
    return Report(NAME, DESCRIPTION, vars(arguments), rows)


def _row(settings: Settings, arguments: argparse.Namespace, size: int) -> dict[str, Any]:
    import ray

    from aoray.scheduler.shard import ShardActor

    settings = _in_own_directory(settings, size)
    actors = [
        ray.remote(Drops).options(name=f"process-actor-{index}", **OPTIONS).remote()
        for index in range(os.cpu_count() or 1)
    ]
    shard = ray.remote(ShardActor).options(**OPTIONS).remote(settings, 0)
    try:
        return asyncio.run(_measure(shard, settings, arguments, size))
    finally:
        for actor in (shard, *actors):
            ray.kill(actor)


def _in_own_directory(settings: Settings, size: int) -> Settings:
    from dataclasses import replace

    from aoray.runtime.unit_keys import keep_keys

    made = replace(settings, data=settings.data / str(size))
    keep_keys(made)
    return made


async def _measure(
    shard: Any, settings: Settings, arguments: argparse.Namespace, size: int
) -> dict[str, Any]:
    from aoray.storage.key_files import load_key

    pid = (await shard.ready.remote())["incarnation"]
    processes = _processes(arguments.processes, load_key(settings, "scheduler").address)
    await shard.submit.remote(processes)
    messages = _messages([process.process_id for process in processes], arguments)
    batches = [messages[at : at + size] for at in range(0, len(messages), size)]
    cpu, own, began = _cpu_seconds(pid), time.process_time(), time.perf_counter()
    waits_ms = await _sent(shard, batches, arguments.in_flight)
    seconds = time.perf_counter() - began
    count = len(messages)
    row = {
        "batch": size,
        "in_flight": arguments.in_flight,
        "messages": count,
        "wall_s": round(seconds, 3),
        "messages_per_s": round(count / seconds, 1),
        "ack_p50_ms": round(waits_ms[len(waits_ms) // 2], 2),
        "ack_p99_ms": round(waits_ms[len(waits_ms) * 99 // 100], 2),
        "shard_us": round((_cpu_seconds(pid) - cpu) / count * 1e6, 1),
        "driver_us": round((time.process_time() - own) / count * 1e6, 1),
    }
    _check(settings, arguments)
    return row


def _processes(count: int, scheduler: str) -> list[Any]:
    from aoray.contracts.shard import Submission

    signer = generate_ed25519()
    tags = *KIND, Tag("Type", "Process"), Tag("Module", SOME_ID), Tag("Scheduler", scheduler)
    items = [build(signer, tags=tags, data=b"%d" % number) for number in range(count)]
    return [Submission("process", item.id, item.id, item.raw) for item in items]


def _messages(process_ids: list[str], arguments: argparse.Namespace) -> list[Any]:
    """Signed messages, to processes at random."""
    from aoray.contracts.shard import Submission

    chance, signer = random.Random(arguments.seed), generate_ed25519()
    tags = *KIND, Tag("Type", "Message"), Tag("Action", "Ping")
    targets = chance.choices(process_ids, k=arguments.messages)
    items = [
        (target, build(signer, target=target, tags=tags, data=b"%d" % number))
        for number, target in enumerate(targets)
    ]
    return [Submission("message", target, item.id, item.raw) for target, item in items]


async def _sent(shard: Any, batches: list[list[Any]], in_flight: int) -> list[float]:
    """Send them all; how long each message waited for its receipt, sorted."""
    from aoray.contracts.shard import Receipt

    waits_ms: list[float] = []
    waiting = iter(batches)

    async def one_after_another() -> None:
        for batch in waiting:
            began = time.perf_counter()
            answers = await shard.submit.remote(batch)
            waits_ms.extend([1000 * (time.perf_counter() - began)] * len(batch))
            if not all(isinstance(answer, Receipt) for answer in answers):
                raise RuntimeError(f"not scheduled: {answers}")

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    return sorted(waits_ms)


def _check(settings: Settings, arguments: argparse.Namespace) -> None:
    """The log holds every message once, and no process's numbers have a gap."""
    from aoray.storage.factory import open_readers

    reader = open_readers(settings)
    nonces = [entry.nonce for pid in reader.process_ids() if (entry := reader.latest(pid)) is not None]
    found = sum(nonces)
    if len(nonces) != arguments.processes or found != arguments.messages:
        raise RuntimeError(f"the log holds {found} messages of {len(nonces)} processes")


def _cpu_seconds(pid: int) -> float:
    """User and system time of an OS process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
