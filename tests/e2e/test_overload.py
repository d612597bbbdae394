"""Three times the load that it can take: what was accepted gets its result, and soon; the rest is refused."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from message_load import check_log, log_of, messages, stopped

from aoray import limits
from aoray.client import Client
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer, command_of, part_of
from benchmarks import overload
from benchmarks.guests import Guest, guest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

PROCESSES = 8
OFFERED, REFUSED = 6_000, 5
KEPT_MIN = 0.5  # of the peak; the benchmark shows 0.9 and more where nothing else runs
MEMORY_MIB_MAX = 400  # that it may grow by: queues, caches and instances, which are bounded


async def test_what_is_over_the_bound_while_evaluation_stands_still_is_refused_and_the_rest_gets_its_result(
    mortal: LocalComputer,
) -> None:
    async with Client(mortal.url, generate_ed25519()) as client:
        process = await client.spawn()
        items = messages(client, process, OFFERED)
        accepted: list[DataItem] = []
        refused: list[httpx.Response] = []
        async with httpx.AsyncClient(base_url=mortal.url, timeout=60) as http:
            with stopped(mortal, "ProcessActor"):
                for item in items:
                    answer = await http.post("/", content=item.raw)
                    if answer.status_code == 202:
                        accepted.append(item)
                    else:
                        refused.append(answer)
                        if len(refused) == REFUSED:
                            break
            assert len(refused) == REFUSED, "it took all that was offered, however far it was behind"
            assert {answer.status_code for answer in refused} == {503}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
            assert all("behind" in answer.json()["error"] for answer in refused)
        assert len(accepted) >= limits.RESULTS_AWAITED_FREE
        await client.result(process, accepted[-1].id)
    log = check_log(process, await log_of(mortal, process))
    assert log == [item.id for item in accepted]


def niceness(computer: LocalComputer, part: str) -> set[int]:
    """Of the threads of the actors of this class."""
    pids = [pid for pid in computer.members() if part_of(command_of(pid)) == part]
    stats = [stat.read_text() for pid in pids for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {int(stat.rpartition(")")[2].split()[16]) for stat in stats}


def test_evaluation_leaves_the_processors_to_who_orders_and_answers(computer: LocalComputer) -> None:
    serving = niceness(computer, "ShardActor") | niceness(computer, "GatewayActor")
    assert max(niceness(computer, "ProcessActor")) > max(serving)


def options(words: Sequence[str] = ()) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    overload.add_arguments(parser)
    return parser.parse_args([f"--processes={PROCESSES}", *words])


def test_three_times_its_peak_costs_no_throughput_and_nothing_accepted_is_lost(
    mortal: LocalComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[str] = []
    spawn = Guest.spawn

    async def noted(self: Guest, client: Client, module: str) -> str:
        spawned.append(await spawn(self, client, module))
        return spawned[-1]

    monkeypatch.setattr(Guest, "spawn", noted)
    words = ["--messages=400", "--clients=32", "--seconds=2", "--offered-max=6000"]
    row = overload.row_of(mortal.url, mortal, guest("lua", "ping", ""), options(words))
    assert row["failed"] == 0, row  # each accepted has its result, each refused its Retry-After
    assert row["accepted"] + row["refused"] == row["offered"], row
    # Who is slow to offer may find room all the time; then nobody waits long.
    patience_s = limits.ORDER_LAG_SECONDS_MAX + limits.RESULT_LAG_SECONDS_MAX
    assert row["refused"] > 0 or row["p99_ms"] < 1000 * patience_s, row
    assert row["kept"] >= KEPT_MIN, row
    assert row["memory_mib"] - row["memory_mib_before"] < MEMORY_MIB_MAX, row
    # All that it lets wait, at the rate that it has.
    waiting = limits.QUEUE_MESSAGES_FREE + 2 * limits.SUBMIT_MESSAGES_MAX + limits.RESULTS_AWAITED_FREE
    bound_s = limits.ORDER_LAG_SECONDS_MAX + limits.RESULT_LAG_SECONDS_MAX + waiting / row["results_per_s"]
    assert row["p99_ms"] < 2000 * bound_s, row
    logs = [asyncio.run(log_of(mortal, process)) for process in spawned[-PROCESSES:]]
    found = [check_log(process, nodes) for process, nodes in zip(spawned[-PROCESSES:], logs, strict=True)]
    assert sum(map(len, found)) == row["accepted"] + PROCESSES  # and the one that warmed each
