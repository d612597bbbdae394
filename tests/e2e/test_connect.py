"""`aoray.connect` and its twin against a real computer: what people's programs rely on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from metrics_text import figures
from polling import between_looks

import aoray
from aoray.errors import UnknownProcess
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.testing.local_computer import LocalComputer, send_kill

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

AWAITED = "aoray_gateway_results_awaited"  # of one gateway's figures
COUNTER = """
Count = 0
Handlers.add("add", "Add", function(msg)
  Count = Count + math.tointeger(tonumber(msg.N))
  if msg.Tell then Send({Target = msg.Tell, Action = "Told", Data = "so many: " .. Count}) end
  print(Count)
end)
"""


@pytest.fixture(scope="module")
def ao(computer: LocalComputer) -> Iterator[aoray.Connection]:
    with aoray.connect(computer.url, wallet=aoray.new_wallet()) as opened:
        yield opened


def test_what_is_sent_is_answered_typed(ao: aoray.Connection) -> None:
    process = ao.spawn(COUNTER, tags={"Name": "counter"})
    message = ao.send(process, "Add", tags={"N": "2", "Tell": ao.address})
    result = ao.result(process, message)
    assert (result.process, result.message, result.output, result.ok) == (process, message, "2", True)
    (told,) = result.messages
    assert (told.target, told.action, told.data) == (ao.address, "Told", "so many: 2")
    failed = ao.ask(process, "Add")
    assert not failed.ok and "nil" in failed.error
    assert ao.dryrun(process, "Add", tags={"N": "5"}).output == "7"
    assert ao.eval(process, "return Count").output == "2"
    other = ao.spawn(COUNTER + "ao.addAssignable('add', {Action = 'Add'})")
    assignment = ao.assign(other, message)
    assert ao.result(other, assignment).output == "2"


def test_refusals_are_the_computers_own_errors(ao: aoray.Connection) -> None:
    with pytest.raises(UnknownProcess) as refused:
        ao.send("A" * 43, "Add")
    assert refused.value.code == "unknown_process"
    assert refused.value.details["status"] == 404
    ends = [aoray.Message("A" * 43), aoray.Message(ao.spawn(COUNTER), "Add", tags={"N": "1"})]
    seen: list[tuple[int, str]] = []
    answered = list(ao.send_many(ends, on_refusal=lambda index, error: seen.append((index, error.code))))
    assert seen == [(0, "unknown_process")]
    assert [(each.index, each.output) for each in answered] == [(1, "1")]
    with pytest.raises(UnknownProcess):
        list(ao.send_many(ends))


def test_many_are_sent_once_each_even_from_what_the_same_connection_computes(ao: aoray.Connection) -> None:
    spawned = ao.spawn_many([aoray.Spawn(COUNTER)] * 6, in_flight=3)
    processes: dict[str, int] = {}

    def messages() -> Iterator[aoray.Message]:
        for each in spawned:  # asks this very connection while `send_many` runs
            processes[each.process] = each.index
            for _ in range(5):
                yield aoray.Message(each.process, "Add", tags={"N": "1"})

    results = list(ao.send_many(messages(), in_flight=8))
    assert sorted(result.index for result in results) == list(range(30))
    assert sorted(processes.values()) == list(range(6))
    assert {ao.dryrun(process, "Add", tags={"N": "0"}).output for process in processes} == {"5"}


async def test_results_are_followed_in_the_order_of_the_log_errors_too(computer: LocalComputer) -> None:
    async with aoray.connect_async(computer.url, wallet=aoray.new_wallet()) as ao:
        process = await ao.spawn(COUNTER)
        followed = ao.results(process, after=0, follow=True)
        said = []
        for tags in ({"N": "1"}, {}, {"N": "3"}):
            sent = await ao.send(process, "Add", tags=tags)
            async with asyncio.timeout(30):
                result = await anext(followed)
            assert result.message == sent
            said.append((result.index, result.output, result.ok))
        assert said == [(1, "1", True), (2, "", False), (3, "4", True)]
        again = [result.index async for result in ao.results(process)]
        assert again == [0, 1, 2, 3]
        slots = [slot async for slot in ao.slots(process, after=1)]
        assert [slot.nonce for slot in slots] == [2, 3]
        assert all(slot.owner == ao.address for slot in slots)


async def test_who_follows_a_process_waits_at_the_computer_for_what_comes(mortal: LocalComputer) -> None:
    async with aoray.connect_async(mortal.url, wallet=aoray.new_wallet()) as ao:
        process = await ao.spawn(COUNTER)
        followed = ao.results(process, follow=True)
        assert (await anext(followed)).index == 0
        coming = asyncio.ensure_future(anext(followed))
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while figures((await http.get(f"{mortal.url}/metrics")).text)[AWAITED] != 1:
                assert not coming.done()
                await between_looks()
            sent = await ao.send(process, "Add", tags={"N": "1"})
            result = await coming
        assert (result.index, result.message, result.output) == (1, sent, "1")


def test_any_wallet_speaks(computer: LocalComputer, ao: aoray.Connection, tmp_path: Path) -> None:
    rsa = aoray.new_wallet("arweave")
    file = tmp_path / "wallet.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(signer_to_jwk(rsa)))
    with (
        aoray.connect(computer.url, wallet=file) as first,
        aoray.connect(computer.url, wallet=signer_to_jwk(rsa)) as second,
    ):
        assert first.address == second.address == rsa.address
        process = first.spawn()
        assert second.eval(process, "return Owner").output == rsa.address
    assert ao.eval(process, "return Owner").output != rsa.address  # a stranger evaluates nothing there


FORGETFUL = {
    "blocking": """
import aoray
ao = aoray.connect(wallet=aoray.new_wallet())
process = ao.spawn(tags={"Size": 5})
followed = ao.results(process, follow=True)
print(next(followed).ok)
""",
    "asynchronous": """
import asyncio, aoray
async def main():
    ao = await aoray.connect_async(wallet=aoray.new_wallet()).__aenter__()
    followed = ao.results(await ao.spawn(), follow=True)
    print((await anext(followed)).ok)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("program", FORGETFUL.values(), ids=FORGETFUL)
def test_a_program_that_ends_without_closing_ends_in_silence(computer: LocalComputer, program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        **{"env": {**os.environ, "AORAY_URL": computer.url}, "timeout": 60},
        **{"capture_output": True, "text": True, "check": False},
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")


def test_crons_start_and_stop(ao: aoray.Connection) -> None:
    process = ao.spawn(COUNTER, tags={"Cron-Interval": "1-hour", "Cron-Tag-Action": "Tick"})
    ao.monitor(process)
    assert ao.monitored(process)["monitored"]
    ao.unmonitor(process)
    assert not ao.monitored(process)["monitored"]


def test_when_gateways_die_all_is_sent_again_and_counts_once(mortal: LocalComputer) -> None:
    with aoray.connect(mortal.url, wallet=aoray.new_wallet()) as ao:
        processes = [spawned.process for spawned in ao.spawn_many([aoray.Spawn(COUNTER)] * 3)]
        messages = [aoray.Message(each, "Add", tags={"N": "1"}) for each in processes for _ in range(60)]
        answered: dict[str, list[int]] = {each: [] for each in processes}
        for count, result in enumerate(ao.send_many(messages), 1):
            answered[result.process].append(int(result.output))
            if count in (40, 110):
                send_kill(mortal.actors("GatewayActor"))
        assert all(sorted(counts) == list(range(1, 61)) for counts in answered.values())
