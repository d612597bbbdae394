"""Traces: the causes and the whole tree of what a message led to, within bounds."""

from __future__ import annotations

from typing import Any

import httpx
from fake_arweave import MODULE
from fake_computer import EMPTY, Computer
from outboxes import WALLET, items, on, pushed, to

from aoray import limits
from aoray.cli.render import draw
from aoray.gateway.observability.trace import GatewaySources, origin, traced
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import Tag, first


async def test_a_trace_has_the_causes_and_the_whole_tree(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pids = [await computer.spawn(Tag("N", str(n))) for n in range(3)]
    follows = {pids[0]: [to(pids[1]), to(pids[2])], pids[1]: [to(pids[2]), to(WALLET)], pids[2]: []}
    computer.evaluate = lambda entry: EMPTY | ({"Messages": follows[entry.process_id]} if entry.nonce else {})
    root = await computer.send(pids[0])
    await pushed(computer)
    trace = (await every.get(f"/trace/{root}")).json()
    told = [(node["parent"], node["process"]) for node in trace["nodes"]]
    assert told == [(-1, pids[0]), (0, pids[1]), (0, pids[2]), (1, pids[2]), (1, WALLET)]
    assert (trace["causes"], trace["truncated"]) == ([], False)
    below = (await every.get(f"/trace/{trace['nodes'][3]['message']}?process-id={pids[2]}")).json()
    assert [cause["process"] for cause in below["causes"]] == pids[:2]
    assert [node["process"] for node in below["nodes"]] == [pids[2]]
    drawn = draw(trace).splitlines()
    assert len(drawn) == 5
    assert "uploaded" in next(line for line in drawn if WALLET[:8] in line)


async def test_a_trace_has_the_news_of_a_spawn_and_what_is_assigned_to_others(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    parent, other, witness = [await computer.spawn(Tag("N", str(n))) for n in range(3)]

    def sends(entry: LogEntry) -> dict[str, Any]:
        item = parse(entry.item)
        if item.data == b"go":
            spawn = {"Tags": [Tag("Module", MODULE)._asdict()]}
            return EMPTY | {"Messages": [to(other, Tag("Assignments", witness))], "Spawns": [spawn]}
        return EMPTY | ({"Messages": [to(WALLET)]} if first(item.tags, "Action") == "Spawned" else {})

    computer.evaluate = sends
    root = await computer.send(parent, data=b"go")
    await pushed(computer)
    nodes = (await every.get(f"/trace/{root}")).json()["nodes"]
    child = nodes[3]["message"]
    told = [(node["parent"], node["process"]) for node in nodes]
    assert told == [(-1, parent), (0, other), (0, witness), (0, child), (0, parent), (4, WALLET)]
    assert (nodes[2]["message"], nodes[4]["action"]) == (nodes[1]["message"], "Spawned")
    news = (await every.get(f"/trace/{nodes[4]['message']}")).json()
    assert [cause["message"] for cause in news["causes"]] == [root]


async def test_a_trace_ends_at_its_bound_and_follows_no_claim_of_others(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target)] * 9)
    message = await computer.send(sender, data=b"go")
    await pushed(computer)
    item, authority = items(computer, sender)[1], computer.gateway.addresses.authority
    found = traced(GatewaySources(computer.gateway), item, "", authority, 5)
    assert (found["message"], len(found["nodes"]), found["truncated"]) == (message, 5, True)
    assert [node.get("more", False) for node in found["nodes"]] == [True] * 5
    assert draw(found).count("…") == 6
    forged = computer.message_item(target, Tag("From-Process", sender), Tag("From-Nonce", "1"))
    assert origin(forged, authority) is None
    assert origin(items(computer, target)[1], authority) == (sender, 1)


async def test_a_trace_shows_what_could_not_be_sent(computer: Computer, every: httpx.AsyncClient) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    too_many = [Tag("N", "V")] * limits.TAGS_MAX
    computer.evaluate = on(
        "go", Messages=[to(target, *too_many)], Spawns=[{"Tags": [too_many[0]._asdict()] * 999}]
    )
    message = await computer.send(sender, data=b"go")
    await pushed(computer)
    _, *sent = (await every.get(f"/trace/{message}")).json()["nodes"]
    assert [node["delivery"]["state"] for node in sent] == ["skipped"] * 2
