"""How much a process, and the wallet that it belongs to, may send on in a time: what ends a message bomb.

Where in a message's journey: before an outbox is pushed, by the actor that evaluated it and by the gateway
that pushes the rest; each of them counts for itself. An entry of an outbox takes one token of its process and
one of the wallet. Where there are too few nothing of the outbox is sent now: it stays in the store as it is,
`GET /outbox/{process}` shows it as pending, and the gateway's next scan comes back to it.

Invariants: within any time t a process (and a wallet) sends on at most `burst + rate * t`, so a chain that
feeds itself goes on at the rate and not faster; nothing is lost and nothing changes its order. Memory is
bounded. An outbox of more entries than a burst holds costs a burst: it goes out whole, once.
"""

from __future__ import annotations

from collections.abc import Callable

from aoray import limits
from aoray.settings import Settings
from aoray.util.bounded_dict import BoundedDict
from aoray.util.rates import rates_of


class PushQuota:
    """The push quotas of one actor or one gateway, by the rates of the settings. Used from one thread."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._processes = rates_of(settings.push_rate_per_process, settings.push_burst_seconds)
        self._wallets = rates_of(settings.push_rate_per_wallet, settings.push_burst_seconds)
        self._until: BoundedDict[str, float] = BoundedDict(limits.PUSH_HELD_PROCESSES_MAX)
        self.held_total = 0

    def take(self, process_id: str, wallet: str, entries: int) -> bool:
        """Return whether an outbox of so many entries may be sent now, and count it if so."""
        now_s = self._clock()
        buckets = [
            (rates, key)
            for rates, key in ((self._processes, process_id), (self._wallets, wallet))
            if rates is not None
        ]
        wait_s = max((rates.wait_s(key, now_s, entries) for rates, key in buckets), default=0.0)
        if wait_s:
            self._until[process_id] = now_s + wait_s
            self.held_total += 1
            return False
        for rates, key in buckets:
            rates.take(key, now_s, entries)
        self._until.pop(process_id)
        return True

    def held_s(self, process_id: str) -> float:
        """Return the seconds that a process still waits for its quota; until then its other outboxes need
        not be read."""
        return max(0.0, (self._until.get(process_id) or 0.0) - self._clock())

    def held(self) -> dict[str, float]:
        """Return the processes that wait, each with the seconds until its first entry may be sent."""
        waits = ((process_id, self.held_s(process_id)) for process_id, _ in self._until.items())
        return {process_id: wait_s for process_id, wait_s in waits if wait_s}
