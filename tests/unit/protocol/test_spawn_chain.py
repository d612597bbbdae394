"""The wallet that a process belongs to: the same whoever asks, and read once."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.spawn_chain import RootWallets, root_wallet
from aoray.protocol.tags import Tag

USER, MESSENGER = generate_ed25519(), generate_ed25519()


def spawned(signer: Signer, number: int, parent: str = "") -> DataItem:
    tags = [Tag("Type", "Process"), Tag("Number", str(number))]
    return build(signer, tags=[*tags, Tag("From-Process", parent)] if parent else tags)


class Read:
    """Spawn items, and which of them were read."""

    def __init__(self, *items: DataItem) -> None:
        self.items = {item.id: item for item in items}
        self.names: list[str] = []

    def item(self, process_id: str) -> DataItem | None:
        self.names.append(process_id)
        return self.items.get(process_id)

    async def later(self, process_id: str) -> DataItem | None:
        return self.item(process_id)


def line(length: int) -> list[DataItem]:
    """Processes of which each spawned the next."""
    found = [spawned(USER, 0)]
    for number in range(1, length):
        found.append(spawned(MESSENGER, number, found[-1].id))
    return found


async def check(read: Read, process: DataItem, wallet: str) -> None:
    assert root_wallet(process, MESSENGER.address, read.item) == wallet
    assert await RootWallets(MESSENGER.address, read.later).of(process.id) == wallet


@pytest.mark.parametrize("length", [1, 2, 5])
async def test_a_process_belongs_to_who_signed_the_first_spawn_of_its_line(length: int) -> None:
    processes = line(length)
    await check(Read(*processes), processes[-1], USER.address)


async def test_who_is_not_the_messenger_names_no_parent() -> None:
    owner, liar = generate_ed25519(), generate_ed25519()
    process = spawned(owner, 0)
    claims = spawned(liar, 1, process.id)
    await check(Read(process, claims), claims, liar.address)


async def test_what_the_messenger_signed_without_a_parent_or_whose_line_is_lost_is_its_own() -> None:
    alone = spawned(MESSENGER, 0)
    orphan = spawned(MESSENGER, 1, "lost")
    for process in (alone, orphan):
        await check(Read(process), process, MESSENGER.address)


async def test_a_line_that_is_too_long_is_the_messengers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAWN_CHAIN_MAX", 4)
    processes = line(5)
    await check(Read(*processes), processes[3], USER.address)
    await check(Read(*processes), processes[4], MESSENGER.address)


async def test_what_is_known_is_not_read_again() -> None:
    processes = line(3)
    read = Read(*processes)
    wallets = RootWallets(MESSENGER.address, read.later)
    wallets.note(processes[1])  # a child: of whom is not known by it alone
    for _ in range(2):
        assert await wallets.of(processes[1].id) == USER.address
    assert read.names == [processes[1].id, processes[0].id]
    assert await wallets.of(processes[2].id) == USER.address
    assert read.names[2:] == [processes[2].id]
    noted = spawned(USER, 7)
    wallets.note(noted)
    assert await wallets.of(noted.id) == USER.address
    assert len(read.names) == 3
