"""Pushing: every outbox message is delivered once, whatever is away meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import wasmtime
from actor_rig import ECHO
from fake_arweave import MODULE
from fake_computer import EMPTY, Computer
from legacy_units import messenger_unit
from outboxes import WALLET, items, on, pushed, slots, to
from polling import until

from aoray import limits
from aoray.errors import BadSignature, ClientError, MalformedInput, Overloaded, Unavailable
from aoray.protocol.ans104.items import build, parse, verify
from aoray.protocol.assignments import LogEntry
from aoray.protocol.tags import Tag, first


async def test_an_outbox_message_reaches_its_process_signed_by_the_authority(computer: Computer) -> None:
    first_pid, second_pid = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(second_pid, Tag("Action", "Hi"))])
    root = await computer.send(first_pid, data=b"go")
    await pushed(computer)
    item = items(computer, second_pid)[1]
    verify(item)
    assert item.address == computer.gateway.addresses.authority
    assert first(item.tags, "From-Process") == first_pid
    assert first(item.tags, "From-Module") == MODULE
    assert first(item.tags, "Pushed-For") == root
    assert computer.results.at(first_pid, 1).pushed  # type: ignore[union-attr]


async def test_a_chain_is_pushed_to_its_end_for_its_first_item(computer: Computer) -> None:
    pids = [await computer.spawn(Tag("N", str(n))) for n in range(2)]

    def pong(entry: LogEntry) -> dict[str, Any]:
        count = sum(len(items(computer, pid)) - 1 for pid in pids)
        other = pids[1 - pids.index(entry.process_id)]
        return EMPTY | ({"Messages": [to(other)]} if entry.nonce and count < 20 else {})

    computer.evaluate = pong
    root = await computer.send(pids[0])
    await pushed(computer)
    received = [item for pid in pids for item in items(computer, pid)[1:]]
    assert len(received) == 20
    assert {first(item.tags, "Pushed-For", root) for item in received} == {root}


async def test_a_push_that_is_interrupted_anywhere_delivers_once(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target), to(target), to(WALLET)])
    computer.failures["submit"] = []
    await computer.send(sender, data=b"go")
    await pushed(computer)
    for _ in range(3):  # as after crashes before the mark: another gateway finds it unpushed
        computer.results._writes._db.executescript("UPDATE results SET pushed = 0; DELETE FROM deliveries")
        again = computer.new_gateway().pusher
        again.push(computer.results.unpushed(100))
        await until(lambda again=again: not len(again))  # type: ignore[misc]
    assert len(items(computer, target)) == 3
    assert len(set(computer.arweave.posted)) == 1


async def test_push_waits_for_what_is_away(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target), to(WALLET)])
    computer.held = []
    await computer.send(sender, data=b"go")
    computer.failures["submit"] = [Overloaded("full"), *(Unavailable("restarting") for _ in range(100))]
    computer.arweave.down = True
    computer.release()
    await until(lambda: not computer.failures["submit"])
    assert not computer.results.at(sender, 1).pushed  # type: ignore[union-attr]
    computer.arweave.down = False
    await pushed(computer)
    assert len(items(computer, target)) == 2
    assert len(computer.arweave.posted) == 1


async def test_a_wallet_gets_its_message_on_arweave_and_the_chain_ends(computer: Computer) -> None:
    sender = await computer.spawn()
    computer.evaluate = on("go", Messages=[to(WALLET, Tag("Action", "Credit-Notice"))])
    await computer.send(sender, data=b"go")
    await pushed(computer)
    [raw] = computer.arweave.posted
    assert parse(raw).target_id == WALLET


async def test_what_a_foreign_gateway_does_not_show_yet_is_not_given_up_for_good(tmp_path: Path) -> None:
    computer = Computer(tmp_path, gateway_url="http://elsewhere", push_foreign_attempts_max=3)
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    late = build(computer.signer, target=WALLET, tags=[])
    computer.evaluate = on("go", Assignments=[{"Message": late.id, "Processes": [target]}])
    message = await computer.send(sender, data=b"go")
    await pushed(computer)
    async with computer.http(messenger_unit(computer.gateway)) as http:
        [dead] = await outbox_of(http, sender)
        assert (dead["state"], dead["attempts"]) == ("dead", 3)
        computer.arweave.items[late.id] = late
        assert (await http.post(f"/push/{message}/0?process-id={sender}")).status_code == 202
        assert [each["state"] for each in await outbox_of(http, sender)] == ["delivered"]
    assert items(computer, target)[-1].id == late.id


@pytest.mark.parametrize(
    "confused", [None, MalformedInput("not JSON"), BadSignature("no"), ClientError("403")]
)
async def test_a_spawn_whose_module_is_published_late_is_not_given_up(
    computer: Computer, every: httpx.AsyncClient, confused: ClientError | None
) -> None:
    """Whether the module is not there yet, or one gateway does not show it today, or answers with a page for
    people: nothing is decided."""
    parent, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    wasm = wasmtime.wat2wasm(ECHO.read_text())
    module = build(computer.signer, tags=[Tag("Type", "Module")], data=bytes(wasm))
    late = build(computer.signer, target=WALLET, tags=[])
    computer.evaluate = on(
        "go",
        Spawns=[{"Tags": [Tag("Module", module.id)._asdict()]}],
        Assignments=[{"Message": late.id, "Processes": [target]}],
    )
    computer.arweave.confused = confused
    await computer.send(parent, data=b"go")
    await until(lambda: tried(computer, parent) > 2)
    assert [each["state"] for each in await outbox_of(every, parent)] == ["pending"] * 2
    computer.arweave.confused = None
    computer.arweave.items |= {module.id: module, late.id: late}
    await pushed(computer)
    assert [each["state"] for each in await outbox_of(every, parent)] == ["delivered"] * 2
    assert items(computer, target)[-1].id == late.id


def tried(computer: Computer, process_id: str) -> int:
    """How often anything of the outbox of slot 1 was attempted."""
    return sum(each.attempts for each in computer.results.deliveries.of(process_id, 1))


async def test_what_arweave_does_not_show_is_asked_for_within_the_quota(tmp_path: Path) -> None:
    computer = Computer(tmp_path, push_rate_per_process=0.001, push_burst_seconds=20_000)
    sender = await computer.spawn()
    missing = {"Tags": [{"name": "Module", "value": WALLET}]}
    computer.evaluate = on("go", Spawns=[missing] * 3)
    await computer.send(sender, data=b"go")
    await until(lambda: bool(computer.gateway.pusher.quota.held_s(sender)))
    assert tried(computer, sender) <= 20
    await until(lambda: not len(computer.gateway.pusher))


async def test_a_foreign_bundlers_no_is_kept_as_dead_and_can_be_pushed_again(tmp_path: Path) -> None:
    computer = Computer(tmp_path, gateway_url="http://elsewhere", push_foreign_attempts_max=3)
    computer.arweave.refusal = ClientError("402 no credits")
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(WALLET), to(target)])
    message = await computer.send(sender, data=b"go")
    await pushed(computer)
    assert len(items(computer, target)) == 2
    async with computer.http(messenger_unit(computer.gateway)) as http:
        [dead] = await outbox_of(http, sender, state="dead")
        assert (dead["target"], dead["attempts"], dead["error"]) == (WALLET, 3, "402 no credits")
        push = f"/push/{message}/0?process-id={sender}"
        refused = await http.post(push)
        assert (refused.status_code, refused.json()["error"]) == (503, "402 no credits")
        computer.arweave.refusal = None
        assert (await http.post(push)).status_code == 202
        assert [each["state"] for each in await outbox_of(http, sender)] == ["uploaded", "delivered"]
    assert [parse(raw).id for raw in computer.arweave.posted] == [dead["id"]]


async def test_a_bad_entry_holds_up_no_other(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    crowded = to(target, *(Tag(f"T{n}", "x") for n in range(127)))
    missing = {"Tags": [{"name": "Module", "value": WALLET}]}
    nothing = {"Processes": [target], "Message": WALLET}
    computer.evaluate = on(
        "go", Messages=[crowded, to("short"), to(target)], Spawns=[missing], Assignments=[nothing]
    )
    await computer.send(sender, data=b"go")
    await pushed(computer)
    assert len(items(computer, target)) == 2


async def test_a_spawn_makes_a_process_and_tells_its_parent(computer: Computer) -> None:
    parent = await computer.spawn()
    own = [Tag("Module", MODULE), Tag("Reference", "5")]
    computer.evaluate = on(
        "go", Spawns=[{"Data": "code", "Anchor": "", "Tags": [tag._asdict() for tag in own]}]
    )
    await computer.send(parent, data=b"go")
    await pushed(computer)
    told = items(computer, parent)[2]
    child = first(told.tags, "Process", "")
    assert (first(told.tags, "Action"), first(told.tags, "Reference")) == ("Spawned", "5")
    process = items(computer, child)[0]
    assert process.data == b"code"
    assert first(process.tags, "From-Process") == parent
    assert first(process.tags, "Scheduler") == computer.signer.address


async def test_an_outbox_assigns_messages(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    message = await computer.send(sender, data=b"first")
    entry = {"Processes": [target], "Message": message, "Exclude": ["Data"]}
    by_tag = to(sender, Tag("Assignments", f"{WALLET},{target}"))
    # Neither a process nor a message that is not there holds up those after it.
    nobody = {"Processes": [WALLET, target], "Message": message, "Exclude": ["Data"]}
    nothing = {"Processes": [target], "Message": WALLET}
    computer.evaluate = on("go", Assignments=[nothing, nobody, entry], Messages=[by_tag])
    await computer.send(sender, data=b"go")
    await pushed(computer)
    assert {slot.message_id for slot in slots(computer, target)[1:]} == {
        message,
        items(computer, sender)[3].id,
    }


async def test_the_scan_finds_what_nobody_announced(computer: Computer) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target)])
    announce = computer.gateway.pusher.push
    computer.gateway.pusher.push = lambda references: None  # type: ignore[method-assign]
    await computer.send(sender, data=b"go")
    computer.gateway.pusher.push = announce  # type: ignore[method-assign]
    scan = asyncio.create_task(computer.gateway.pusher.scan_forever())
    await pushed(computer)
    scan.cancel()
    assert len(items(computer, target)) == 2


async def test_a_message_is_pushed_again_by_hand(computer: Computer, every: httpx.AsyncClient) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target)])
    message = await computer.send(sender, data=b"go")
    await pushed(computer)
    response = await every.post(f"/push/{message}/0?process-id={sender}")
    assert response.json() == {"message": "Processing Message Result", "id": message}
    assert response.status_code == 202
    assert len(items(computer, target)) == 2
    assert (await every.post(f"/push/{message}/1?process-id={sender}")).status_code == 404
    assert (await every.post(f"/push/{message}/x?process-id={sender}")).status_code == 400
    assert (await every.post(f"/push/{WALLET}/0?process-id={sender}")).status_code == 404
    assert (await every.post(f"/push/{message}/0")).status_code == 404


async def outbox_of(every: httpx.AsyncClient, process: str, **query: Any) -> list[dict[str, Any]]:
    response = await every.get(f"/outbox/{process}", params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["outbox"])


async def test_the_state_of_everything_in_an_outbox_can_be_asked(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    spawn = {"Tags": [Tag("Module", MODULE)._asdict()]}
    messages = [to(target), to(WALLET), to("short")]
    computer.evaluate = on("go", Messages=messages, Spawns=[spawn])
    announce = computer.gateway.pusher.push
    computer.gateway.pusher.push = lambda references: None  # type: ignore[method-assign]
    await computer.send(sender, data=b"go")
    untried = await outbox_of(every, sender)
    assert [each["state"] for each in untried] == ["pending"] * 4
    announce([(sender, 1)])
    await pushed(computer)
    settled = await outbox_of(every, sender)
    assert [each["state"] for each in settled] == ["delivered", "uploaded", "skipped", "delivered"]
    assert [each["id"] for each in settled] == [each["id"] for each in untried]
    assert settled[0]["id"] == slots(computer, target)[1].message_id
    assert "not an id" in settled[2]["error"]
    assert await outbox_of(every, sender, state="skipped") == settled[2:3]
    assert not await outbox_of(every, sender, state="pending")
    assert await outbox_of(every, sender, nonce=1, limit=2) == settled[:2]
    assert await outbox_of(every, sender, after="1.1") == settled[2:]
    for query in ("state=x", "nonce=-1", "limit=x", "after=x", "after=1"):
        assert (await every.get(f"/outbox/{sender}?{query}")).status_code == 400


async def test_what_is_away_is_pending_with_its_reason_and_holds_up_no_other(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = on("go", Messages=[to(target), to(WALLET)])
    computer.arweave.down = True
    for number in range(limits.PUSHES_IN_FLIGHT_MAX + 5):  # more than are sent at once
        await computer.send(sender, Tag("Number", str(number)), data=b"go")
    await until(lambda: len(items(computer, target)) == limits.PUSHES_IN_FLIGHT_MAX + 6)
    [delivered, waits] = await outbox_of(every, sender, nonce=1)
    assert (delivered["state"], delivered["attempts"]) == ("delivered", 1)
    assert (waits["state"], waits["error"]) == ("pending", "Arweave does not answer")
    computer.arweave.down = False
    await pushed(computer)
    assert {each["state"] for each in await outbox_of(every, sender)} == {"delivered", "uploaded"}


async def test_an_arweave_that_is_silent_holds_up_no_message_between_processes(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PUSHES_IN_FLIGHT_MAX", 4)
    monkeypatch.setattr(limits, "PUSH_UPLOADS_MAX", 6)
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.arweave.silent = asyncio.Event()
    computer.evaluate = on("go", Messages=[to(WALLET), to(WALLET)])
    for number in range(20):
        await computer.send(sender, Tag("Number", str(number)), data=b"go")
    computer.evaluate = on("go", Messages=[to(target)])
    await computer.send(sender, data=b"go")
    await until(lambda: len(items(computer, target)) == 2)
    assert not computer.arweave.posted
    computer.arweave.silent.set()
    await pushed(computer)
    assert len(computer.arweave.posted) == 40


async def test_what_waits_beyond_the_bound_is_left_to_the_scan_which_comes_to_all(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = {"PUSHES_IN_FLIGHT_MAX": 2, "PUSH_RESTING_RESULTS_MAX": 4, "PUSH_QUEUE_RESULTS_MAX": 8}
    for name, bound in bounds.items():
        monkeypatch.setattr(limits, name, bound)
    monkeypatch.setattr(limits, "PAGE_ENTRIES_MAX", 4)
    sender, target = sorted([await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))])
    computer.arweave.down = True
    computer.evaluate = on("go", Messages=[to(WALLET)])
    announce = computer.gateway.pusher.push
    computer.gateway.pusher.push = lambda references: None  # type: ignore[method-assign]
    for number in range(20):
        await computer.send(sender, Tag("Number", str(number)), data=b"go")
    computer.evaluate = on("go", Messages=[to(sender)])
    await computer.send(target, data=b"go")  # the last in the order of the store
    computer.gateway.pusher.push = announce  # type: ignore[method-assign]
    scan = asyncio.create_task(computer.gateway.pusher.scan_forever())
    await until(lambda: len(items(computer, sender)) == 22)
    computer.arweave.down = False
    await pushed(computer)
    scan.cancel()
    assert len(computer.arweave.posted) == 20
