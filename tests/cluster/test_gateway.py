"""The gateway as a Ray actor, before a real shard: it serves on real sockets, through restarts of anyone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import ray
from fake_actors import AnsweringActor
from polling import between_looks, until
from ray.exceptions import RayActorError

from aoray.errors import ClientError
from aoray.gateway.gateway_actor import GatewayActor
from aoray.modules.lua import LUA_WASM
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.scheduler.shard import ShardActor
from aoray.settings import Settings
from aoray.storage.factory import open_readers
from aoray.storage.key_files import load_key
from aoray.testing.local_computer import free_ports

pytestmark = pytest.mark.cluster

AO = [Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1")]
OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 10_000,
}


class ServedComputer:
    """A gateway, a shard and an actor that echoes."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, actors_per_node=1, port=free_ports())
        self.user = generate_ed25519()
        made = {
            "process-actor-0": ray.remote(AnsweringActor).options(name="process-actor-0", **OPTIONS),
            "shard-0": ray.remote(ShardActor).options(name="shard-0", **OPTIONS),
            "gateway-0": ray.remote(GatewayActor).options(name="gateway-0", **OPTIONS),
        }
        self.actors = {
            name: actor.remote(self.settings, *([] if name.startswith("process") else [0]))
            for name, actor in made.items()
        }
        self.http = httpx.AsyncClient(base_url=self.settings.url, timeout=60)
        self.module = build(self.user, tags=[*AO, Tag("Type", "Module")], data=LUA_WASM.read_bytes())

    async def start(self) -> None:
        for name in self.actors:
            await self.ready(name)
        (self.settings.data / "lua-module.json").write_bytes(orjson.dumps({"id": self.module.id}))
        assert (await self.http.post("/tx", content=self.module.raw)).status_code == 200

    async def ready(self, name: str) -> dict[str, Any]:
        while True:
            try:
                answer: dict[str, Any] = await self.actors[name].ready.remote()
            except RayActorError:
                await between_looks()
            else:
                return answer

    async def kill(self, name: str) -> None:
        """As a fault does it; Ray makes it again."""
        pid = (await self.ready(name))["incarnation"]
        os.kill(pid, signal.SIGKILL)

    def message(self, process_id: str, data: str) -> DataItem:
        return build(self.user, target=process_id, tags=[*AO, Tag("Type", "Message")], data=data.encode())

    async def spawn(self, name: str = "") -> str:
        scheduler = Tag("Scheduler", load_key(self.settings, "scheduler").address)
        named = [Tag("Type", "Process"), Tag("Module", self.module.id), scheduler, Tag("N", name)]
        return await self.post(build(self.user, tags=[*AO, *named], data=b" "))

    async def post(self, item: DataItem) -> str:
        """Until it is accepted, as clients do."""
        while True:
            try:
                response = await self.http.post("/", content=item.raw)
            except httpx.TransportError:
                await between_looks()
                continue
            if response.status_code == 202:
                return str(response.json()["id"])
            assert response.status_code == 503, response.text
            await between_looks()

    async def output(self, process_id: str, message_id: str) -> str:
        response = await self.http.get(f"/result/{message_id}", params={"process-id": process_id})
        assert response.status_code == 200, response.text
        return str(response.json()["Output"])


@pytest.fixture
async def computer(ray_cluster: None, tmp_path: Path) -> AsyncIterator[ServedComputer]:
    made = ServedComputer(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        for actor in made.actors.values():
            ray.kill(actor)
        await made.http.aclose()


async def test_a_message_goes_in_over_http_and_its_result_comes_out(computer: ServedComputer) -> None:
    first, second = await computer.spawn("1"), await computer.spawn("2")
    message = await computer.post(computer.message(first, "hello"))
    assert await computer.output(first, message) == "hello"
    await computer.post(computer.message(first, f"to:{second}"))
    reader = open_readers(computer.settings)
    await until(lambda: len(reader.entries(second)) == 2)
    assert await computer.output(second, reader.entries(second)[1].message_id) == "echo"
    health = (await computer.http.get("/health")).json()
    assert (health["status"], health["module"]) == ("ok", computer.module.id)
    for port, path in ((1, "/info"), (2, "/"), (3, "/timestamp"), (4, "/")):
        url = f"http://127.0.0.1:{computer.settings.port + port}{path}"
        assert (await computer.http.get(url)).status_code == 200, url


@pytest.mark.parametrize("victim", ["shard-0", "process-actor-0", "gateway-0"])
async def test_who_is_killed_serves_again_and_each_item_is_scheduled_once(
    computer: ServedComputer, victim: str
) -> None:
    process = await computer.spawn()
    items = [computer.message(process, str(number)) for number in range(60)]
    posts = asyncio.gather(*map(computer.post, items))
    await computer.kill(victim)
    assert await posts == [item.id for item in items]
    await computer.ready(victim)
    items += [computer.message(process, f"after {number}") for number in range(20)]
    await asyncio.gather(*map(computer.post, items))
    entries = open_readers(computer.settings).entries(process)
    assert [entry.nonce for entry in entries] == list(range(len(items) + 1))
    assert {entry.message_id for entry in entries[1:]} == {item.id for item in items}


async def test_a_port_in_use_is_said_by_ready(ray_cluster: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data=tmp_path, port=taken.getsockname()[1])
        gateway = ray.remote(GatewayActor).options(**OPTIONS).remote(settings, 0)
        with pytest.raises(ClientError, match=f"can't listen on 127.0.0.1:{settings.port}"):
            await gateway.ready.remote()
        ray.kill(gateway)
