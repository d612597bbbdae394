"""The messenger unit: items and assignments in, each refusal with its own status and words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import wasmtime
from fake_computer import AO, MODULE, Computer
from legacy_units import messenger_unit
from polling import until

from aoray import limits
from aoray.client import unique_anchor
from aoray.contracts.shard import Submission
from aoray.errors import AorayError, Overloaded, Unavailable, UnsupportedModule
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.key_files import load_key

NOWHERE = b64url_encode(b"n" * 32)
ECHO = Path(__file__).parents[3] / "support/echo.wat"


async def test_an_item_is_answered_202_with_its_id_once_it_is_in_the_log(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    process = computer.process_item()
    response = await every.post("/", content=process.raw)
    assert (response.status_code, response.json()) == (
        202,
        {"message": "Processing DataItem", "id": process.id},
    )
    message = computer.message_item(process.id)
    response = await every.post("/", content=message.raw)
    assert (response.status_code, response.json()) == (
        202,
        {"message": "Processing DataItem", "id": message.id},
    )
    entry = computer.gateway.lookups.reader.entry(process.id, message.id)
    assert entry is not None
    assert (entry.nonce, entry.item) == (1, message.raw)


async def test_an_item_that_is_sent_again_is_accepted_and_scheduled_once(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    raw = computer.message_item(pid).raw
    assert {(await every.post("/", content=raw)).status_code for _ in range(3)} == {202}
    assert len(computer.gateway.lookups.reader.entries(pid, -1, 10, 10)) == 2


async def test_results_are_awaited_whatever_the_clock_of_the_shards_node_says(computer: Computer) -> None:
    computer.now_ms -= 3_600_000  # else there is no back-pressure on a cluster with skewed clocks
    pid = await computer.spawn()
    computer.held = []
    raw = computer.message_item(pid).raw
    key = pid, (await computer.gateway.ingress.take(raw)).message_id
    assert key in computer.gateway.pending_results.backpressure
    another = computer.new_gateway()
    await another.ingress.take(raw)
    assert key not in another.pending_results.backpressure, (
        "what was ordered before is told to whom it came in by"
    )


async def test_concurrent_items_share_calls_and_each_gets_its_slot(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    raws = [computer.message_item(pid, data=str(n).encode()).raw for n in range(40)]
    calls = computer.calls["submit"]
    responses = await asyncio.gather(*(every.post("/", content=raw) for raw in raws))
    assert {response.status_code for response in responses} == {202}
    assert computer.calls["submit"] - calls < 20
    entries = computer.gateway.lookups.reader.entries(pid, -1, 100, 100)
    assert [entry.nonce for entry in entries] == list(range(41))


def forged(computer: Computer) -> dict[str, tuple[bytes, int, str]]:
    """Bad items by name: the bytes, the status, and the code of the answer."""
    good = computer.message_item(NOWHERE)
    other = generate_ed25519()
    wrong_owner = good.raw.replace(good.owner, other.public_key)
    untagged = build(computer.user, target=NOWHERE, tags=[*AO], data=b"x")
    not_ao = build(computer.user, target=NOWHERE, tags=[Tag("Type", "Message")], data=b"x")
    typed = build(computer.user, target=NOWHERE, tags=[*AO, Tag("Type", "Module")], data=b"x")
    no_target = build(computer.user, tags=[*AO, Tag("Type", "Message")], data=b"x")
    no_module = build(computer.user, tags=[*AO, Tag("Type", "Process"), Tag("Scheduler", "s")], data=b"x")
    no_such = build(
        computer.user,
        tags=[*AO, Tag("Type", "Process"), Tag("Module", NOWHERE), Tag("Scheduler", "s")],
        data=b"x",
    )
    no_scheduler = build(computer.user, tags=[*AO, Tag("Type", "Process"), Tag("Module", MODULE)], data=b"x")
    elsewhere = computer.process_item(Tag("Scheduler", NOWHERE))
    return {
        "another Scheduler": (elsewhere.raw, 400, "malformed"),
        "empty": (b"", 400, "malformed"),
        "text": (b"hello", 400, "malformed"),
        "truncated": (good.raw[:100], 400, "malformed"),
        "changed data": (good.raw[:-1] + b"!", 400, "bad_signature"),
        "changed signature": (good.raw[:9] + bytes([good.raw[9] ^ 1]) + good.raw[10:], 400, "bad_signature"),
        "another's owner": (wrong_owner, 400, "bad_signature"),
        "no Type": (untagged.raw, 400, "malformed"),
        "not ao": (not_ao.raw, 404, "unknown_process"),
        "another Type": (typed.raw, 400, "malformed"),
        "no target": (no_target.raw, 400, "malformed"),
        "unknown process": (good.raw, 404, "unknown_process"),
        "no Module": (no_module.raw, 400, "malformed"),
        "unknown Module": (no_such.raw, 400, "unknown_module"),
        "no Scheduler": (no_scheduler.raw, 400, "malformed"),
    }


async def test_bad_items_are_refused_by_name(computer: Computer, every: httpx.AsyncClient) -> None:
    for name, (raw, status, code) in forged(computer).items():
        response = await every.post("/", content=raw)
        body = response.json()
        assert (response.status_code, body["code"]) == (status, code), (name, body)
        assert isinstance(body["error"], str)
    assert computer.gateway.in_flight.bodies.bytes == computer.gateway.in_flight.requests == 0


async def test_of_two_types_the_earlier_decides(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    both = computer.message_item(
        pid, Tag("Data-Protocol", "ao"), Tag("Type", "Message"), Tag("Type", "Process")
    )
    assert (await every.post("/", content=both.raw)).status_code == 202


async def test_a_body_over_the_bound_is_413_announced_or_not(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = await every.post(
        "/", content=b"x", headers={"content-length": str(limits.REQUEST_BYTES_MAX + 1)}
    )
    assert (response.status_code, response.json()["code"]) == (413, "too_large")

    async def endless() -> object:
        while True:
            yield b"x" * limits.MIB

    response = await every.post("/", content=endless())
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert computer.gateway.in_flight.bodies.bytes == 0


async def test_a_shard_that_restarts_is_waited_for_with_the_same_batch(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn()
    computer.failures["submit"] = [Unavailable("restarting") for _ in range(5)]
    assert (await every.post("/", content=computer.message_item(pid).raw)).status_code == 202
    computer.failures["submit"] = [Unavailable("restarting") for _ in range(500)]
    response = await every.post("/", content=computer.message_item(pid, data=b"2").raw)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


async def test_arweave_away_is_503_for_a_module_that_is_not_known_yet(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    computer.arweave.down = True
    response = await every.post("/", content=computer.process_item().raw)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    computer.arweave.down = False
    await computer.spawn()
    computer.arweave.down = True
    assert (await every.post("/", content=computer.process_item(Tag("N", "2")).raw)).status_code == 202


_HANDLE = '(func (export "handle") (param i32 i32) (result i32) (i32.const 0))'
_MALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
_MEMORY = '(memory (export "memory") 1)'
CANNOT_RUN = {
    "does not begin with": b"print('hello')",
    "cut short": b"\0asm\1\0\0\0\1\x70",
    "does not export the function handle": _MEMORY + _MALLOC,
    "does not export a memory": _HANDLE + _MALLOC,
    "imports env.launch, which is not known": '(import "env" "launch" (func))' + _MEMORY + _HANDLE + _MALLOC,
    "imports env.memory, which is not a function": '(import "env" "memory" (memory 1))' + _HANDLE + _MALLOC,
    "garbage-collected types": "(type (struct))" + _MEMORY + _HANDLE + _MALLOC,
    "mutable global that is not a number": "(global (mut funcref) (ref.null func))"
    + _MEMORY + _HANDLE + _MALLOC,
    "at most 1073741824 are granted": '(memory (export "memory") 60000)' + _HANDLE + _MALLOC,
}  # fmt: skip


@pytest.mark.parametrize("reason", [*CANNOT_RUN, ""])
async def test_a_module_that_cannot_run_is_refused_at_the_spawn_in_words(
    computer: Computer, every: httpx.AsyncClient, reason: str
) -> None:
    content = CANNOT_RUN.get(reason, _MEMORY + _HANDLE + _MALLOC)
    wasm = wasmtime.wat2wasm(f"(module {content})") if isinstance(content, str) else content
    module = build(computer.user, tags=[*AO, Tag("Type", "Module")], data=bytes(wasm))
    computer.arweave.items[module.id] = module
    tags = [*AO, Tag("Type", "Process"), Tag("Module", module.id), Tag("Scheduler", computer.signer.address)]
    response = await every.post("/", content=build(computer.user, tags=tags, data=b"x").raw)
    if reason:
        assert (response.status_code, response.json()["code"]) == (422, "unsupported_module")
        assert reason in response.json()["error"]
    else:
        assert response.status_code == 202


async def test_too_much_under_way_is_503_with_retry_after(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await computer.spawn()
    requests = computer.gateway.in_flight.crowd.requests
    for place, name in (
        (requests, "most"),
        (limits, "GATEWAY_QUEUE_MESSAGES_MAX"),
        (limits, "BODIES_BYTES_MAX"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, 0)
            response = await every.post("/", content=computer.message_item(pid).raw)
            assert (response.status_code, response.json()["code"]) == (503, "overloaded")
            assert response.headers["retry-after"] == "1"

    async def full(batch: list[Submission]) -> list[AorayError]:
        return [Overloaded("the shard is full", retry_after_s=1) for _ in batch]

    monkeypatch.setattr(computer, "_submit", full)
    assert (await every.post("/", content=computer.message_item(pid).raw)).status_code == 503
    assert computer.gateway.counts()["items_refused_total"] == 2  # the queue's and the shard's


async def test_the_one_message_that_a_late_actor_is_tried_with_verifies_and_is_new(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else forgeries, or one old message that is sent again and again, would keep everybody out."""
    pid, late = await computer.spawn(), await computer.spawn(Tag("N", "2"))
    known = computer.message_item(pid)
    assert (await every.post("/", content=known.raw)).status_code == 202
    backpressure, actor = computer.gateway.pending_results.backpressure, computer.gateway.locations.get(pid)
    monkeypatch.setattr(limits, "RESULTS_AWAITED_FREE", 0)
    monkeypatch.setattr(limits, "RESULT_LAG_TRY_SECONDS", 3600)
    monkeypatch.setattr(backpressure, "_is_late", lambda name, _: name in (actor, late))
    backpressure.accepted((late, "awaited"), actor, 0)
    good, next_one = (computer.message_item(pid, Tag("N", n)) for n in "12")
    forged = bytearray(good.raw)
    forged[-1] ^= 1
    for raw, status in ((bytes(forged), 400), (known.raw, 202), (good.raw, 202)):
        assert (await every.post("/", content=raw)).status_code == status
    assert (await every.post("/", content=next_one.raw)).status_code == 503


async def test_a_spawn_with_a_target_is_assigned_to_it(computer: Computer, every: httpx.AsyncClient) -> None:
    parent = await computer.spawn()
    child = computer.process_item(Tag("N", "2"), target=parent)
    assert (await every.post("/", content=child.raw)).status_code == 202
    entry = computer.gateway.lookups.reader.entry(parent, child.id)
    assert entry is not None
    assert entry.nonce == 1
    orphan = computer.process_item(Tag("N", "3"), target=NOWHERE)
    assert (await every.post("/", content=orphan.raw)).status_code == 202


async def test_an_assignment_is_answered_with_its_own_id(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    first, second = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    message = await computer.send(first)
    response = await every.post(f"/?process-id={second}&assign={message}&base-layer&exclude=Data,%20Anchor")
    entry = computer.gateway.lookups.reader.entry(second, message)
    assert entry is not None
    assert response.json() == {"message": "Processing Assignment", "id": entry.assignment_id}
    assert response.status_code == 202
    excluded = [tag.value for tag in parse(entry.assignment).tags if tag.name == "Exclude"]
    assert excluded == ["Data", "Anchor"]
    again = await every.post(f"/?process-id={second}&assign={message}&exclude=")
    assert again.json()["id"] == entry.assignment_id


async def test_an_item_of_arweave_can_be_assigned(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    item = build(computer.user, tags=[Tag("Any", "thing")], data=b"x")
    computer.arweave.items[item.id] = item
    assert (await every.post(f"/?process-id={pid}&assign={item.id}")).status_code == 202


async def test_what_is_fetched_from_arweave_at_once_to_be_assigned_is_bounded_and_shared(
    computer: Computer, every: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be as large as a message, and takes as long as the gateway does."""
    goes_on, asked = asyncio.Event(), list[int]()

    async def item(_: str, bytes_max: int) -> DataItem:
        asked.append(bytes_max)
        await goes_on.wait()
        return build(computer.user, data=b"x")

    monkeypatch.setattr(computer.arweave, "item", item)
    knowledge, most = computer.gateway.lookups, limits.MESSAGES_FETCHED_AT_ONCE_MAX // 2
    held = [asyncio.create_task(knowledge.signed_bytes(NOWHERE, "1.2.3.4")) for _ in range(most)]
    await until(lambda: len(asked) == most)
    with pytest.raises(Overloaded):
        await knowledge.signed_bytes(NOWHERE, "1.2.3.4")
    held.append(asyncio.create_task(knowledge.signed_bytes(NOWHERE, "5.6.7.8")))
    goes_on.set()
    await asyncio.gather(*held)
    assert set(asked) == {limits.ITEM_BYTES_MAX}
    assert await knowledge.signed_bytes(NOWHERE, "1.2.3.4")


async def test_a_module_is_looked_at_once_however_many_spawn_it_and_whatever_comes_of_it(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' spawns wait for it: a look takes as long as a gateway takes to send 64 MiB."""
    tags = [*AO, Tag("Type", "Module")]
    wasm = bytes(wasmtime.wat2wasm(ECHO.read_text()))
    good, bad = (build(computer.user, tags=tags, data=data) for data in (wasm, b"no wasm"))
    computer.arweave.items |= {good.id: good, bad.id: bad}
    asked, right = list[str](), computer.arweave.item

    async def item(module_id: str, bytes_max: int = 0) -> DataItem:
        asked.append(module_id)
        return await right(module_id)

    monkeypatch.setattr(computer.arweave, "item", item)
    require = computer.gateway.lookups.require_module
    for module in (good, bad):
        for _ in range(2):
            together = (require(module.id) for _ in range(5))
            found = await asyncio.gather(*together, return_exceptions=True)
            assert {isinstance(each, UnsupportedModule) for each in found} == {module is bad}
    assert asked == [good.id, bad.id]


async def test_what_a_module_is_its_owner_says_and_not_the_gateway(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of its limits. Without its data nothing can be verified: then the gateway is believed for a
    moment."""
    wasm, now_s = bytes(wasmtime.wat2wasm(ECHO.read_text())), 1_000.0
    signed = (*AO, Tag("Type", "Module"), Tag("Compute-Limit", "7"))
    true, none, later = (
        build(computer.user, tags=tags, data=wasm)
        for tags in (signed, [*AO, Tag("Type", "Message")], [*signed, Tag("N", "2")])
    )
    computer.arweave.items |= {true.id: true, none.id: none}
    lie = (Tag("Type", "Module"), Tag("Compute-Limit", "9000000000000"))

    async def lies(_: str) -> tuple[Tag, ...]:
        return lie

    monkeypatch.setattr(computer.arweave, "tags", lies)
    monkeypatch.setattr("aoray.gateway.core.lookups.time", SimpleNamespace(monotonic=lambda: now_s))
    require = computer.gateway.lookups.require_module
    assert await require(true.id) == true.tags
    for _ in range(2):
        with pytest.raises(UnsupportedModule):
            await require(none.id)
    assert await require(later.id) == lie
    computer.arweave.items[later.id] = later
    assert await require(later.id) == lie
    now_s += limits.MODULE_WORD_SECONDS_MAX
    assert await require(later.id) == later.tags


async def test_bad_assignments_are_refused(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    for query, status, code in (
        (f"process-id={pid}", 400, "malformed"),
        (f"assign={pid}", 400, "malformed"),
        (f"process-id={pid}&assign=short", 400, "malformed"),
        (f"process-id=x&assign={pid}", 400, "malformed"),
        (f"process-id={pid}&assign={NOWHERE}", 404, "unknown_message"),
        (f"process-id={NOWHERE}&assign={pid}", 404, "unknown_process"),
    ):
        response = await every.post(f"/?{query}")
        assert (response.status_code, response.json()["code"]) == (status, code), query


def order(signer: Signer, process_id: str, *tags: Tag) -> bytes:
    """An item to start or stop crons with."""
    return build(signer, target=process_id, anchor=unique_anchor(), tags=tags, data=b" ").raw


async def test_monitors_are_kept_and_taken_away(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn()
    start, stop = order(computer.user, pid), order(computer.user, pid)
    response = await every.post(f"/monitor/{pid}", content=start)
    assert (response.status_code, response.text) == (200, "Monitoring process")
    assert (await every.get(f"/monitor/{pid}")).json() == {
        "process": pid,
        "monitored": True,
        "missed": "one",
        "crons": [],
    }
    response = await every.post(f"/monitor/{pid}", content=start)
    assert (response.status_code, response.json()["error"]) == (400, "Process already being monitored")
    response = await every.request("DELETE", f"/monitor/{pid}", content=stop)
    assert (response.status_code, response.text) == (200, "Process deleted")
    assert (await every.request("DELETE", f"/monitor/{pid}", content=stop)).status_code == 404
    assert (await every.post(f"/monitor/{pid}", content=b"")).status_code == 400
    response = await every.post(f"/monitor/{pid}", content=start[:-1] + b"!")
    assert response.json()["code"] == "bad_signature"
    assert (await every.post(f"/monitor/{NOWHERE}", content=start)).status_code == 404


async def test_an_item_that_was_seen_starts_or_stops_no_crons_again(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))

    async def status(method: str, content: bytes) -> int:
        return (await every.request(method, f"/monitor/{pid}", content=content)).status_code

    start, stop = order(computer.user, pid), order(computer.user, pid)
    assert await status("POST", start) == 200
    assert (await status("DELETE", start), await status("DELETE", stop)) == (400, 200)
    assert [await status("POST", used) for used in (start, stop)] == [400, 400]
    said = [Tag("Action", "Unmonitor")], [Tag("Action", "Monitor")]
    assert await status("POST", order(computer.user, pid, *said[0])) == 400
    assert await status("POST", order(computer.user, pid, *said[1])) == 200
    assert await status("DELETE", order(computer.user, pid, *said[1])) == 400
    assert await status("DELETE", order(computer.user, pid, *said[0])) == 200


async def test_only_the_owner_starts_and_stops_crons(computer: Computer, every: httpx.AsyncClient) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))
    for method in ("POST", "DELETE"):
        theirs = order(generate_ed25519(), pid)
        refused = await every.request(method, f"/monitor/{pid}", content=theirs)
        assert (refused.status_code, refused.json()["process_id"]) == (400, pid)
    assert not (await every.get(f"/monitor/{pid}")).json()["monitored"]
    assert (await every.post(f"/monitor/{pid}", content=order(computer.user, pid))).is_success
    assert (await every.get(f"/monitor/{pid}")).json()["crons"][0]["cron"] == "0-2-seconds"


async def test_the_crons_of_a_spawned_process_are_its_parents_owners(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    """However far up the chain of spawns; the messenger, which signed the spawns, gives no orders."""
    messenger = load_key(computer.settings, "authority")
    parent = await computer.spawn()
    for _ in range(3):
        process = computer.process_item(Tag("Cron-Interval", "2-seconds"), Tag("From-Process", parent))
        spawned = build(messenger, tags=process.tags, data=b" ")
        await computer.gateway.ingress.spawn(spawned)
        parent = spawned.id
    for method in ("POST", "DELETE"):
        for stranger in (generate_ed25519(), messenger):
            response = await every.request(method, f"/monitor/{parent}", content=order(stranger, parent))
            assert response.status_code == 400 and computer.user.address in response.json()["error"]
        response = await every.request(method, f"/monitor/{parent}", content=order(computer.user, parent))
        assert response.status_code == 200


async def test_a_stranger_does_not_own_what_names_his_process_as_its_parent(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    """Only where the messenger signed, `From-Process` is true."""
    theirs = generate_ed25519()
    parent = await computer.spawn()
    process = computer.process_item(Tag("Cron-Interval", "2-seconds"), Tag("From-Process", parent))
    spawned = build(theirs, tags=process.tags, data=b" ")
    await computer.gateway.ingress.spawn(spawned)
    response = await every.post(f"/monitor/{spawned.id}", content=order(computer.user, spawned.id))
    assert response.status_code == 400
    assert (await every.post(f"/monitor/{spawned.id}", content=order(theirs, spawned.id))).is_success


async def test_the_owners_public_messages_do_not_start_or_stop_crons(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    pid = await computer.spawn(Tag("Cron-Interval", "2-seconds"))
    sent = computer.message_item(pid)
    assert (await every.post("/", content=sent.raw)).status_code == 202
    for method in ("POST", "DELETE"):
        refused = await every.request(method, f"/monitor/{pid}", content=sent.raw)
        assert (refused.status_code, refused.json()["process_id"]) == (400, pid)
    assert not (await every.get(f"/monitor/{pid}")).json()["monitored"]


async def test_a_cron_that_cannot_be_is_refused_at_the_spawn(
    computer: Computer, every: httpx.AsyncClient
) -> None:
    raw = computer.process_item(Tag("Cron-Interval", "often")).raw
    response = await every.post("/", content=raw)
    assert (response.status_code, response.json()["field"]) == (400, "tags.Cron-Interval")
    assert "10-seconds" in response.json()["hint"]


async def test_the_unit_alone_greets_and_takes_items(computer: Computer) -> None:
    async with computer.http(messenger_unit(computer.gateway)) as client:
        assert (await client.get("/")).text == "ao messenger unit"
        assert (await client.post("/", content=computer.process_item().raw)).status_code == 202
        assert (await client.post("//", content=computer.process_item().raw)).status_code == 202
        assert (await client.get("/result/x")).status_code == 404


@pytest.mark.parametrize(
    "limit",
    [
        ("Compute-Limit", "9000000000001"),
        ("Compute-Limit", "lots"),
        ("Memory-Limit", "2-gb"),
        ("Memory-Limit", "0"),
    ],
)
async def test_a_spawn_whose_limits_cannot_be_granted_is_refused_in_words(
    computer: Computer, every: httpx.AsyncClient, limit: tuple[str, str]
) -> None:
    response = await every.post("/", content=computer.process_item(Tag(*limit)).raw)
    assert response.status_code == 400
    said = response.json()
    assert limit[0] in said["error"]
    assert said["field"] == f"tags.{limit[0]}"
    assert str(limits.FUEL_MAX if limit[0] == "Compute-Limit" else limits.MEMORY_BYTES_MAX) in said["hint"]
    assert (
        await every.post("/", content=computer.process_item(Tag("Compute-Limit", "9000000000000")).raw)
    ).is_success
