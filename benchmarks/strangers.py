"""Strangers who do all that there is a bound for, all at once and for a while, beside people who behave: slow
readers, waits, searches, dry runs that nobody waits for, large memories, heavy modules, endless loops, large
uploads, bombs of messages, crons. Each comes from an address of its own. They run in a process of their own,
so that what a stranger's own work costs (signing, compiling) does not delay who behaves by much.

What to look at: the latency of who behaves (p50, p99, the slowest), whether each of their answers is the one
that follows the last (`failed`), whether the computer's memory is flat (its median in the second quarter and
in the last), whether an actor was restarted, and what the strangers were answered. `--only` runs some of
them; a run of twenty minutes is `--seconds 1200`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import httpx
import wasmtime

from aoray.client import Client
from aoray.errors import AorayError
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.ans104.bundles import pack as pack_bundle
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer
from benchmarks.load import milliseconds
from benchmarks.report import Report
from benchmarks.running import actors_of, own_computer

NAME = "strangers"
DESCRIPTION = "who behaves is served while strangers do all that there is a bound for"
PROGRAM = 'N = 0 Handlers.add("count", "Count", function() N = N + 1 print(tostring(N)) end)'
MIB = 1 << 20
Health = Mapping[str, str]
WATCH_S = 5.0
MIB_SHOWN = 70  # parts that hold less are not worth a line
STRANGERS_NICE = 19  # elsewhere they would have processors of their own
SEARCHES = [
    f'a{n}: transactions(first: 100, tags: [{{name: "Action", values: ["v{n}"], op: NEQ}}])'
    " {count edges {node {id}}}"
    for n in range(10)  # and as many counts: what one query may have
]
SEARCH = json.dumps({"query": f"{{{' '.join(SEARCHES)}}}"}).encode()
BOMB = """
Handlers.add("go", "Go", function(msg)
  for i = 1, 20 do Send({ Target = ao.id, Action = "Go", N = tostring(i) }) end
end)
"""


@dataclass
class Seen:
    """What came of it."""

    answered: list[float] = field(default_factory=list)  # seconds, of who behaves
    ordered: list[float] = field(default_factory=list)  # seconds until they had their places in the log
    wrong: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # who behaves, for a while
    mib: list[float] = field(default_factory=list)
    parts: list[Mapping[str, int]] = field(default_factory=list)  # MiB of each part of the computer
    cpu_s: Mapping[str, float] = field(default_factory=dict)  # by part
    statuses: dict[str, Counter[str]] = field(default_factory=dict)  # of the strangers
    actors: dict[int, str] = field(default_factory=dict)
    restarted: int = 0


class Stranger:
    """Somebody with an address and a wallet of his own, who counts what he is answered."""

    def __init__(self, url: str, health: Health, name: str, number: int) -> None:
        self.port = int(url.rpartition(":")[2])
        self.health, self.name = health, name
        self.address = f"127.0.0.{100 + number}"
        self.signer = generate_ed25519()
        self.said: Counter[str] = Counter()
        transport = httpx.AsyncHTTPTransport(local_address=self.address, retries=0)
        self.http = httpx.AsyncClient(transport=transport, base_url=url, timeout=30)

    def spawned(self, *tags: Tag, module: str = "", data: bytes = b" ") -> DataItem:
        """A process of his."""
        own = [
            *(Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", "Process")),
            *(Tag("Module", module or self.health["module"]), Tag("Scheduler", self.health["scheduler"])),
            *(Tag("Authority", self.health["authority"]), Tag("X", os.urandom(8).hex())),
        ]
        return build(self.signer, tags=[*own, *tags], data=data)

    def message(self, process: str, *tags: Tag, data: bytes = b" ") -> DataItem:
        """A message to one."""
        own = [Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", "Message")]
        return build(
            self.signer, target=process, tags=[*own, Tag("X", os.urandom(8).hex()), *tags], data=data
        )

    async def ask(self, method: str, path: str, content: bytes = b"", timeout_s: float = 30.0) -> str:
        """One request; how it was answered."""
        kind = "application/json" if content[:1] == b"{" else "application/octet-stream"
        try:
            answer = await self.http.request(
                method, path, content=content, headers={"content-type": kind}, timeout=timeout_s
            )
            word = str(answer.status_code)
        except httpx.HTTPError as error:
            word = type(error).__name__
        self.said[word] += 1
        return word

    async def post(self, item: DataItem, path: str = "/") -> str:
        """Post an item; its id."""
        await self.ask("POST", path, item.raw)
        return item.id


async def search(who: Stranger) -> None:
    """Searches that cost much."""
    await who.ask("POST", "/graphql", SEARCH)


async def read_slowly(who: Stranger) -> None:
    """Asks for something large on many connections, and reads none of it."""
    big = await who.post(build(who.signer, tags=[], data=os.urandom(20 * MIB)), "/tx")
    host, port = "127.0.0.1", who.port
    writers = []
    for _ in range(10):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port, limit=1024, local_addr=(who.address, 0))
            writer.write(f"GET /raw/{big} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            writers.append(writer)
    await asyncio.sleep(20)
    for writer in writers:
        writer.transport.abort()


async def wait_in_crowds(who: Stranger) -> None:
    """Waits for a result that takes long to come, a thousand times."""
    process = await who.post(who.spawned())
    message = await who.post(who.message(process, Tag("Action", "Eval"), data=b"while true do end"))
    path = f"/result/{message}?process-id={process}&wait=20000"
    async with asyncio.TaskGroup() as group:
        for _ in range(1_000):
            group.create_task(who.ask("GET", path, timeout_s=25))


async def run_dry_and_go(who: Stranger) -> None:
    """Dry runs of an endless loop, whose answers he does not wait for."""
    process = await who.post(who.spawned())
    tags = [{"name": "Action", "value": "Eval"}]
    message = {"Id": "1" * 43, "Owner": who.signer.address, "Data": "while true do end", "Tags": tags}
    asked = json.dumps(message).encode()
    for _ in range(20):
        await who.ask("POST", f"/dry-run?process-id={process}", asked, timeout_s=0.2)


async def fill_memory(who: Stranger) -> None:
    """Processes that hold 64 MiB each."""
    code = b"X = {} for i = 1, 64 do X[i] = string.rep(string.char(64 + i), 1024 * 1024) end"
    await who.post(who.spawned(Tag("On-Boot", "Data"), data=code))


async def compile_much(who: Stranger) -> None:
    """Small modules that take a compiler long, each another one."""
    body = "".join(
        f"(loop (local.set {2 + n * 7919 % 3000} (i32.add (local.get {2 + n * 104729 % 3000})"
        f" (i32.const {os.getpid() + n}))) (br_if 0 (local.get {2 + n * 7919 % 3000})))"
        for n in range(3_000)
    )
    text = (
        '(module (memory (export "memory") 40)'
        ' (func (export "malloc") (param i32) (result i32) (i32.const 0))'
        ' (func (export "handle") (param i32 i32) (result i32)'
        f"(local {'i32 ' * 3000}) {body} (i32.const {int(time.time())})))"
    )
    wasm = bytes(await asyncio.to_thread(wasmtime.wat2wasm, text))
    module = await who.post(build(who.signer, tags=module_tags("wasm32-wasi"), data=wasm), "/tx")
    await who.post(who.spawned(module=module))


async def loop(who: Stranger) -> None:
    """Messages that never end."""
    process = await who.post(who.spawned())
    for _ in range(5):
        await who.post(who.message(process, Tag("Action", "Eval"), data=b"while true do end"))


async def upload(who: Stranger) -> None:
    """Large bundles of small items."""
    items = [build(who.signer, tags=[Tag("N", str(n))], data=b"") for n in range(5_000)]
    bundle = build(who.signer, tags=BUNDLE_TAGS, data=pack_bundle(items))
    await who.post(bundle, "/tx")


async def bomb(who: Stranger) -> None:
    """A process whose every message is twenty more."""
    process = await who.post(who.spawned(Tag("On-Boot", "Data"), data=BOMB.encode()))
    await who.post(who.message(process, Tag("Action", "Go")))


async def tick(who: Stranger) -> None:
    """Processes with sixteen crons each."""
    crons = [Tag("Cron-Interval", f"{1 + n}-seconds") for n in range(16)]
    process = await who.post(who.spawned(*crons))
    word = build(who.signer, target=process, tags=[Tag("Action", "Monitor")], data=b"start")
    await who.ask("POST", f"/monitor/{process}", word.raw)


async def crowd(who: Stranger) -> None:
    """Connections that send a part of a request, and no more."""
    writers = []
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", who.port, local_addr=(who.address, 0))
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
            writers.append(writer)
    await asyncio.sleep(20)
    for writer in writers:
        writer.transport.abort()


STRANGERS: Mapping[str, tuple[Callable[[Stranger], Awaitable[None]], float]] = {
    "search": (search, 2.0),
    "slow readers": (read_slowly, 5.0),
    "waits": (wait_in_crowds, 5.0),
    "dry runs": (run_dry_and_go, 5.0),
    "memory": (fill_memory, 3.0),
    "compilers": (compile_much, 20.0),
    "loops": (loop, 10.0),
    "uploads": (upload, 15.0),
    "bombs": (bomb, 20.0),
    "crons": (tick, 10.0),
    "connections": (crowd, 5.0),
}
"""What each does, and how many seconds he rests before he does it again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--seconds", type=float, default=60, help="for which they all go on [60]")
    parser.add_argument("--processes", type=int, default=8, help="of who behaves [8]")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between their messages [0.5]")
    parser.add_argument("--idle-seconds", type=int, default=60, help="until an idle process hibernates [60]")
    parser.add_argument("--only", default=",".join(STRANGERS), help="which strangers, with commas [all]")


def run(arguments: argparse.Namespace) -> Report:
    """One row."""
    with own_computer(environment={"AORAY_IDLE_SECONDS_MAX": str(arguments.idle_seconds)}) as computer:
        seen = asyncio.run(beside(computer, arguments))
    p50, _, p99 = milliseconds(seen.answered)
    quarter = max(1, len(seen.mib) // 4)
    row = {
        "seconds": arguments.seconds,
        "answered": len(seen.answered),
        "failed": len(seen.wrong),
        "ordered_ms": milliseconds(seen.ordered)[0],
        "p50_ms": p50,
        "p99_ms": p99,
        "slowest_ms": round(max(seen.answered) * 1000),
        "early_mib": round(median(seen.mib[quarter : 2 * quarter + 1])),
        "late_mib": round(median(seen.mib[-quarter:])),
        "peak_mib": round(max(seen.mib)),
        "restarted": seen.restarted,
        "strangers": {name: dict(said) for name, said in seen.statuses.items()},
    }
    for name, said in seen.statuses.items():
        print(f"{name}: {dict(said.most_common(8))}")
    print(f"CPU seconds: {seen.cpu_s}")
    print(f"who behaves was refused for a while: {dict(seen.refused)}")
    for number in range(0, len(seen.parts), max(1, len(seen.parts) // 12)):
        large = {part: held for part, held in seen.parts[number].items() if held > MIB_SHOWN}
        print(f"MiB after {number * WATCH_S:.0f} s: {large}")
    for wrong in seen.wrong[:10]:
        print(wrong)
    return Report(NAME, DESCRIPTION, vars(arguments), [row])


async def beside(computer: LocalComputer, arguments: argparse.Namespace) -> Seen:
    """Everybody at once, for so long."""
    seen = Seen(actors=actors_of(computer))
    async with Client(computer.url, generate_ed25519()) as client:
        health = await client.health()
        processes = [await client.spawn(data=PROGRAM, on_boot=True) for _ in range(arguments.processes)]
        ends = time.monotonic() + arguments.seconds
        names = [name for name in arguments.only.split(",") if name]
        strangers = asyncio.create_task(
            asyncio.to_thread(attack_beside, computer.url, health, names, arguments.seconds)
        )
        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(behave(client, process, ends, arguments.interval, seen))
            group.create_task(watch(computer, ends, seen))
        seen.statuses = await strangers
        seen.cpu_s = {part: round(used, 1) for part, used in computer.cpu_seconds().items()}
    seen.restarted = len(actors_of(computer).keys() - seen.actors.keys())
    return seen


async def behave(client: Client, process: str, ends: float, interval_s: float, seen: Seen) -> None:
    """Send, wait for the answer, rest; each answer is the number after the last."""
    expected = 0
    while time.monotonic() < ends:
        begun = time.monotonic()
        item = client.message(process, action="Count")
        expected += 1
        result = await insist(client, process, item, seen)
        seen.answered.append(time.monotonic() - begun)
        output = result.get("Output", {})
        if not (isinstance(output, dict) and str(output.get("data")) == str(expected)):
            seen.wrong.append(f"{process} {item.id}: not {expected} but {result}")
        await asyncio.sleep(interval_s)


async def insist(client: Client, process: str, item: DataItem, seen: Seen) -> Mapping[str, object]:
    """The result of a message, however often it is refused: that is in its latency."""
    posted = False
    while True:
        try:
            if not posted:
                begun = time.monotonic()
                await client.post(item)
                seen.ordered.append(time.monotonic() - begun)
                posted = True
            return await client.result(process, item.id)
        except AorayError as error:
            seen.refused[str(error)[:150]] += 1
            seen.wrong += [] if error.code in ("overloaded", "unavailable", "rate_limited") else [repr(error)]
            await asyncio.sleep(0.1)


def attack_beside(url: str, health: Health, names: list[str], seconds: float) -> dict[str, Counter[str]]:
    """All strangers in a process of their own; what each was answered."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        return beside.submit(attack_all, url, health, names, seconds).result()


def attack_all(url: str, health: Health, names: list[str], seconds: float) -> dict[str, Counter[str]]:
    """All strangers, in this process."""
    os.nice(STRANGERS_NICE)
    return asyncio.run(attack_together(url, health, names, time.monotonic() + seconds))


async def attack_together(url: str, health: Health, names: list[str], ends: float) -> dict[str, Counter[str]]:
    """All strangers, side by side."""
    strangers = [Stranger(url, health, name, number) for number, name in enumerate(names)]
    await asyncio.gather(*(attack(who, ends) for who in strangers))
    for who in strangers:
        await who.http.aclose()
    return {who.name: who.said for who in strangers}


async def attack(who: Stranger, ends: float) -> None:
    """Do it, rest, do it again."""
    act, rest_s = STRANGERS[who.name]
    while time.monotonic() < ends:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, ends - time.monotonic())):
                await act(who)
                await asyncio.sleep(rest_s)


async def watch(computer: LocalComputer, ends: float, seen: Seen) -> None:
    """The computer's memory."""
    while time.monotonic() < ends:
        parts = await asyncio.to_thread(computer.memory_bytes)
        seen.parts.append({part: round(held / MIB) for part, held in parts.items()})
        seen.mib.append(sum(parts.values()) / MIB)
        await asyncio.sleep(WATCH_S)
