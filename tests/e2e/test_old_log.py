"""A data directory that an older aoray left behind opens under today's code, goes on, and every process of it
is what was attested of it, by `aoray verify` (guarantee G4)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from attested import ATTESTATIONS, flushed, said, verified
from command_line import aoray_ran
from old_logs import OldLog, in_postgres, unpacked
from polling import between_looks
from postgres_server import PostgresServer

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.errors import ClientError
from aoray.protocol.tags import Tag, first
from aoray.testing.local_computer import LocalComputer
from aoray.vm.engines import NEWEST

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SETTINGS = {"AORAY_ATTEST_INTERVAL_MS": "200", "AORAY_IDLE_SECONDS_MAX": "1"}
REFUSED = ("broken-module", "bad-limit")


@pytest.fixture
def old(tmp_path: Path) -> OldLog:
    return unpacked("engine-1", tmp_path / "data")


async def last_nonce(client: Client, process: str) -> int:
    found = await client.schedule(process, limit=1000)
    return max(int(edge["cursor"]) for edge in found["edges"])


async def engines_attested(computer: LocalComputer, process: str) -> set[str | None]:
    """What the attestations of a process say of its engine."""
    async with ArweaveClient(computer.unit(1)) as arweave:
        found = await arweave.graphql(ATTESTATIONS, {"process": [process]})
        items = [await arweave.item(edge["node"]["id"]) for edge in found["transactions"]["edges"]]
        return {first(item.tags, "Engine") for item in items}


async def wholly_attested(computer: LocalComputer, process: str, nonce: int) -> dict[str, Any]:
    """The report of `aoray verify`, once every slot is on Arweave with its attestation."""
    await flushed(computer, process, nonce)
    while nonce not in await said(computer, process):  # the command takes seconds
        await between_looks()
    while (report := await verified(computer, process))["not_attested_at_the_end"]:
        await between_looks()
    return report


async def test_an_old_log_opens_goes_on_and_is_verified_with_all_that_was_attested(old: OldLog) -> None:
    with LocalComputer(old.data, environment=SETTINGS) as computer:
        async with Client(computer.url, old.owner) as client:
            before = {name: await last_nonce(client, process) for name, process in old.processes.items()}
            sums = {}
            for name, process in old.processes.items():
                message = await client.send(process, action="Add")
                result = await client.result(process, message)
                assert ("Error" in result) == (name in REFUSED), result
                sums[name] = result["Output"]
            assert sums["lua"]["data"].startswith("sum ") and sums["cron"]["data"] == "sum 13"
            await client.send(
                old.processes["lua"],
                action="Many",
                tags=[Tag("To", old.processes["limited"]), Tag("Number", "3")],
            )
            for name, process in old.processes.items():
                nonce = before[name] + 1
                report = await wholly_attested(computer, process, nonce)
                assert report["nonce"] >= nonce and report["attested"] == report["messages"]
                assert await engines_attested(computer, process) == {None, "1"}
            new = await client.spawn()
            await client.result(new, await client.send(new, action="Eval", data="return 1"))
            await wholly_attested(computer, new, 1)
            assert await engines_attested(computer, new) == {str(NEWEST)}
            with pytest.raises(ClientError, match="no engine '1' for new processes"):
                await client.spawn(tags=[Tag("Engine", "1")])
        code, out, err = await aoray_ran("verify", old.processes["lua"], "--gateway", computer.unit(1))
        assert code == 0, out + err


async def ids_of(client: Client, process: str, nonce: int) -> str:
    """The SHA-256 of the ids in a log, as `make.py` of the fixture makes it of a log up to a nonce."""
    edges = (await client.schedule(process, limit=nonce + 1))["edges"]
    nodes = [edge["node"] for edge in edges]
    lines = (f"{n} {node['message']['id']} {node['assignment']['id']}\n" for n, node in enumerate(nodes))
    return sha256("".join(lines).encode()).hexdigest()


async def test_todays_code_says_of_an_old_log_what_the_code_that_wrote_it_said(old: OldLog) -> None:
    with LocalComputer(old.data, environment=SETTINGS) as computer:
        async with Client(computer.url, old.owner) as client:
            for process, said in old.verified.items():
                asked = ("--gateway", computer.unit(1), "--to", str(said["nonce"]), "--json")
                code, out, err = await aoray_ran("verify", process, *asked)
                assert code == 0, out + err
                report = orjson.loads(out) | {"ids_sha256": await ids_of(client, process, said["nonce"])}
                assert {key: report[key] for key in said} == said


async def test_an_old_log_in_postgresql_goes_on_where_it_was(old: OldLog, postgres: PostgresServer) -> None:
    url = postgres.new_url()
    in_postgres("engine-1", old, url)
    with LocalComputer(old.data, ["--store", url], SETTINGS) as computer:
        async with Client(computer.url, old.owner) as client:
            for name, process in old.processes.items():
                said = old.verified[process]
                assert await ids_of(client, process, said["nonce"]) == said["ids_sha256"]
                result = await client.result(process, await client.send(process, action="Add"))
                assert ("Error" in result) == (name in REFUSED), result
                assert await last_nonce(client, process) == said["nonce"] + 1
