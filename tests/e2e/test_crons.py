"""Cron on a real computer: each tick once, across `kill -9`; what ticks send arrives; anyone can check it.

`AORAY_CRON_SECONDS=60` lets it tick for a minute (`make cron-soak`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import aoray
from message_load import check_log, log_of

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.errors import ClientError
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer
from aoray.verify.replay import replayed

SECONDS = int(os.environ.get("AORAY_CRON_SECONDS", "6"))
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180 + 2 * SECONDS)]

PROCESSES = 20
LOOK_SECONDS = 0.25
WAIT_SECONDS_MAX = 60 + 2 * SECONDS
COLLECTOR = """
Heard, Total = {}, 0
Handlers.add("heard", "Heard", function(msg)
  Heard[msg.From] = (Heard[msg.From] or 0) + 1
  Total = Total + 1
end)
Handlers.add("of", "Of", function(msg) print(tostring(Heard[msg.Sender] or 0)) end)
Handlers.add("total", "Total", function() print(tostring(Total)) end)
"""
PROGRAM = """
Ticks, Wrong = 0, 0
Handlers.add("tick", "Tick", function(msg)
  if not (msg.Cron and msg.From == ao.env.Process.Owner and msg.Kind == "fast") then Wrong = Wrong + 1 end
  Ticks = Ticks + 1
  Send({ Target = "COLLECTOR", Action = "Heard" })
end)
Handlers.add("count", "Count", function() print(Ticks .. " " .. Wrong) end)
"""
CRON = (Tag("Cron-Interval", "1-second"), Tag("Cron-Tag-Action", "Tick"), Tag("Cron-Tag-Kind", "fast"))


async def said(client: Client, process: str, action: str, *tags: Tag) -> str:
    result = await client.result(process, await client.send(process, action=action, tags=tags))
    return str(result["Output"]["data"])


async def ticking(client: Client) -> tuple[str, Sequence[str]]:
    """A collector, and monitored processes that tell it of each tick."""
    collector = await client.spawn(data=COLLECTOR, on_boot=True)
    program = PROGRAM.replace("COLLECTOR", collector)
    named = ([Tag("Name", f"p{n}"), *CRON] for n in range(PROCESSES))
    spawned = [client.spawn(data=program, on_boot=True, tags=tags) for tags in named]
    processes = await asyncio.gather(*spawned)
    await asyncio.gather(*map(client.monitor, processes))
    return collector, processes


async def due_after(client: Client, process: str, ms: int) -> None:
    """Until the process has been ticked up to a time."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while (await client.monitored(process))["crons"][0]["next"] <= ms:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), LOOK_SECONDS)


async def tick_for(client: Client, processes: Sequence[str], seconds: float) -> None:
    state = await client.monitored(processes[0])
    end = state["crons"][0]["next"] + int(seconds * 1000)
    await asyncio.gather(*(due_after(client, process, end) for process in (processes[0], processes[-1])))


def ticks_of(nodes: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """When each tick was due, and how much later it had its slot."""
    found = []
    for node in nodes[1:]:
        tags = {tag["name"]: tag["value"] for tag in node["message"]["tags"]}
        slot = {tag["name"]: tag["value"] for tag in node["assignment"]["tags"]}
        if tags.get("Cron"):
            assert tags["Cron"] == "0-1-second"
            due = int(tags["Cron-Due"])
            found.append((due, int(slot["Timestamp"]) - due))
    return found


async def test_twenty_processes_tick_once_each_second_across_a_kill(mortal: LocalComputer) -> None:
    signer = generate_ed25519()
    async with Client(mortal.url, signer) as client:
        collector, processes = await ticking(client)
        await tick_for(client, processes, SECONDS / 2)
    await asyncio.to_thread(mortal.kill)
    await asyncio.to_thread(mortal.start)
    async with Client(mortal.url, signer) as client:
        await tick_for(client, processes, SECONDS / 2)
        await asyncio.gather(*map(client.unmonitor, processes))
        counts = await asyncio.gather(*(said(client, process, "Count") for process in processes))
        lags: list[int] = []
        made: Counter[str] = Counter()
        for process, count in zip(processes, counts, strict=True):
            nodes = await log_of(mortal, process)
            check_log(process, nodes)
            found = ticks_of(nodes)
            dues = [due for due, _ in found]
            assert dues == sorted(set(dues)), "a tick came twice, or out of order"
            assert min(lag for _, lag in found) >= 0
            assert count == f"{len(found)} 0", "the guest counts what is in the log, all as it should look"
            assert len(found) >= SECONDS // 2
            lags += [lag for _, lag in found]
            made[process] = len(found)
        await heard(client, collector, made)
        await check_cron_page(client, processes[0], made[processes[0]])
        await verified(mortal, processes[0], made[processes[0]])
    lags.sort()
    at = {name: lags[len(lags) * share // 100] for name, share in (("p50", 50), ("p99", 99))}
    print(f"\n{len(lags)} ticks of {PROCESSES} processes in {SECONDS} s: lag {at} max {lags[-1]} ms")


async def heard(client: Client, collector: str, made: Counter[str]) -> None:
    """What each tick sent arrives once."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while int(await said(client, collector, "Total")) < made.total():
            pass
    for process, count in made.items():
        assert await said(client, collector, "Of", Tag("Sender", process)) == str(count)


async def check_cron_page(client: Client, process: str, count: int) -> None:
    page = await client._json("GET", f"/cron/{process}", params={"limit": "1000"})
    assert len(page["edges"]) == count
    assert all(len(edge["node"]["Messages"]) == 1 for edge in page["edges"])


async def verified(computer: LocalComputer, process: str, ticks: int) -> None:
    """From Arweave alone, with as many ticks, each of them attested; each look is a replay."""
    async with ArweaveClient(computer.unit(1)) as arweave, asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            try:
                async with replayed(
                    arweave, process, to=ticks + 1, compiled=computer.data / "compiled"
                ) as run:
                    report = run.report()
                    assert (report["errors"], report["not_attested_before"]) == (0, 0)
                    if report["not_attested_at_the_end"]:
                        continue
                    counted = run.dry_run({"Tags": [{"name": "Action", "value": "Count"}]})
                    assert counted["Output"]["data"] == f"{ticks} 0"
                    return
            except ClientError as error:
                assert "ends at nonce" in error.message


def test_the_command_line_starts_shows_and_stops_crons(computer: LocalComputer, tmp_path: Path) -> None:

    def run(*words: str) -> dict[str, Any]:
        said = aoray(*words, "--url", computer.url, "--json", AORAY_WALLET=str(tmp_path / "wallet.json"))
        return dict(json.loads(said.out))

    process = run("spawn", "--tag", "Cron-Interval=1-hour", "--tag", "Cron-Tag-Action=Tick")["process"]
    assert not run("monitor", process, "--show")["monitored"]
    (cron,) = run("monitor", process)["crons"]
    assert (cron["cron"], cron["step"], cron["last"]) == ("0-1-hour", 3_600_000, None)
    assert run("monitor", process, "--show")["monitored"]
    assert not run("monitor", process, "--stop")["monitored"]
