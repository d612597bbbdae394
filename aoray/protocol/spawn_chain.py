"""The wallet that a process belongs to: who signed its spawn, or for a process that another spawned who
signed the first spawn of the chain.

A process's spawn item is signed by a wallet, or by the messenger for a process that spawned it, which
`From-Process` names: the messenger sets that tag itself (`actors.push`), so it is true where it signed.

Invariant: the same process always has the same wallet. A chain of more than SPAWN_CHAIN_MAX ends at the
messenger's own address, so that whoever makes longer ones has one wallet for all of them. On failure: what
the reader of spawn items raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aoray import limits
from aoray.bounded import Bounded
from aoray.protocol.items import DataItem
from aoray.protocol.tags import first


def parent_of(process: DataItem, messenger: str) -> str:
    """The process that spawned this one; '' if a wallet did. `messenger` signs for processes."""
    return first(process.tags, "From-Process", "") if process.address == messenger else ""


def root_wallet(process: DataItem, messenger: str, item_of: Callable[[str], DataItem | None]) -> str:
    """The address of the wallet that a process belongs to; for who is in a thread where it may read."""
    item: DataItem | None = process
    for _ in range(limits.SPAWN_CHAIN_MAX):
        if item is None:
            break
        parent = parent_of(item, messenger)
        if not parent:
            return item.address
        item = item_of(parent)
    return messenger


class RootWallets:
    """Root wallets by process. `item_of` reads the spawn item of a process, None if there is no such one."""

    def __init__(self, messenger: str, item_of: Callable[[str], Awaitable[DataItem | None]]) -> None:
        self._messenger = messenger
        self._item_of = item_of
        self._known: Bounded[str, str] = Bounded(limits.SENDERS_KNOWN_MAX)

    def note(self, process: DataItem) -> None:
        """A spawn item that was read for something else."""
        if not parent_of(process, self._messenger):
            self._known[process.id] = process.address

    async def of(self, process_id: str) -> str:
        """The address of the wallet that this process belongs to."""
        wallet = self._known.get(process_id)
        if wallet is None:
            wallet = self._known[process_id] = await self._search(process_id)
        return wallet

    async def _search(self, process_id: str) -> str:
        for _ in range(limits.SPAWN_CHAIN_MAX):
            if wallet := self._known.get(process_id):
                return wallet
            item = await self._item_of(process_id)
            if item is None:
                break
            parent = parent_of(item, self._messenger)
            if not parent:
                return item.address
            process_id = parent
        return self._messenger
