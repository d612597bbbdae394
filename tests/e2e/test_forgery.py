"""Only the owner of a key speaks for it (design.md G8): claims in tags change nothing for a process that
trusts nobody else.
"""

from __future__ import annotations

from typing import Any

import pytest

from aoray.client import Client
from aoray.protocol.keys import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing import LocalComputer

pytestmark = pytest.mark.cluster

PROGRAM = """
Seen = {}
Handlers.add("who", "Who", function(msg)
  table.insert(Seen, msg.From)
  print(msg.From .. " " .. msg.Owner)
end)
"""


@pytest.fixture(params=["lua", "aos"])
async def process(request: pytest.FixtureRequest, client: Client) -> str:
    """A process of the client's that records who speaks to it; of the built-in Lua, and of aos 2.0.6."""
    module = request.getfixturevalue("aos_module") if request.param == "aos" else ""
    spawned = await client.spawn(module=module)
    assert not (await ask(client, spawned, "Eval", data=PROGRAM)).get("Error")
    return spawned


async def ask(
    client: Client, process: str, action: str, *tags: tuple[str, str], data: str = ""
) -> dict[str, Any]:
    message = await client.send(process, action=action, tags=[Tag(*tag) for tag in tags], data=data)
    return await client.result(process, message)


async def seen(client: Client, process: str) -> str:
    return str((await ask(client, process, "Eval", data="return table.concat(Seen, ' ')"))["Output"]["data"])


async def test_a_process_is_not_believed_by_its_name_alone(
    computer: LocalComputer, client: Client, process: str
) -> None:
    other = await client.spawn()
    async with Client(computer.url, generate_ed25519()) as stranger:
        for claimed in (other, process, client.signer.address):
            found = await ask(stranger, process, "Who", ("From-Process", claimed))
            assert "not trusted" in found["Output"]["data"]
            assert found["Messages"] == []
    assert await seen(client, process) == ""


async def test_owner_and_sender_are_the_signer_whatever_tags_say(
    computer: LocalComputer, client: Client, process: str
) -> None:
    mine = client.signer.address
    async with Client(computer.url, generate_ed25519()) as stranger:
        theirs = stranger.signer.address
        for names in (["Owner"], ["From"], ["Owner", "From"], ["owner", "from"]):
            found = await ask(stranger, process, "Who", *((name, mine) for name in names))
            assert found["Output"]["data"] == f"{theirs} {theirs}"
            await ask(stranger, process, "Eval", *((name, mine) for name in names), data="Seen = {}")
    assert await seen(client, process) == " ".join([theirs] * 4)


async def test_the_owner_itself_is_heard(client: Client, process: str) -> None:
    mine = client.signer.address
    assert (await ask(client, process, "Who"))["Output"]["data"] == f"{mine} {mine}"


async def test_a_dry_run_in_the_owners_name_leaves_no_trace(client: Client, process: str) -> None:
    found = await client.dryrun(process, action="Eval", data="Seen = {'changed'} return #Seen")
    assert found["Output"]["data"] == "1"
    assert await seen(client, process) == ""


async def test_the_name_of_an_authority_is_no_voucher(computer: LocalComputer, client: Client) -> None:
    """The built-in Lua believes who signed. (aos believes whoever names an authority, by its own rule.)"""
    mine = client.signer.address
    process = await client.spawn(tags=[Tag("Authority", mine)])
    await ask(client, process, "Eval", data=PROGRAM)
    async with Client(computer.url, generate_ed25519()) as stranger:
        for claimed in (mine, computer.health["authority"]):
            found = await ask(stranger, process, "Who", ("From-Process", claimed))
            assert "not trusted" in found["Output"]["data"]
    assert await seen(client, process) == ""
