"""A driver on a computer's Ray cluster, run by tests/e2e/test_driver.py in a process of its own, since Ray
reads its variables when it is imported. Does the same by HTTP and by Ray, and says as JSON what came of
it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from aoray import Message, Spawn
from aoray.client.connection import AsyncConnection, client_of
from aoray.client.unit_client import Client
from aoray.errors import AorayError
from aoray.protocol.signatures.ed25519 import generate_ed25519

PROGRAM = """
Handlers.add("add", "Add", function(msg)
  Sum = (Sum or 0) + math.tointeger(tonumber(msg.N))
  print(tostring(Sum))
end)
"""
PROCESSES, MESSAGES = 4, 50


async def drive(client: Client) -> dict[str, Any]:
    """The same work by any road."""
    async with AsyncConnection(client) as ao:
        spawned = [each async for each in ao.spawn_many([Spawn(PROGRAM)] * PROCESSES)]
        sent = [Message(each.process, "Add", tags={"N": "1"}) for each in spawned for _ in range(MESSAGES)]
        began, used = time.perf_counter(), time.process_time()
        results = [result async for result in ao.send_many(sent)]
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        process = spawned[0].process
        return {
            "outputs": sorted(int(result.output) for result in results),
            "log": [slot.nonce async for slot in ao.slots(process)],
            "refused": await refusals(client, process),
            "after": (await ao.dryrun(process, "Add", tags={"N": "0"})).output,
            "messages_per_second": len(results) / seconds,
            "client_cpu_ms": 1000 * cpu / len(results),
        }


async def refusals(client: Client, process: str) -> list[str]:
    """What is said to items that nobody may send: another's signature, another's owner, no process."""
    item = client.message(process, action="Add")
    bent = bytearray(item.raw)
    bent[100] ^= 1  # in the owner or the signature
    return [
        await refused(client, bytes(bent)),
        await refused(client, item.raw[:-1] + b"?"),
        await refused(client, client.message("A" * 43, action="Add").raw),
        await refused(client, b"nonsense"),
    ]


async def refused(client: Client, raw: bytes) -> str:
    try:
        await client._json("POST", "/", body=raw)
    except AorayError as error:
        return f"{error.details['status']} {error.code}"
    return "taken"


def main(url: str, address: str, namespace: str) -> None:
    wallet = generate_ed25519()
    by_ray = client_of(None, wallet, address, namespace)
    found = {
        "http": asyncio.run(drive(client_of(url, wallet, None, None))),
        "ray": asyncio.run(drive(by_ray)),
        "road": by_ray.url,
    }
    json.dump(found, sys.stdout)


main(*sys.argv[1:])
