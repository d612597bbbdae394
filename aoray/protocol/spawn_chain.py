"""The wallet behind a process: the signer of its spawn item, or, if a process spawned it, the signer of the
first spawn item of that chain of spawns.

A spawn item is signed either by a wallet or, for a process that another process spawns, by the messenger. The
messenger then sets the tag `From-Process` itself (`outbox.entries`), so this tag is reliable where the
messenger is the signer, and means nothing elsewhere. Quotas by wallet count a process for the wallet behind
it.

Invariant: a process always has the same wallet. A chain of more than SPAWN_CHAIN_MAX spawns counts for the
messenger's own address, so all such chains share one quota.

On failure: errors of the function that reads spawn items are passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator

from aoray import limits
from aoray.protocol.signed import SignedMessage
from aoray.protocol.tags import first
from aoray.util.bounded_dict import BoundedDict


def parent_of(process: SignedMessage, messenger: str) -> str:
    """Return the id of the process that spawned this process, or '' if a wallet did. `messenger` is the
    address that signs for processes."""
    return first(process.tags, "From-Process", "") if process.address == messenger else ""


def search(process_id: str, messenger: str) -> Generator[str, SignedMessage | None, str]:
    """Walk up the chain of spawns to the wallet behind a process.

    The generator yields the id of each process whose spawn item it needs, is sent that item (None if there is
    no such process), and returns the address of the wallet.
    """
    for _ in range(limits.SPAWN_CHAIN_MAX):
        item = yield process_id
        if item is None:
            break
        process_id = parent_of(item, messenger)
        if not process_id:
            return item.address
    return messenger


def root_wallet(
    process: SignedMessage, messenger: str, item_of: Callable[[str], SignedMessage | None]
) -> str:
    """Return the address of the wallet behind a process. `item_of` reads a spawn item, and may block."""
    walk = search(process.id, messenger)
    needed = next(walk)
    try:
        while True:
            needed = walk.send(process if needed == process.id else item_of(needed))
    except StopIteration as end:
        return str(end.value)


class RootWallets:
    """A cache of the wallets behind processes. `item_of` reads the spawn item of a process; None means that
    there is no such process."""

    def __init__(self, messenger: str, item_of: Callable[[str], Awaitable[SignedMessage | None]]) -> None:
        self._messenger = messenger
        self._item_of = item_of
        self._known: BoundedDict[str, str] = BoundedDict(limits.SENDERS_KNOWN_MAX)

    def note(self, process: SignedMessage) -> None:
        """Remember the wallet of a process whose spawn item is at hand, if a wallet signed it."""
        if not parent_of(process, self._messenger):
            self._known[process.id] = process.address

    async def of(self, process_id: str) -> str:
        """Return the address of the wallet behind a process."""
        wallet = self._known.get(process_id)
        if wallet is None:
            wallet = self._known[process_id] = await self._search(process_id)
        return wallet

    async def _search(self, process_id: str) -> str:
        walk = search(process_id, self._messenger)
        needed = next(walk)
        try:
            while not (wallet := self._known.get(needed)):
                needed = walk.send(await self._item_of(needed))
        except StopIteration as end:
            return str(end.value)
        return wallet
