"""What /metrics says is what happened: of a real computer, after real messages, each stage of the journey
has counted them; the dashboard asks for nothing that there is not; Ray has the same figures."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import httpx
import pytest
from message_load import PROGRAM
from polling import between_looks
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from aoray.client import Client
from aoray.gateway.observability import metrics_page
from aoray.testing.local_computer import LocalComputer
from aoray.util.metrics import BOUNDS_MS, StageMetrics

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
RAY_DEFAULT = Path(__file__).with_name(".ray-default")
STAGES = ("accepted", "scheduled", "evaluated", "pushed", "flushed")
MESSAGES = 20


async def told(computer: LocalComputer) -> dict[tuple[str, str], float]:
    """Every figure, by its name and its `le`; those of several actors are added up."""
    found: dict[tuple[str, str], float] = {}
    for each in await samples(computer):
        key = each.name, each.labels.get("le", "")
        found[key] = found.get(key, 0) + each.value
    return found


async def samples(computer: LocalComputer) -> list[Sample]:
    """What Prometheus would read."""
    async with httpx.AsyncClient(base_url=computer.url, timeout=30) as http:
        page = (await http.get("/metrics")).text
    return [each for family in text_string_to_metric_families(page) for each in family.samples]


async def moved(
    computer: LocalComputer, before: dict[tuple[str, str], float], stage: str, count: int
) -> dict[tuple[str, str], float]:
    """The figures, once a stage has counted so many more."""
    key = f"aoray_{stage}_total", ""
    async with asyncio.timeout(30):
        while (after := await told(computer))[key] < before.get(key, 0) + count:
            await between_looks()
    return after


async def test_each_stage_counts_the_messages_that_passed_it(mortal: LocalComputer) -> None:
    from aoray.protocol.signatures.ed25519 import generate_ed25519

    async with Client(mortal.url, generate_ed25519()) as client:
        process = await client.spawn(data=PROGRAM + REPLY, on_boot=True)
        await client.result(process, process)
        before = await moved(mortal, await told(mortal), "flushed", 0)
        for number in range(MESSAGES):
            message = await client.send(process, action="Echo", data=str(number))
        await client.result(process, message)
        expected = {"accepted": MESSAGES, "scheduled": MESSAGES, "evaluated": MESSAGES, "pushed": MESSAGES}
        for stage, count in {**expected, "flushed": MESSAGES}.items():
            after = await moved(mortal, before, stage, count)
    after = await told(mortal)
    for stage, count in expected.items():
        total = f"aoray_{stage}_total", ""
        assert after[total] - before[total] == count, stage
    for stage in STAGES:
        name = f"aoray_{stage}_latency_ms"
        assert after[f"{name}_bucket", "+Inf"] == after[f"{name}_count", ""]
        assert after[f"{name}_count", ""] == after[f"aoray_{stage}_total", ""]
        reached = [after[f"{name}_bucket", str(bound)] for bound in BOUNDS_MS]
        assert reached == sorted(reached)
        assert after[f"aoray_{stage}_queue", ""] >= 0
        assert after[f"aoray_{stage}_lag_ms", ""] >= 0


REPLY = """
Handlers.add("echo", "Echo", function(msg)
  Send({ Target = msg.From, Action = "Echoed", Data = msg.Data })
end)
"""


async def test_no_label_names_a_process_and_the_dashboard_asks_for_what_there_is(
    mortal: LocalComputer,
) -> None:
    found = await samples(mortal)
    labels = {each.labels["actor"] for each in found if "actor" in each.labels}
    assert labels == {"gateway-0", "shard-0", "process-actor-0", "process-actor-1"}
    there = {each.name for each in found}
    assert {f"aoray_gateway_{name}" for name in metrics_page.GATEWAY} <= there
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"aoray_\w+", query)}
    assert asked
    assert asked <= there
    page = (ROOT / "docs/metrics.md").read_text()
    for name in there:
        assert f"`{name}`" in page or f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in page, name


def test_a_stage_that_has_nothing_to_do_is_not_late() -> None:
    waiting = 0
    stage = StageMetrics("scheduled", "shard-0", lambda: waiting)
    stage.done([1, 3, 100_000])
    assert stage.snapshot().lag_ms == 0
    waiting = 2
    assert stage.snapshot().lag_ms >= 100_000
    assert stage.snapshot().buckets == (1, 1, *([2] * 12), 3)
    assert (stage.snapshot().total, stage.snapshot().sum_ms) == (3, 100_004)


async def test_ray_has_them_too(tmp_path: Path) -> None:
    assert RAY_DEFAULT.is_dir(), "`make test` puts there what Ray needs to export metrics"
    path = os.pathsep.join(filter(None, (str(RAY_DEFAULT), os.environ.get("PYTHONPATH"))))
    with LocalComputer(tmp_path / "data", environment={"PYTHONPATH": path}) as computer:
        await ray_tells(computer, {f"ray_aoray_{stage}_total" for stage in STAGES})


async def ray_tells(computer: LocalComputer, names: set[str]) -> None:
    """Wait until one of its ports has all these metrics; each look is a request."""
    ports = [port for pid in computer.members() for port in listening(pid)]
    async with httpx.AsyncClient(timeout=5) as http, asyncio.timeout(60):
        while True:
            for port in ports:
                try:
                    said = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                except (httpx.HTTPError, UnicodeDecodeError):
                    continue
                if all(name in said for name in names):
                    return
            await between_looks()


def listening(pid: int) -> list[int]:
    """The TCP ports that a process listens on."""
    import psutil

    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    return [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]
