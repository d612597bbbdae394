"""The computer's own keys over its life: lost, restored, and never replaced in silence."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import aoray, aoray_ran
from polling import between_looks

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def up(computer: LocalComputer, code: int) -> str:
    return aoray("up", "--data", computer.data, "--port", str(computer.port), code=code).err


def shown(computer: LocalComputer) -> dict[str, Any]:
    found = json.loads(aoray("keys", "show", "--data", computer.data, "--json").out)
    return {each["unit"]: each for each in found["units"]}


async def test_a_lost_key_is_refused_and_restored_and_the_log_goes_on(
    mortal: LocalComputer, tmp_path: Path
) -> None:
    signer = generate_ed25519()
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    async with Client(mortal.url, signer) as client:
        process = await client.spawn()
        await client.result(process, await client.send(process, action="Eval", data="N = 1"))
    units = shown(mortal)  # while it runs
    assert {unit: units[unit]["address"] for unit in units} == {
        unit: mortal.health[unit] for unit in ("scheduler", "authority", "compute")
    }
    file = tmp_path / "backup.json"
    aoray("keys", "backup", file, "--data", mortal.data, "--passphrase-file", secret)
    assert (
        "in use"
        in aoray("keys", "restore", file, "--data", mortal.data, "--passphrase-file", secret, code=1).err
    )
    await asyncio.to_thread(mortal.stop)
    for name in ("scheduler", "authority", "compute"):
        key = mortal.data / "keys" / f"{name}.json"
        kept = key.read_bytes()
        key.unlink()
        said = up(mortal, code=1)
        assert f"{name} ({mortal.health[name]})" in said and "aoray keys restore" in said
        assert not key.exists()
        aoray("keys", "restore", file, "--data", mortal.data, "--passphrase-file", secret)
        assert key.read_bytes() == kept
    await asyncio.to_thread(mortal.start)
    async with Client(mortal.url, signer) as client:
        message = await client.send(process, action="Eval", data="return N + 1")
        assert (await client.result(process, message))["Output"]["data"] == "2"


async def test_rotated_keys_are_followed_from_the_hand_over_on(mortal: LocalComputer, tmp_path: Path) -> None:
    """The old processes go on under the new keys, new ones name them, and both verify."""
    signer = generate_ed25519()

    async def says(client: Client, process: str, code: str) -> str:
        message = await client.send(process, action="Eval", data=code)
        return str((await client.result(process, message))["Output"]["data"])

    async with Client(mortal.url, signer) as client:
        process = await client.spawn()
        assert await says(client, process, "N = 1 return N") == "1"
    before = mortal.health
    assert "in use" in aoray("keys", "rotate", "scheduler", "--data", mortal.data, code=1).err
    await asyncio.to_thread(mortal.stop)
    assert "can't be rotated" in aoray("keys", "rotate", "authority", "--data", mortal.data, code=1).err
    for unit in ("scheduler", "compute"):
        said = json.loads(aoray("keys", "rotate", unit, "--data", mortal.data, "--json").out)
        assert said["from"] == before[unit]
    await asyncio.to_thread(mortal.start)
    after = mortal.health
    assert {name for name in ("scheduler", "authority", "compute") if before[name] != after[name]} == {
        "scheduler",
        "compute",
    }
    async with Client(mortal.url, signer) as client:
        assert await says(client, process, "N = N + 1 return N") == "2"
        child = await spawned_by(client, process, after["module"])
        new = await client.spawn()
        assert await says(client, new, "return 3") == "3"
    for each, slots, schedulers in (
        (process, 4, [after["scheduler"]]),
        (child, 1, [after["scheduler"]]),  # it names the scheduler that its parent names
        (new, 2, []),
    ):
        report = await verified(mortal, each, slots)
        assert report["successors"] == schedulers and report["not_attested_before"] == 0
        units = [before["compute"], after["compute"]] if schedulers else [after["compute"]]
        assert report["compute_units"] == sorted(units)
    assert shown(mortal)["scheduler"]["earlier"] == [before["scheduler"]]


async def spawned_by(client: Client, process: str, module: str) -> str:
    """The process that this process spawns."""
    message = await client.send(process, action="Eval", data=f'Spawn("{module}", {{Data = "code"}})')
    await client.result(process, message)
    async with asyncio.timeout(60):
        while True:
            outbox = (await client.outbox(process))["outbox"]
            found = [each for each in outbox if each["kind"] == "spawn"]
            if found and found[0]["state"] != "pending":
                break
            await between_looks()
    assert found[0]["state"] == "delivered", found
    return str(found[0]["id"])


async def verified(computer: LocalComputer, process: str, slots: int) -> dict[str, Any]:
    """The report of a process all of whose slots are attested on Arweave, soon."""
    while True:
        ran = await aoray_ran("verify", process, "--json", "--gateway", computer.unit(1))
        report: dict[str, Any] = json.loads(ran.out)
        if "not on Arweave" not in report.get("error", ""):
            assert report["ok"], report
            if report["attested"] >= slots:
                return report
