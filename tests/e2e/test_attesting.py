"""What a computer attests is on Arweave in time, whole after a kill, and holds it to what it served: for the
built-in Lua and for aos 2.0.6, by the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attested import said, verified
from command_line import aoray_ran
from polling import between_looks

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.protocol.attestations import Statement, attest
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.storage.key_files import load
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import AOS_FORMAT, AOS_WASM

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

HALF = 15
SECONDS_MAX = 60
WRONG = b64url_encode(bytes(32))
COUNT = "N = (N or 0) + 1; return N"


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[LocalComputer]:
    """A computer that attests at once, and takes a checkpoint of whatever has nothing to do."""
    settings = {"AORAY_ATTEST_INTERVAL_MS": "200", "AORAY_IDLE_SECONDS_MAX": "1"}
    with LocalComputer(tmp_path / "data", environment=settings) as running:
        yield running


async def all_said(computer: LocalComputer, process: str, last: int) -> dict[int, list[Statement]]:
    """The same, once it is everything up to the state after the last slot; each look is a request."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            found = await said(computer, process)
            if any(each.state_hash for each in found.get(last, ())):
                return found
            await between_looks()


async def count(client: Client, process: str, times: int) -> dict[str, Any]:
    """Messages to a process; the last one's result."""
    sent = [await client.send(process, action="Eval", data=COUNT) for _ in range(times)]
    return await client.result(process, sent[-1])


async def test_every_result_is_attested_once_over_a_kill_and_a_forged_one_is_found(
    hasty: LocalComputer,
) -> None:
    wallet = generate_ed25519()
    async with Client(hasty.url, wallet) as client:
        aos = await client.publish_module(AOS_WASM.read_bytes(), AOS_FORMAT)
        processes = [await client.spawn(), await client.spawn(module=aos)]
        for process in processes:
            await count(client, process, HALF)
    hasty.kill()
    hasty.start()
    async with Client(hasty.url, wallet) as client:
        results = [await count(client, process, HALF) for process in processes]
    last = 2 * HALF
    for process, result in zip(processes, results, strict=True):
        found = await all_said(hasty, process, last)
        assert sorted(found) == list(range(last + 1))
        for statements in found.values():  # a second one only adds the state
            assert len({each._replace(state_hash="") for each in statements}) == 1
            assert len({each for each in statements if not each.state_hash}) <= 1
        report = await verified(hasty, process)
        assert (report["nonce"], report["attested"], report["not_attested_at_the_end"]) == (last, last + 1, 0)
        assert report["attested_states"] >= 1 and report["last_result"] == result
    await forge(hasty, processes[0])


async def forge(computer: LocalComputer, process: str) -> None:
    """The compute unit signs another result than it served: said where, what and why."""
    compute = load(computer.data / "keys" / "compute.json")
    message = (await said(computer, process))[7][0].message_id
    false = attest(compute, process, [Statement(7, message, WRONG)])
    async with ArweaveClient(computer.unit(1)) as client:
        await client.post_item(false.raw)
    code, out, err = await aoray_ran("verify", process, "--gateway", computer.unit(1))
    assert (code, out) == (1, "")
    assert f"process {process} is not what it says: nonce 7: attestation {false.id}" in err
    assert f"by {compute.address} is false: message {message} gave {WRONG}, but evaluation gives" in err
    code, _, err = await aoray_ran("verify", process, "--gateway", computer.unit(1), "--to", "6")
    assert code == 0, err
    code, out, err = await aoray_ran("verify", process, "--gateway", computer.unit(1), "--compute", WRONG)
    assert code == 0, err
    assert f"not looked at: attestations by {compute.address}" in out
