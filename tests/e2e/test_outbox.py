"""Every outbox message can be asked after, traced, and pushed again by hand without a second delivery."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from command_line import aoray_ran
from message_load import log_of
from polling import between_looks

from aoray.client import Client
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WALLET = b64url_encode(b"w" * 32)
ROUNDS = 6
PROGRAM = """
Handlers.add("ball", "Ball", function(msg)
  local left = math.tointeger(tonumber(msg.Left))
  if left > 0 then
    Send({ Target = msg.Other or msg.From, Action = "Ball", Left = tostring(left - 1) })
  else
    Send({ Target = "WALLET", Action = "Over" })
  end
end)
""".replace("WALLET", WALLET)
SETTLE_SECONDS_MAX = 60


async def play(client: Client) -> tuple[str, str, str]:
    """Two processes, and the message that begins their game."""
    ping, pong = [await client.spawn(data=PROGRAM, on_boot=True) for _ in range(2)]
    tags = [Tag("Left", str(ROUNDS)), Tag("Other", pong)]
    return ping, pong, await client.send(ping, action="Ball", tags=tags)


async def traced(client: Client, message: str) -> dict[str, Any]:
    """The trace once the wallet's message, the last one, has come to its end; each look is a request."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while True:
            found = await client.trace(message)
            last = found["nodes"][-1]
            if last["process"] == WALLET and last["delivery"]["state"] != "pending":
                return found
            await between_looks()


async def test_a_game_is_traced_and_pushed_again_without_effect(
    computer: LocalComputer, client: Client
) -> None:
    ping, pong, first = await play(client)
    whole = await traced(client, first)
    assert not whole["truncated"]
    assert whole["causes"] == []
    nodes = whole["nodes"]
    assert [node["process"] for node in nodes] == [ping, pong] * (ROUNDS // 2) + [ping, WALLET]
    assert [node["parent"] for node in nodes] == list(range(-1, ROUNDS + 1))
    assert {node["state"] for node in nodes[:-1]} == {"evaluated"}
    assert [node["delivery"]["state"] for node in nodes[1:]] == ["delivered"] * ROUNDS + ["uploaded"]

    middle = await client.trace(nodes[3]["message"], process=pong)
    assert [cause["message"] for cause in middle["causes"]] == [node["message"] for node in nodes[:3]]
    assert middle["pushed_for"] == first
    assert len(middle["nodes"]) == len(nodes) - 3

    boxes = {process: (await client.outbox(process))["outbox"] for process in (ping, pong)}
    assert [each["state"] for each in boxes[pong]] == ["delivered"] * (ROUNDS // 2)
    assert [each["state"] for each in boxes[ping]] == ["delivered"] * (ROUNDS // 2) + ["uploaded"]
    assert not (await client.outbox(ping, state="pending"))["outbox"]
    assert [each["id"] for each in (await client.outbox(ping, state="uploaded"))["outbox"]] == [
        nodes[-1]["message"]
    ]

    before = len(await log_of(computer, pong))
    words = ("push", ping, str(nodes[0]["nonce"]), "0", "--json")
    said = json.loads((await aoray_ran(*words, "--url", computer.url)).out)
    assert [(each["state"], each["attempts"]) for each in said["pushed"]] == [("delivered", 2)]
    assert len(await log_of(computer, pong)) == before
    drawn = (await aoray_ran("trace", first, "--process", ping, "--url", computer.url)).out
    assert [line.split("→")[0].count("Ball") for line in drawn.splitlines()] == [1] * (ROUNDS + 1) + [0]
    assert "uploaded" in drawn.splitlines()[-1]
