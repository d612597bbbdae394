"""What every application does alike: the door, errors, health."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from fake_arweave import MODULE
from fake_computer import Computer
from legacy_units import compute_unit, messenger_unit, scheduler_unit
from metrics_text import figures
from prometheus_client.parser import text_string_to_metric_families

from aoray._version import __version__
from aoray.cli.render import describe_status
from aoray.errors import Unavailable
from aoray.gateway import apps
from aoray.gateway.observability import metrics_page
from aoray.gateway.observability import status as status_routes
from aoray.protocol.tags import Tag

UNITS = [messenger_unit, scheduler_unit, compute_unit]


async def test_any_origin_may_read_and_preflights_are_answered(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    response = await every.options(
        "/", headers={"origin": "http://x", "access-control-request-headers": "content-type"}
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "content-type"
    assert "DELETE" in response.headers["access-control-allow-methods"]
    for response in (await every.get("/"), await every.post("/", content=b"x"), await every.get("/nowhere")):
        assert response.headers["access-control-allow-origin"] == "*"


async def test_what_no_route_answers_is_json(every: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/no/such/route", 404),
        ("POST", "/no/such/route", 404),
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
        ("POST", "/health", 405),
        ("GET", "/dry-run", 405),
        ("POST", "/result/x", 405),
        ("GET", "/health/", 404),
    ):
        response = await every.request(method, path)
        assert response.status_code == status, (method, path)
        assert response.json()["error"]


async def test_leading_slashes_are_one(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    assert (await every.get(f"http://ao//result/{pid}?process-id={pid}")).status_code == 200
    assert (await every.get(f"http://ao///results/{pid}")).status_code == 200


@pytest.mark.parametrize("unit", UNITS)
async def test_each_unit_is_healthy_once_everything_is_ready(computer: Computer, unit: object) -> None:
    async with computer.http(unit(computer.gateway)) as client:  # type: ignore[operator]
        computer.failures["ready"] = [Unavailable("process-actor-0 does not answer")]
        response = await client.get("/health")
        assert (response.status_code, response.json()["status"]) == (503, "starting")
        assert "process-actor-0" in response.json()["error"]
    async with computer.http(unit(computer.gateway)) as client:  # type: ignore[operator]
        response = await client.get("/health")
        assert response.status_code == 200
        body = response.json()
        addresses = computer.gateway.addresses
        assert (body["status"], body["version"], body["module"]) == ("ok", __version__, MODULE)
        assert [body[name] for name in addresses._fields] == list(addresses)


async def test_many_who_ask_for_health_ask_the_actors_once(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    responses = await asyncio.gather(*(every.get("/health") for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert computer.calls["ready"] == len(computer.gateway.actors())


async def test_without_its_module_a_computer_is_not_healthy_yet(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    (computer.settings.data / "lua-module.json").unlink()
    assert (await every.get("/health")).status_code == 503


async def test_the_landing_page_says_where_to_go(computer: Computer, every: httpx.AsyncClient) -> None:
    body = (await every.get("/")).json()
    assert body["version"] == __version__
    assert body["urls"]["messenger"] == "http://127.0.0.1:4002"
    assert (await every.get(body["links"]["metrics"])).status_code == 200
    assert (await every.get(body["links"]["api"])).status_code == 200
    assert (await every.get("/?process-id=x")).json()["address"] == computer.gateway.addresses.scheduler


async def test_metrics_count(computer: Computer, every: httpx.AsyncClient) -> None:
    await computer.spawn()
    found = figures((await every.get("/metrics")).text)
    assert found["aoray_gateway_items_accepted_total"] == found["aoray_arweave_entries"] == 1
    restarted = Unavailable("the shard is being restarted")
    computer.failures["stats"] = [restarted] * len(computer.gateway.actors())
    async with computer.http(compute_unit(computer.gateway)) as another:
        without = (await another.get("/metrics")).text
    assert figures(without)["aoray_gateway_items_accepted_total"] == 1 and "aoray_arweave" not in without


async def test_every_figure_has_a_type_and_a_help_that_prometheus_reads(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    await computer.spawn()
    answer = await every.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(family.documentation.endswith(".") for family in families.values())
    page = (Path(__file__).parents[3] / "docs/metrics.md").read_text()
    for name, family in families.items():
        kind = "counter" if family.type == "unknown" else family.type
        full = f"{name}_total" if family.type == "counter" else name
        assert re.search(rf"`{full}`.* \| {kind} \|", page), full
    assert families["aoray_evaluated_latency_ms"].type == "histogram"
    assert {each.name for each in families["aoray_accepted_latency_ms"].samples} == {
        f"aoray_accepted_latency_ms_{part}" for part in ("bucket", "sum", "count")
    }
    counted = {name.removeprefix("aoray_gateway_") for name in figures(answer.text) if "_gateway_" in name}
    assert counted == set(computer.gateway.counts()) <= set(metrics_page.GATEWAY)


async def test_however_many_ask_how_it_is_each_actor_is_asked_once_a_second(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_routes, "ANSWER_SECONDS", 3_600)
    paths = ["/metrics", "/status", "/health"] * 20
    assert {each.status_code for each in await asyncio.gather(*map(every.get, paths))} == {200}
    actors = len(computer.gateway.actors())
    assert computer.calls == {"ready": actors, "stages": actors, "stats": actors, "standing": 1}
    monkeypatch.setattr(status_routes, "ANSWER_SECONDS", 0)
    await every.get("/metrics")
    counted = 2 * actors + 1  # the shard also says which processes have an actor of their own
    assert computer.calls == {"ready": actors, "stages": 2 * actors, "stats": counted, "standing": 1}


async def test_metrics_say_how_late_ticks_are(computer: Computer, every: httpx.AsyncClient) -> None:
    await computer._monitor(await computer.spawn(Tag("Cron-Interval", "2-seconds")))
    computer.tick(later_ms=2000)
    found = figures((await every.get("/metrics")).text)
    cron = {name.removeprefix("aoray_cron_"): value for name, value in found.items() if "_cron_" in name}
    assert cron.pop("lag_max_ms") == cron.pop("lag_p99_ms") == cron.pop("lag_p50_ms") < 2000
    assert cron == {"monitored": 1, "crons": 1, "skipped": 0, "over_quota": 0, "ticks": 1}


async def test_the_status_says_what_waits_for_arweave(computer: Computer, every: httpx.AsyncClient) -> None:
    await computer.spawn()
    found = (await every.get("/status")).json()
    assert found["arweave"]["entries"] == 1 and found["arweave"]["bytes"] > 0
    assert found["arweave"]["way"] == "item" and found["scheduler"]
    lie = {"height_error": "the gateway says 10^17"}
    assert "10^17" in describe_status(found | {"arweave": found["arweave"] | lie})
    assert "height" not in describe_status(found)
    restarted = Unavailable("the shard is being restarted")
    computer.failures["stats"] = [restarted] * len(computer.gateway.actors())
    async with computer.http(compute_unit(computer.gateway)) as another:
        without = (await another.get("/status")).json()
    assert (without["arweave"], without["error"]) == (None, "the shard is being restarted")
    assert "the shard is being restarted" in describe_status(without)


async def test_a_bug_is_500_json_without_its_insides(computer: Computer) -> None:
    transport = httpx.ASGITransport(apps.all_units(computer.gateway, None), raise_app_exceptions=False)
    computer.gateway.lookups = None  # type: ignore[assignment]
    async with httpx.AsyncClient(transport=transport, base_url="http://ao") as client:
        response = await client.get("/results/x")
    assert (response.status_code, response.json()["error"]) == (500, "internal error")
    assert computer.gateway.in_flight.requests == 0
