"""Only the owner of a key speaks for it: claims in tags change nothing for a process that
trusts nobody else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from polling import between_looks

from aoray.client import Client, unique_anchor
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

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


async def pushed(client: Client, sender: str, code: str) -> dict[str, Any]:
    """The result of the message that this makes the sender send, at the process it is for."""
    root = await client.send(sender, action="Eval", data=code)
    async with asyncio.timeout(60):
        while True:
            nodes = (await client.trace(root, process=sender))["nodes"]
            if len(nodes) == 2 and nodes[1]["nonce"] is not None:
                return await client.result(nodes[1]["process"], nodes[1]["message"])
            await between_looks()


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


async def test_the_name_of_an_authority_proves_nothing(computer: LocalComputer, client: Client) -> None:
    """The built-in Lua believes who signed. (aos believes whoever names an authority, by its own rule.)"""
    mine = client.signer.address
    process = await client.spawn(tags=[Tag("Authority", mine)])
    await ask(client, process, "Eval", data=PROGRAM)
    async with Client(computer.url, generate_ed25519()) as stranger:
        for claimed in (mine, computer.health["authority"]):
            found = await ask(stranger, process, "Who", ("From-Process", claimed))
            assert "not trusted" in found["Output"]["data"]
    assert await seen(client, process) == ""


async def spawn_trusting(client: Client, module: str, *authorities: str) -> str:
    """A process with just these `Authority` tags."""
    health = await client.health()
    named = {"Type": "Process", "Module": module or health["module"], "Scheduler": health["scheduler"]}
    tags = [Tag("Data-Protocol", "ao"), *(Tag(*each) for each in named.items())]
    tags += [Tag("Authority", authority) for authority in authorities]
    process = await client.post(build(client.signer, anchor=unique_anchor(), tags=tags, data=b" "))
    assert not (await ask(client, process, "Eval", data=PROGRAM)).get("Error")
    return process


@pytest.fixture(params=["lua", "aos"])
def module(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("aos_module")) if request.param == "aos" else ""


async def test_whom_a_process_believes_are_all_its_authorities_and_it_may_change_its_mind(
    computer: LocalComputer, client: Client, module: str
) -> None:
    signers = [generate_ed25519() for _ in range(4)]
    first, second, third, later = (signer.address for signer in signers)

    async def believed() -> list[bool]:
        """Of each signer, what it says in the name of the process itself."""
        found = []
        for signer in signers:
            async with Client(computer.url, signer) as messenger:
                result = await ask(messenger, process, "Who", ("From-Process", process))
                found.append("not trusted" not in result["Output"]["data"])
        return found

    process = await spawn_trusting(client, module, f"{first},{second}", third)
    assert await believed() == [True, True, True, False]
    await ask(client, process, "Eval", data=f'table.insert(ao.authorities, "{later}")')
    assert await believed() == [True] * 4
    await ask(client, process, "Eval", data="table.remove(ao.authorities)")
    assert await believed() == [True, True, True, False]
    if not module:  # aos reads its Authority tags again with each message
        await ask(client, process, "Eval", data=f'ao.authorities = {{"{later}"}}')
        assert await believed() == [False, False, False, True]


async def test_the_messenger_is_believed_once_the_program_makes_it_an_authority(
    computer: LocalComputer, client: Client, module: str
) -> None:
    sender, process = await client.spawn(), await spawn_trusting(client, module)
    send = f'Send({{Target = "{process}", Action = "Who"}})'
    assert "not trusted" in (await pushed(client, sender, send))["Output"]["data"]
    assert await seen(client, process) == ""
    change = f'table.insert(ao.authorities, "{computer.health["authority"]}")'
    await ask(client, process, "Eval", data=change)
    await pushed(client, sender, send)
    assert await seen(client, process) == sender


async def test_who_spawns_in_anothers_name_owns_what_it_spawned(
    computer: LocalComputer, client: Client
) -> None:
    other = await client.spawn()
    async with Client(computer.url, generate_ed25519()) as stranger:
        process = await stranger.spawn(tags=[Tag("From-Process", other), Tag("Pushed-For", other)])
        assert (await ask(stranger, process, "Eval", data="return Owner"))["Output"][
            "data"
        ] == stranger.signer.address


async def test_a_claimed_chain_is_not_joined(computer: LocalComputer, client: Client) -> None:
    """A stranger's message begins a chain of its own and has no causes, whatever it says it was sent for;
    what is sent on because of it says so too. The chain that it names stays as it was."""
    relay, target = await client.spawn(), await client.spawn()
    program = (
        f"Handlers.add('pass', 'Pass', function(msg) Send({{Target = '{target}', Action = 'Note'}}) end)"
    )
    assert not (await ask(client, relay, "Eval", data=program)).get("Error")
    named = await client.send(relay, action="Who")
    assert not (await client.result(relay, named)).get("Error")
    chain = [Tag("Pushed-For", named), Tag("From-Nonce", "1"), Tag("From-Index", "0")]
    async with Client(computer.url, generate_ed25519()) as stranger:
        claims = await stranger.send(relay, action="Pass", tags=chain)
        as_process = await stranger.send(relay, action="Pass", tags=[*chain, Tag("From-Process", target)])
        async with asyncio.timeout(60):
            while len((found := await stranger.trace(claims, process=relay))["nodes"]) < 2:
                await between_looks()
        assert (found["pushed_for"], found["causes"]) == ("", [])
        note = found["nodes"][1]["message"]
        received = await stranger.trace(note, process=target)
        assert received["pushed_for"] == claims
        assert [cause["message"] for cause in received["causes"]] == [claims]
        alone = await stranger.trace(as_process, process=relay)
        assert (alone["pushed_for"], alone["causes"]) == ("", [])
    assert [node["message"] for node in (await client.trace(named, process=relay))["nodes"]] == [named]
