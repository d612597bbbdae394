"""A message bomb goes on at its rate and no faster: what is over it waits in the store, is shown, and is lost
nowhere; what others send does not wait for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from clock import Clock
from fake_computer import EMPTY, Computer
from hypothesis import given
from hypothesis import strategies as st
from outboxes import to
from polling import until

from aoray import limits
from aoray.gateway import apps
from aoray.outbox.push_quota import PushQuota
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.assignments import LogEntry
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.spawn_chain import RootWallets
from aoray.protocol.tags import Tag
from aoray.settings import Settings

RATE, BURST_SECONDS = 2.0, 5.0
MESSENGER, WALLET = generate_ed25519(), generate_ed25519()


def limited(computer: Computer, clock: Clock, **rates: float) -> None:
    settings = Settings(push_burst_seconds=BURST_SECONDS, **rates)
    computer.gateway.pusher.quota = PushQuota(settings, clock)


async def scanned(computer: Computer) -> None:
    """One scan, and whatever it leads to."""
    await computer.gateway.pusher._scan()
    await until(lambda: not len(computer.gateway.pusher))


def slots(computer: Computer, process_id: str) -> int:
    return len(list(computer.gateway.lookups.reader.entries(process_id, -1, 10_000, 10_000)))


async def test_a_process_that_feeds_itself_goes_on_at_its_rate_and_nothing_is_lost(
    computer: Computer,
) -> None:
    clock = Clock()
    limited(computer, clock, push_rate_per_process=RATE, push_rate_per_wallet=0.0)
    bomb, quiet = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))

    def evaluate(entry: LogEntry) -> dict[str, Any]:
        sends = entry.nonce > 0 and (entry.process_id == bomb or parse(entry.item).data == b"go")
        return EMPTY | ({"Messages": [to(bomb)]} if sends else {})

    computer.evaluate = evaluate
    await computer.send(bomb)
    await until(lambda: bool(computer.gateway.pusher.quota.held()) and not len(computer.gateway.pusher))
    burst = int(RATE * BURST_SECONDS)
    assert slots(computer, bomb) == 2 + burst  # its spawn, the first message, and a burst
    async with computer.http(apps.all_units(computer.gateway, None)) as http:
        shown = (await http.get(f"/outbox/{bomb}?state=pending")).json()
        assert len(shown["outbox"]) == 1 and 0 < shown["held_seconds"] <= 1 / RATE
        assert set((await http.get("/status")).json()["held"]) == {bomb}
        assert (await http.post(f"/push/{1 + burst}/0?process-id={bomb}")).status_code == 429
    await computer.send(quiet, data=b"go")
    await until(lambda: slots(computer, bomb) == 3 + burst)  # another's message is not held up
    for _ in range(4):
        before = slots(computer, bomb)
        clock.now += 3 / RATE
        await scanned(computer)
        await until(lambda: bool(computer.gateway.pusher.quota.held()))
        assert before < slots(computer, bomb) <= before + 3


async def test_an_outbox_that_is_larger_than_a_burst_goes_out_whole(computer: Computer) -> None:
    clock = Clock()
    limited(computer, clock, push_rate_per_process=RATE, push_rate_per_wallet=0.0)
    many = int(3 * RATE * BURST_SECONDS)
    sender, target = await computer.spawn(Tag("N", "1")), await computer.spawn(Tag("N", "2"))
    computer.evaluate = lambda entry: (
        EMPTY | ({"Messages": [to(target)] * many} if (entry.process_id, entry.nonce) == (sender, 1) else {})
    )
    await computer.send(sender)
    await until(lambda: slots(computer, target) == 1 + many)


async def test_all_processes_of_a_wallet_and_those_that_they_spawned_share_one_rate(
    computer: Computer,
) -> None:
    clock = Clock()
    limited(computer, clock, push_rate_per_process=0.0, push_rate_per_wallet=RATE)
    bombs = [await computer.spawn(Tag("N", str(n))) for n in range(3)]
    computer.evaluate = lambda entry: EMPTY | ({"Messages": [to(entry.process_id)]} if entry.nonce else {})
    for bomb in bombs:
        await computer.send(bomb)
    await until(lambda: len(computer.gateway.pusher.quota.held()) == len(bombs))
    await until(lambda: not len(computer.gateway.pusher))
    assert sum(slots(computer, bomb) - 2 for bomb in bombs) == int(RATE * BURST_SECONDS)


def test_what_is_held_waits_for_the_rate_of_its_process_and_of_its_wallet_and_takes_nothing() -> None:
    clock = Clock()
    settings = Settings(push_burst_seconds=BURST_SECONDS, push_rate_per_process=2.0, push_rate_per_wallet=4.0)
    quota = PushQuota(settings, clock)
    assert quota.take("p", "wallet", 10) and not quota.held()  # a burst of the process
    assert not quota.take("p", "wallet", 1)
    assert (quota.held_s("p"), quota.held(), quota.held_total) == (0.5, {"p": 0.5}, 1)
    assert quota.take("q", "wallet", 10)  # the other half of the wallet's burst
    assert not quota.take("r", "wallet", 2)
    assert quota.take("r", "another", 2)  # the wallet waits, not the process
    assert not quota.take("q", "wallet", 8)
    assert quota.held() == {"p": 0.5, "q": 4.0}  # of two waits the longer one
    assert quota.held_s("r") == quota.held_s("nobody") == 0.0
    clock.now += 0.5
    assert quota.take("p", "wallet", 1)
    assert (quota.held(), quota.held_total) == ({"q": 3.5}, 3)
    clock.now += 3.5
    assert quota.held() == {} and quota.held_s("q") == 0.0
    assert quota.take("q", "wallet", 8)


def test_a_rate_of_zero_does_not_bound() -> None:
    settings = Settings(push_burst_seconds=BURST_SECONDS, push_rate_per_process=0.0, push_rate_per_wallet=0.0)
    quota = PushQuota(settings, lambda: 0.0)
    assert all(quota.take("p", "wallet", 10_000) for _ in range(3)) and not quota.held()


def spawned_by(parent: str, n: int) -> DataItem:
    return build(MESSENGER, tags=[Tag("From-Process", parent), Tag("N", str(n))], data=b"")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
async def test_whatever_is_spawned_belongs_to_the_first_wallet(parents: list[int]) -> None:
    root = build(WALLET, tags=[Tag("From-Process", "somebody else's claim")], data=b"")
    family = [root]
    for n, parent in enumerate(parents):
        family.append(spawned_by(family[parent % len(family)].id, n))
    items, reads = {item.id: item for item in family}, Counter[str]()

    async def item_of(process_id: str) -> DataItem | None:
        reads[process_id] += 1
        return items.get(process_id)

    wallets = RootWallets(MESSENGER.address, item_of)
    for item in reversed(family):
        assert await wallets.of(item.id) == WALLET.address


async def test_a_chain_of_spawns_that_is_too_long_gets_no_wallet_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SPAWN_CHAIN_MAX", 5)
    chain = [build(WALLET, tags=[], data=b"")]
    for n in range(10):
        chain.append(spawned_by(chain[-1].id, n))
    items = {item.id: item for item in chain}

    async def item_of(process_id: str) -> DataItem | None:
        return items.get(process_id)

    assert await RootWallets(MESSENGER.address, item_of).of(chain[4].id) == WALLET.address
    assert await RootWallets(MESSENGER.address, item_of).of(chain[10].id) == MESSENGER.address
