"""The messenger unit: items and assignments in, each refusal with its own status and words."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fake_arweave import MODULE
from fake_computer import AO, NOWHERE, Computer
from legacy_units import messenger_unit
from polling import until

from aoray import limits
from aoray.contracts.shard import Submission
from aoray.errors import AorayError, Overloaded, Unavailable
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag


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


async def test_the_unit_alone_greets_and_takes_items(computer: Computer) -> None:
    async with computer.http(messenger_unit(computer.gateway)) as client:
        assert (await client.get("/")).text == "ao messenger unit"
        assert (await client.post("/", content=computer.process_item().raw)).status_code == 202
        assert (await client.post("//", content=computer.process_item().raw)).status_code == 202
        assert (await client.get("/result/x")).status_code == 404
