"""A stranger's virtual machine on a real computer: a Python package brings it, by one line."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from installed_package import FORMAT, install

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.errors import UnknownFormat
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SECONDS_MAX = 60
IDLE = {"AORAY_IDLE_SECONDS_MAX": "1"}
ASSIGNMENTS = """query ($process: String!, $nonce: String!) { transactions(tags: [
  {name: "Type", values: ["Assignment"]}, {name: "Process", values: [$process]},
  {name: "Nonce", values: [$nonce]}]) { edges { node { id } } } }"""


async def aoray(folder: Path, site: Path | None, *words: str) -> tuple[int, str]:
    """Run the command where the package is installed, or where it is not; its exit code, and what it said."""
    path = {"PYTHONPATH": os.pathsep.join(map(str, filter(None, (site, os.environ.get("PYTHONPATH")))))}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aoray", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | path | {"AORAY_WALLET": str(folder / "wallet.json")},
    )
    out, _ = await running.communicate()
    return running.returncode or 0, " ".join(out.decode().split())


async def press(client: Client, process: str, what: str) -> Any:
    result = await client.result(process, await client.send(process, data=what))
    return result.get("Error", result["Output"])


async def status_until(client: Client, key: str, wanted: Any) -> dict[str, Any]:
    """The computer's status, once what it says of `key` is as wanted; each look is a request."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            status = await client.status()
            if wanted(status[key]):
                return status


def asleep(actors: dict[str, Any]) -> int:
    return sum(each["asleep"] for each in actors.values())


async def test_a_package_brings_a_virtual_machine_and_its_processes_live_as_others_do(tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("add subtract")
    bad.write_text("add divide")
    environment = {"PYTHONPATH": os.pathsep.join((str(site), os.environ.get("PYTHONPATH", "")))}
    computer = LocalComputer(tmp_path / "data", environment=environment | IDLE)
    publish = "module", "publish", "--format", FORMAT, "--url", computer.url
    with computer:
        code, said = await aoray(tmp_path, site, *publish, str(bad))
        assert code == 1 and "a calculator has no button 'divide'" in said
        code, said = await aoray(tmp_path, None, *publish, str(good))
        assert code == 2 and "no virtual machine here runs the Module-Format 'calculator-1'" in said
        code, said = await aoray(tmp_path, site, *publish, str(good), "--json")
        assert code == 0, said
        module = orjson.loads(said)["module"]

        async with Client(computer.url, generate_ed25519()) as client:
            process = await client.spawn(module=module)
            assert await press(client, process, "add 5") == "5"
            assert await press(client, process, "divide 2") == "this calculator can't divide"
            assert (await client.dryrun(process, data="add 1"))["Output"] == "6"
            assert await press(client, process, "subtract 1") == "4"
            state = await asyncio.to_thread(httpx.get, f"{computer.url}/state/{process}")
            assert state.status_code == 404 and "has no memory to show" in state.json()["error"]

            await status_until(client, "actors", asleep)
            assert await press(client, process, "add 2") == "6"
            await on_arweave(computer, process, 4)
            await verified(tmp_path, site, computer, process)
    await missing_and_back(computer, process, module, environment)


async def on_arweave(computer: LocalComputer, process: str, nonce: int) -> None:
    """Wait until Arweave has that slot; each look is a request."""
    asked = {"process": process, "nonce": str(nonce)}
    async with ArweaveClient(computer.unit(1)) as arweave, asyncio.timeout(SECONDS_MAX):
        while not (await arweave.graphql(ASSIGNMENTS, asked))["transactions"]["edges"]:
            pass


async def verified(folder: Path, site: Path, computer: LocalComputer, process: str) -> None:
    """Where the package is installed the process is true; where it is not, that is said, and nobody lied."""
    verify = "verify", process, "--gateway", computer.unit(1)
    code, said = await aoray(folder, site, *verify, "--url", computer.url)
    assert code == 0 and f"process {process} is true up to nonce 4" in said, said
    assert "1 are errors" in said and "state has no hash" in said
    code, said = await aoray(folder, None, *verify)
    assert code == 1 and "no virtual machine here runs the Module-Format 'calculator-1'" in said, said
    assert "is not what it says" not in said
    code, said = await aoray(
        folder, site, "replay", process, "--gateway", computer.unit(1), "--to", "1", "--data", "add 1"
    )
    assert code == 0 and '"Output": "6"' in said, said


async def missing_and_back(
    computer: LocalComputer, process: str, module: str, environment: dict[str, str]
) -> None:
    """A computer that is started without the package keeps what there is, and goes on once it is back."""
    computer.environment = {**computer.environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with computer:
        async with Client(computer.url, generate_ed25519()) as client:
            with pytest.raises(UnknownFormat, match="no virtual machine here runs"):
                await client.spawn(module=module)
            message = await client.send(process, data="add 3")
            status = await status_until(client, "waits", lambda waits: process in waits)
            assert "no virtual machine here runs" in str(status["waits"][process])
    computer.environment = {**computer.environment, **environment}
    with computer:
        async with Client(computer.url, generate_ed25519()) as client:
            assert (await client.result(process, message))["Output"] == "9"
