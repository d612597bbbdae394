"""The operator of a computer stops a process and has it go on: what waits keeps its order, what it sent waits
too, others do not notice, and its log verifies as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import aoray_ran
from polling import between_looks

from aoray.client import Client
from aoray.errors import AorayError
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

BOMB = """
Handlers.add("go", "Go", function(msg)
  Send({ Target = ao.id, Action = "Go" })
  Count = (Count or 0) + 1
end)
"""
HONEST = """
Handlers.add("add", "Add", function(msg) Sum = (Sum or "") .. msg.N; print(Sum) end)
"""


async def decide(computer: LocalComputer, word: str, process: str) -> dict[str, Any]:
    words = ("process", word, process, "--data", str(computer.data), "--json")
    done = await aoray_ran(*words, "--url", computer.url)
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


async def last_nonce(computer: LocalComputer, process: str) -> int:
    async with httpx.AsyncClient(base_url=computer.url, timeout=60) as http:
        latest = (await http.get(f"/{process}/latest")).json()
    return next(int(tag["value"]) for tag in latest["assignment"]["tags"] if tag["name"] == "Nonce")


async def test_a_bomb_is_stopped_and_goes_on_and_its_neighbour_does_not_notice(mortal: LocalComputer) -> None:
    computer, wallet = mortal, generate_ed25519()
    async with Client(computer.url, wallet) as client:
        bomb = await client.spawn(data=BOMB, on_boot=True)
        honest = await client.spawn(data=HONEST, on_boot=True)
        await client.send(bomb, action="Go")
        said = await decide(computer, "stop", bomb)
        assert (said["process"], said["stopped"]) == (bomb, True)
        stopped_at = await last_nonce(computer, bomb)
        with pytest.raises(AorayError, match="stopped process"):
            await client.send(bomb, action="Go")
        for n in range(3):
            message = await client.send(honest, action="Add", tags=[Tag("N", str(n))])
        assert (await client.result(honest, message))["Output"]["data"].endswith("012")
        computer.kill()  # the decision is on the disk
        computer.start()
    async with Client(computer.url, wallet) as client:
        assert (await client.decided(bomb))["stopped"] is True
        assert await last_nonce(computer, bomb) == stopped_at
        assert bomb in (await client.status())["stopped"]
        assert bomb in (await aoray_ran("status", "--url", computer.url)).out
        await decide(computer, "resume", bomb)
        while await last_nonce(computer, bomb) <= stopped_at + 4:  # what it had sent goes on
            await between_looks()
        await decide(computer, "stop", bomb)
        evaluated = await aoray_ran("verify", honest, "--url", computer.url)
        assert evaluated.code == 0, evaluated.out + evaluated.err


async def test_a_stranger_can_not_stop_a_process(
    computer: LocalComputer, client: Client, tmp_path: Path
) -> None:
    process = await client.spawn()
    made = await aoray_ran("wallet", "--wallet", tmp_path / "scheduler.json", "--url", computer.url)
    assert made.code == 0, made.err
    done = await aoray_ran("process", "stop", process, "--keys", tmp_path, "--url", computer.url)
    assert done.code == 1
    assert "only the operator's key" in done.err
    assert (await client.decided(process))["stopped"] is False
