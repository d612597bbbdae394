"""A data directory that an older aoray left behind opens under today's code, goes on, and every process of it
is what was attested of it, by `aoray verify` (guarantee G4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from old_logs import OldLog, unpacked
from test_attesting import QUERY as ATTESTATIONS
from test_attesting import verified
from test_audit import aoray, flushed

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.errors import ClientError
from aoray.protocol.engines import NEWEST
from aoray.protocol.tags import Tag, first
from aoray.testing import LocalComputer

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
    while (report := await verified(computer, process))["not_attested_at_the_end"]:
        pass
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
        code, out, err = await aoray("verify", old.processes["lua"], "--gateway", computer.unit(1))
        assert code == 0, out + err
