"""The same work through other people's software and through aoray, in turns, in one run: an aos 2.0.6 ping.
npm's `wao` (its server; in memory, nothing is durable) and aoray get messages that were signed before with
RSA, as wallets do, over HTTP, and each result is awaited; npm's `@permaweb/ao-loader` in node evaluates the
same message without HTTP, signatures, order or disk. Each gets so many messages that it takes some seconds.
CPU seconds of the server stand beside wall time."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import orjson

from aoray.client import OCTET_STREAM, Client
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import free_ports, running
from benchmarks.guests import AOS_FORMAT, AOS_WASM, PING, ROOT, Guest, guest
from benchmarks.http import Connection, prepare
from benchmarks.load import milliseconds
from benchmarks.report import Report
from benchmarks.running import Meter, own_computer, run_loop

NAME = "peers"
DESCRIPTION = "aos 2.0.6 pings through wao, ao-loader and aoray, in turns"
HERE = Path(__file__).parent
PINNED = ROOT / "tests/js_clients/package.json"
PACKAGES = ("wao", "@permaweb/ao-loader")
NODE = ("node", "--experimental-wasm-memory64")
READY_SECONDS_MAX = 60
Row = dict[str, Any]


class Units(NamedTuple):
    """Where a computer takes messages and gives results, and what a spawn must name."""

    messenger: str
    compute: str
    module: str
    tags: tuple[Tag, ...]


class Taken(NamedTuple):
    """A run: seconds of wall, of the server's CPU, and of each message."""

    wall: float
    cpu: float
    latencies: Sequence[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--peers", default="ao-loader,wao,aoray", help="which, with commas, in this order")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--messages", type=int, default=1000, help="to aoray [1000]")
    parser.add_argument("--peer-messages", type=int, default=40, help="to each of the others [40]")
    parser.add_argument("--rounds", type=int, default=3, help="of all of them, one after another [3]")
    parser.add_argument("--node-modules", type=Path, help="where the packages are already; else installed")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each of them: the median of its rounds."""
    names = arguments.peers.split(",")
    packages = arguments.node_modules or installed()
    takers: Mapping[str, Callable[[], Taken]] = {
        "ao-loader": lambda: loader(packages, arguments.peer_messages),
        "wao": lambda: wao(packages, arguments),
        "aoray": lambda: aoray(arguments),
    }
    rounds = [{name: takers[name]() for name in names} for _ in range(arguments.rounds)]
    rows = [row_of(name, [each[name] for each in rounds], arguments) for name in names]
    hashes = {"aos": guest("aos", "ping", "").sha256}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes} | versions(), rows)


def row_of(name: str, runs: Sequence[Taken], arguments: argparse.Namespace) -> Row:
    """The median of several runs, with the least and the most beside it."""
    rates = [len(run.latencies) / run.wall for run in runs]
    latencies = [milliseconds(run.latencies) for run in runs]
    alone = name == "ao-loader"
    return {
        "peer": name,
        "over": "evaluation alone" if alone else "HTTP, signed" + (", durable" if name == "aoray" else ""),
        "processes": 1 if alone else arguments.processes,
        "clients": 1 if alone else arguments.clients,
        "messages": len(runs[0].latencies),
        "messages_per_s": round(median(rates), 1),
        "p50_ms": median(each[0] for each in latencies),
        "p99_ms": median(each[2] for each in latencies),
        "wall_s": round(median(run.wall for run in runs), 2),
        "server_cpu_s": round(median(run.cpu for run in runs), 2),
        "cpu_ms_each": round(median(run.cpu / len(run.latencies) for run in runs) * 1000, 2),
        "spread": {"messages_per_s": [round(min(rates), 1), round(max(rates), 1)]},
    }


def versions() -> dict[str, str]:
    """The versions that are pinned, for the tests and for here."""
    pinned = orjson.loads(PINNED.read_bytes())["dependencies"]
    return {name: pinned[name] for name in PACKAGES}


def installed() -> Path:
    """The directory of the packages, installed from npm's registry into the user's cache."""
    package = orjson.loads(PINNED.read_bytes())
    package["dependencies"] = versions()
    named = "-".join(version for version in versions().values())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aoray-peers" / named
    modules = cache / "node_modules"
    if not (modules / ".installed").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        (cache / "package.json").write_bytes(orjson.dumps(package))
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=cache, check=True)
        (modules / ".installed").touch()
    return modules


@contextmanager
def script(packages: Path, name: str) -> Iterator[str]:
    """A script of aoray's beside the packages, since node looks for them from where a script is."""
    copy = packages.resolve().parent / f"aoray-{os.getpid()}-{name}"
    shutil.copy(HERE / name, copy)
    try:
        yield str(copy)
    finally:
        copy.unlink()


def loader(packages: Path, messages: int) -> Taken:
    """ao-loader in node, one message after another."""
    with script(packages, "peers_loader.mjs") as file:
        command = [*NODE, file, str(AOS_WASM), PING, str(messages)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found = orjson.loads(done.stdout.splitlines()[-1])
    return Taken(found["wall"], found["cpu"], found["took"])


def wao(packages: Path, arguments: argparse.Namespace) -> Taken:
    """wao's server."""
    port = free_ports()
    with (
        script(packages, "peers_wao.mjs") as file,
        subprocess.Popen(
            [*NODE, file, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as server,
    ):
        try:
            said = orjson.loads(_ready(server))
            url = "http://127.0.0.1:{}".format
            tags = (Tag("Scheduler", said["scheduler"]), Tag("Authority", said["authority"]))
            units = Units(url(port + 2), url(port + 4), said["module"], tags)
            return run_loop(
                _loaded(units, arguments, arguments.peer_messages, lambda: running()[server.pid].cpu_seconds)
            )
        finally:
            server.kill()


def _ready(server: subprocess.Popen[bytes]) -> bytes:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(b"ready "):
            return line.removeprefix(b"ready ")
    raise RuntimeError(f"wao ended with {server.wait()}")


def aoray(arguments: argparse.Namespace) -> Taken:
    """A computer of our own, with everything that it does otherwise."""
    with own_computer() as computer:

        async def all_of_it() -> Taken:
            async with Client(computer.url, generate_rsa()) as client:
                module = await Guest("aos", AOS_WASM.read_bytes(), AOS_FORMAT).publish(client)
                health = await client.health()
            tags = (Tag("Scheduler", health["scheduler"]), Tag("Authority", health["authority"]))
            units = Units(computer.url, computer.url, module, tags)
            meter = Meter(computer)
            return await _loaded(
                units, arguments, arguments.messages, lambda: sum((meter.cpu() or {}).values())
            )

        return run_loop(all_of_it())


async def _loaded(
    units: Units, arguments: argparse.Namespace, messages: int, cpu_seconds: Callable[[], float]
) -> Taken:
    """Spawn, make ready, and run the closed loop; every result is looked at."""
    signer = generate_rsa()
    processes = [await _spawn(units, signer) for _ in range(arguments.processes)]
    items = [_item(signer, process, n) for n, process in enumerate(islice(cycle(processes), messages))]
    for process in processes:
        await _exchange(Connection(units.messenger), Connection(units.compute), _item(signer, process, -1))
    latencies: list[float] = []

    async def drive(mine: Sequence[DataItem]) -> None:
        lines = Connection(units.messenger), Connection(units.compute)
        for item in mine:
            since = time.perf_counter()
            await _exchange(*lines, item)
            latencies.append(time.perf_counter() - since)
        for line in lines:
            line.close()

    used, began = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(drive(items[n :: arguments.clients]) for n in range(arguments.clients)))
    return Taken(time.perf_counter() - began, cpu_seconds() - used, latencies)


async def _spawn(units: Units, signer: Signer) -> str:
    tags = [*_tags("Process"), Tag("Module", units.module), Tag("On-Boot", "Data"), *units.tags]
    item = build(signer, anchor=os.urandom(16).hex().encode(), tags=tags, data=PING.encode())
    async with httpx.AsyncClient(timeout=READY_SECONDS_MAX) as http:
        (await http.post(units.messenger, content=item.raw, headers=OCTET_STREAM)).raise_for_status()
        (await http.get(f"{units.compute}/result/{item.id}?process-id={item.id}")).raise_for_status()
    return item.id


def _item(signer: Signer, process: str, number: int) -> DataItem:
    tags = [*_tags("Message"), Tag("Action", "Ping"), Tag("Number", str(number))]
    return build(signer, target=process, anchor=os.urandom(16).hex().encode(), tags=tags, data=b" ")


def _tags(kind: str) -> list[Tag]:
    return [Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", kind)]


async def _exchange(messenger: Connection, compute: Connection, item: DataItem) -> None:
    reply = await messenger.request(prepare("POST", "/", item.raw))
    if reply.status >= 300:
        raise RuntimeError(f"{reply.status} {reply.body[:300]!r}")
    reply = await compute.request(prepare("GET", f"/result/{item.id}?process-id={item.target_id}"))
    if reply.status != 200 or b"pong" not in reply.body:
        raise RuntimeError(f"{reply.status} {reply.body[:300]!r}")
