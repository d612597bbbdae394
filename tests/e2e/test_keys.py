"""The computer's own keys over its life: lost, restored, and never replaced in silence."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aoray.client import Client
from aoray.protocol.keys import generate_ed25519
from aoray.testing import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def aoray(*words: str | Path, code: int = 0, stdin: str = "") -> str:
    """What a command says, on standard output, or on standard error if it is to fail."""
    command = [sys.executable, "-m", "aoray", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, input=stdin, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr if code else ran.stdout


def up(computer: LocalComputer, code: int) -> str:
    return aoray("up", "--data", computer.data, "--port", str(computer.port), code=code)


def shown(computer: LocalComputer) -> dict[str, Any]:
    found = json.loads(aoray("keys", "show", "--data", computer.data, "--json"))
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
    assert "in use" in aoray(
        "keys", "restore", file, "--data", mortal.data, "--passphrase-file", secret, code=1
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
