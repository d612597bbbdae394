"""An actor holds the libraries of its own service and of no other that it calls: what many actors hold is
what a computer's memory goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

HTTP, WASM = "/httptools/", "/_libwasmtime"


def holds(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


async def test_an_actor_that_calls_another_does_not_hold_its_libraries(tmp_path: Path) -> None:
    with LocalComputer(tmp_path) as computer:
        async with Client(computer.url, generate_ed25519()) as client:
            process = await client.spawn()
            said = await client.result(process, await client.send(process, data="return 7", action="Eval"))
        assert "7" in str(said["Output"])
        assert [holds(pid, HTTP) for pid in computer.actors("GatewayActor")] == [True]
        assert not any(holds(pid, HTTP) for pid in computer.actors("ProcessActor"))
        assert not any(holds(pid, WASM) for pid in computer.actors("ShardActor"))
