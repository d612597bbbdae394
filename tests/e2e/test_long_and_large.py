"""Programs that compute for long or fill much memory, seen from outside: they get what they state, within
what the operator allows, and others do not wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from metrics_text import figures

from aoray.client import Client
from aoray.errors import ClientError
from aoray.limits import MIB
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

LIMIT = 9_000_000_000_000
MUCH = (Tag("Compute-Limit", str(LIMIT)),)
SUM = "local sum = 0 for i = 1, 100000000 do sum = sum + i % 7 end return tostring(sum)"
EACH = 64 * MIB
BUDGET = 3 * EACH
PROCESSES = 12
# One string of 64 MiB, of which no page is like another
FILL = f"Kept = string.rep(tostring(math.random()), {EACH} // 18) return tostring(#Kept > {EACH // 2})"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    """A computer whose processes share one actor, which may hold three large ones."""
    environment = {"AORAY_RESIDENT_BYTES_MAX": str(BUDGET), "AORAY_MEMORY_LIMIT_MAX": str(512 * MIB)}
    data = tmp_path_factory.mktemp("one") / "data"
    with LocalComputer(data, ("--actors-per-node", "1"), environment) as running:
        yield running


@pytest.fixture
async def user(one: LocalComputer) -> AsyncIterator[Client]:
    async with Client(one.url, generate_ed25519()) as opened:
        yield opened


async def said(client: Client, process: str, code: str) -> object:
    found = await client.result(process, await client.send(process, action="Eval", data=code))
    return found.get("Error") or found["Output"]["data"]


async def test_a_compute_limit_is_honoured_and_others_are_served_meanwhile(
    one: LocalComputer, user: Client
) -> None:
    long, other = await user.spawn(tags=MUCH), await user.spawn()
    message = await user.send(long, action="Eval", data=SUM)
    progress, waits = [], []
    async with httpx.AsyncClient(base_url=one.url, timeout=90) as http:
        while True:
            answer = await http.get(f"/result/{message}", params={"process-id": long, "wait": "200"})
            if answer.status_code == 200:
                break
            progress.append(answer.json().get("evaluating"))
            begun = time.monotonic()
            assert await said(user, other, "return 'here'") == "here"
            assert (await user.dryrun(other, action="Info")).get("Error") is None
            waits.append(time.monotonic() - begun)
        metrics = (await http.get("/metrics")).text
    assert answer.json()["Output"]["data"] == "299999997"
    assert answer.json()["GasUsed"] > 10_000_000_000
    assert sorted(waits)[len(waits) // 2] < 2, waits
    fuels = [each["fuel"] for each in progress if each]
    assert len(fuels) > 2
    assert fuels == sorted(fuels)
    assert all(each["fuel_max"] == LIMIT and each["nonce"] == 1 for each in progress if each)
    assert figures(metrics)['aoray_actor_long{actor="process-actor-0"}'] == 0


async def test_an_endless_loop_goes_on_and_its_neighbours_have_their_results(
    tmp_path: Path,
) -> None:
    """By order, not by time: with one actor for all of them, what the neighbours ask is answered, and the
    loop's message still has no result; a neighbour that is spawned meanwhile runs too."""
    with LocalComputer(tmp_path / "data", ("--actors-per-node", "1")) as computer:
        async with Client(computer.url, generate_ed25519()) as user:
            wild = await user.spawn(tags=MUCH)
            neighbours = [await user.spawn() for _ in range(3)]
            loop = await user.send(wild, action="Eval", data="while true do end")
            await evaluating(computer, wild, loop)
            for number in range(5):
                code = f"N = (N or 0) + {number} return tostring(N)"
                found = await asyncio.gather(*(said(user, each, code) for each in neighbours))
                assert found == [str(sum(range(number + 1)))] * len(neighbours)
            assert await said(user, await user.spawn(), "return 'new'") == "new"
            assert (await evaluating(computer, wild, loop))["fuel_max"] == LIMIT


async def evaluating(computer: LocalComputer, process: str, message: str) -> dict[str, int]:
    """How far a message is that has no result yet; waits until it has begun."""
    async with httpx.AsyncClient(base_url=computer.url, timeout=90) as http, asyncio.timeout(90):
        while True:
            answer = await http.get(f"/result/{message}", params={"process-id": process, "wait": "100"})
            assert answer.status_code == 202
            if found := answer.json().get("evaluating"):
                return dict(found)


async def test_a_spawn_that_asks_for_more_than_is_allowed_is_refused_in_words(user: Client) -> None:
    for tag in (Tag("Memory-Limit", "1-gb"), Tag("Compute-Limit", str(LIMIT + 1)), Tag("Compute-Limit", "x")):
        with pytest.raises(ClientError, match=tag.name) as refused:
            await user.spawn(tags=[tag])
        assert "at most" in refused.value.hint


async def test_a_room_of_1001_members_is_told_of_a_message(user: Client) -> None:
    room, member = await user.spawn(), await user.spawn()
    program = f"for n = 1, 1001 do Send({{ Target = '{member}', Data = tostring(n) }}) end return 'told'"
    counts = "Heard = 0 Handlers.add('heard', isNumber, function() Heard = Heard + 1 end) return 'ready'"
    numbers = "local function isNumber(msg) return tonumber(msg.Data) ~= nil end "
    assert await said(user, member, numbers + counts) == "ready"
    assert await said(user, room, program) == "told"
    async with asyncio.timeout(120):
        while await said(user, member, "return tostring(Heard)") != "1001":
            pass  # each look is a message behind those that came


async def test_memory_stays_bounded_however_much_each_process_fills(one: LocalComputer, user: Client) -> None:
    processes = [await user.spawn() for _ in range(PROCESSES)]
    for process in processes:
        await said(user, process, "Here = 1 return ''")
    before, most = one.memory_bytes()["ProcessActor"], 0
    for process in processes:
        assert await said(user, process, FILL) == "true"
        most = max(most, one.memory_bytes()["ProcessActor"])
    for process in processes[:4]:  # what hibernated has kept it
        assert await said(user, process, "return tostring(#Kept)") != "0"
        most = max(most, one.memory_bytes()["ProcessActor"])
    # Beside the budget: one writes beside its image, and another is packed into a checkpoint.
    assert most - before < BUDGET + 6 * EACH < PROCESSES * EACH, f"{(most - before) // MIB} MiB"
    async with httpx.AsyncClient(base_url=one.url, timeout=30) as http:
        actors = (await http.get("/status")).json()["actors"]
    assert actors["process-actor-0"]["resident_bytes_max"] == BUDGET
    assert actors["process-actor-0"]["evicted"] >= PROCESSES - 4
