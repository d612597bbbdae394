"""The wallet that a process belongs to: who signed its spawn, or for a process that another spawned who
signed the first spawn of the chain.

A process's spawn item is signed by a wallet, or by the messenger for a process that spawned it, which
`From-Process` names: the messenger sets that tag itself (`outbox.entries`), so it is true where it signed.

Invariant: the same process always has the same wallet. A chain of more than SPAWN_CHAIN_MAX ends at the
messenger's own address, so that whoever makes longer ones has one wallet for all of them. On failure: what
the reader of spawn items raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator

from aoray import limits
from aoray.protocol.signed import SignedMessage
from aoray.protocol.tags import first
from aoray.util.bounded_dict import BoundedDict


def parent_of(process: SignedMessage, messenger: str) -> str:
    """Return the process that spawned this one; '' if a wallet did. `messenger` signs for processes."""
    return first(process.tags, "From-Process", "") if process.address == messenger else ""


def search(process_id: str, messenger: str) -> Generator[str, SignedMessage | None, str]:
    """Walk up the chain of spawns to the wallet that a process belongs to. Yields the processes whose
    spawn items are needed, takes those items (None if there is no such process), and returns the wallet's
    address."""
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
    """Return the address of the wallet that a process belongs to, for callers in a thread that may read."""
    walk = search(process.id, messenger)
    needed = next(walk)
    try:
        while True:
            needed = walk.send(process if needed == process.id else item_of(needed))
    except StopIteration as end:
        return str(end.value)


class RootWallets:
    """The wallets that processes belong to, remembered by process. `item_of` reads the spawn item of a
    process, None if there is no such one."""

    def __init__(self, messenger: str, item_of: Callable[[str], Awaitable[SignedMessage | None]]) -> None:
        self._messenger = messenger
        self._item_of = item_of
        self._known: BoundedDict[str, str] = BoundedDict(limits.SENDERS_KNOWN_MAX)

    def note(self, process: SignedMessage) -> None:
        """Remember the wallet of a process whose spawn item was read for another reason."""
        if not parent_of(process, self._messenger):
            self._known[process.id] = process.address

    async def of(self, process_id: str) -> str:
        """Return the address of the wallet that this process belongs to."""
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
