"""`aoray up` as people use it: it stops, starts again, guards its data, and has neighbours on one machine."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from message_load import check, check_log, log_of, prepare

from aoray.client import Client
from aoray.errors import UnknownProcess
from aoray.modules.lua import lua_item, lua_module_id
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer, command_of, free_ports, part_of, send_kill

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

RAY_NOTICES_SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
}
COUNT = "N = (N or 0) + 1 return N"
MESSAGE_TAGS = [
    Tag("Data-Protocol", "ao"),
    Tag("Variant", "ao.TN.1"),
    Tag("Type", "Message"),
    Tag("Action", "Eval"),
]
SECONDS_BEFORE_RAY = (
    8.0  # 0.5 s on a machine that has nothing else to do; Ray's start takes longer than this there
)


async def count(client: Client, process: str) -> str:
    message = await client.send(process, action="Eval", data=COUNT)
    return str((await client.result(process, message))["Output"]["data"])


def test_the_built_in_module_is_the_same_item_on_every_computer(
    computer: LocalComputer, mortal: LocalComputer
) -> None:
    for each in (computer, mortal):
        assert each.health["module"] == lua_module_id()
        found = httpx.get(f"{each.unit(1)}/{lua_module_id()}", timeout=30)
        assert found.content == lua_item().data


def test_it_says_how_the_aos_shell_is_started(computer: LocalComputer) -> None:
    said = computer.said()
    for name in ("GATEWAY_URL", "CU_URL", "MU_URL", "SCHEDULER", "AOS_MODULE"):  # what the shell reads
        assert f"{name}=" in said
    assert f"aos --legacy --tag-name Authority --tag-value {computer.health['authority']}" in said


async def test_it_goes_on_where_it_was_after_ctrl_c(mortal: LocalComputer) -> None:
    addresses = {name: mortal.health[name] for name in ("scheduler", "authority", "compute", "module")}
    signer = generate_ed25519()
    async with Client(mortal.url, signer) as client:
        process = await client.spawn()
        assert [await count(client, process) for _ in range(3)] == ["1", "2", "3"]
    await asyncio.to_thread(mortal.stop)
    await asyncio.to_thread(mortal.start)
    assert addresses.items() <= mortal.health.items()
    async with Client(mortal.url, signer) as client:
        assert await count(client, process) == "4"
    nodes = await log_of(mortal, process)
    assert len(check_log(process, nodes)) == 4


async def test_ctrl_c_under_load_leaves_nothing_behind_and_loses_nothing(mortal: LocalComputer) -> None:
    work = await prepare(mortal, messages=1000, clients=16, processes=8)
    running = asyncio.create_task(work.load.run(mortal, patient=False))
    await work.load.reached(300)
    await asyncio.to_thread(mortal.stop)
    await running
    await asyncio.to_thread(mortal.start)
    await check(mortal, work)


async def test_it_ends_when_ray_does_so_that_it_is_started_again(tmp_path: Path) -> None:
    with LocalComputer(tmp_path / "data", environment=RAY_NOTICES_SOON) as computer:
        async with Client(computer.url, generate_ed25519()) as client:
            process = await client.spawn()
            assert await count(client, process) == "1"
            send_kill(pid for pid in computer.members() if part_of(command_of(pid)) == "raylet")
            assert await asyncio.to_thread(computer.ended, 60) == 1
            assert "Ray has ended" in computer.said()
            await asyncio.to_thread(computer.start)
            assert await count(client, process) == "2"


def test_a_second_computer_on_the_same_data_is_refused(computer: LocalComputer) -> None:
    command = [sys.executable, "-m", "aoray", "up", "--data", str(computer.data), "--port", str(free_ports())]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert str(computer.data) in ran.stderr
    assert "in use" in ran.stderr
    assert httpx.get(f"{computer.url}/health").status_code == 200


def up(*options: str, **environment: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """How long `aoray up` took to say why it does not start, and what it said."""
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "aoray", "up", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert ran.returncode == 1, ran
    assert "\naoray: " in "\n" + ran.stderr and "Traceback" not in ran.stderr + ran.stdout, ran.stderr
    return time.monotonic() - begun, ran


@pytest.mark.parametrize("unit", range(5))
def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path, unit: int) -> None:
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + unit)):
        seconds, ran = up("--data", str(tmp_path / "data"), "--port", str(port))
    assert f"127.0.0.1:{port + unit}" in ran.stderr
    assert seconds < SECONDS_BEFORE_RAY
    assert "starting" not in ran.stdout


def test_a_ray_that_is_not_there_or_does_not_answer_is_given_up(tmp_path: Path) -> None:
    options = "--data", str(tmp_path / "data"), "--port", str(free_ports()), "--ray-address"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        seconds, ran = up(*options, address)  # it takes the connection, and says nothing
        assert address in ran.stderr and "does not answer" in ran.stderr
        assert seconds < 15 + SECONDS_BEFORE_RAY
    seconds, ran = up(*options, address)
    assert address in ran.stderr and "refused" in ran.stderr and seconds < SECONDS_BEFORE_RAY
    assert "is not host:port" in up(*options, "somewhere:else")[1].stderr


def test_what_is_wrong_with_the_data_directory_is_said(tmp_path: Path) -> None:
    port, found = str(free_ports()), tmp_path / "data"
    found.write_text("a file")
    assert "Not a directory" in up("--data", str(found), "--port", port)[1].stderr
    for name in ("log-0", "results", "arweave"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.sqlite").write_bytes(b"no database" * 100)
        _, ran = up("--data", str(folder), "--port", port)
        assert f"{name}.sqlite is damaged" in ran.stderr
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "shards").write_text("two")
    assert "does not say a number of shards" in up("--data", str(odd), "--port", port)[1].stderr
    assert "AORAY_PORT is 'four'" in up("--data", str(tmp_path / "new"), AORAY_PORT="four")[1].stderr
    assert "can't listen on 203.0.113.7" in up("--host", "203.0.113.7", "--port", port)[1].stderr


async def health_of(http: httpx.AsyncClient, status: int) -> httpx.Response:
    """What `/health` says once it has this status; it asks the actors once a second."""
    async with asyncio.timeout(60):
        while (found := await http.get("/health")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return found


async def test_health_is_503_while_the_log_can_not_be_written(mortal: LocalComputer) -> None:
    signer = generate_ed25519()
    [shard] = mortal.actors("Shard")
    before = resource.prlimit(shard, resource.RLIMIT_FSIZE)
    async with Client(mortal.url, signer) as client, httpx.AsyncClient(base_url=mortal.url) as http:
        process = await client.spawn()
        assert await count(client, process) == "1"
        resource.prlimit(shard, resource.RLIMIT_FSIZE, (1, before[1]))  # as a disk that is full
        try:
            raw = build(signer, target=process, tags=MESSAGE_TAGS, data=COUNT.encode()).raw
            assert (await http.post("/", content=raw, timeout=60)).status_code == 503
            assert "log" in (await health_of(http, 503)).json()["error"]
        finally:
            resource.prlimit(shard, resource.RLIMIT_FSIZE, before)
        await health_of(http, 200)
        assert int(await count(client, process)) in (2, 3)  # the refused one may have been written


def test_data_that_it_can_not_start_on_is_refused_in_words(tmp_path: Path) -> None:
    later, damaged = tmp_path / "later", tmp_path / "damaged"
    later.mkdir()
    with closing(sqlite3.connect(later / "log-0.sqlite")) as db:
        db.execute("PRAGMA user_version = 1000")
    damaged.mkdir()
    (damaged / "results.sqlite").write_bytes(b"no database" * 100)
    for data, said in ((later, "made by a later version of aoray"), (damaged, "results.sqlite is damaged")):
        command = [sys.executable, "-m", "aoray", "up", "--data", str(data), "--port", str(free_ports())]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 1
        assert said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr


async def test_computers_side_by_side_are_strangers(
    computer: LocalComputer, mortal: LocalComputer, client: Client
) -> None:
    process = await client.spawn()
    async with Client(mortal.url, generate_ed25519()) as other:
        theirs = await other.spawn()
        assert await count(other, theirs) == "1"
        with pytest.raises(UnknownProcess):
            await other.results(process)
    assert await count(client, process) == "1"
    assert computer.health["scheduler"] != mortal.health["scheduler"]


def test_each_unit_answers_alone(computer: LocalComputer) -> None:
    assert "height" in httpx.get(f"{computer.unit(1)}/info").json()
    assert httpx.get(f"{computer.unit(2)}/").text == "ao messenger unit"
    assert httpx.get(f"{computer.unit(3)}/").json()["address"] == computer.health["scheduler"]
    assert httpx.get(f"{computer.unit(4)}/").json()["address"] == computer.health["compute"]
