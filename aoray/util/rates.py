"""Rate limits for keys (addresses, wallets, processes): token buckets. Pure: no clock, no I/O.

Each key has a bucket: `rate` tokens flow in each second, up to `burst`. A message takes one token, and if
there is none, the answer is how long to wait. Only the time when a bucket will be full again is stored (the
generic cell rate algorithm): one number.

Invariants: within any time t a key gets at most `burst + rate * t`, whatever is forgotten meanwhile. Memory
is bounded. A full bucket needs no memory. If all `keys_max` buckets are in use, the oldest is dropped, and
from then on an unknown key starts with the level of that bucket: so nobody gains by being dropped, and new
keys lose a part of their burst, for the time of a burst at most.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

from aoray import limits


class Rates:
    """Token buckets, one for each key. Times are seconds of any clock that does not go back."""

    def __init__(self, rate: float, burst: float, *, keys_max: int = limits.RATE_KEYS_MAX) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a rate is positive, and a burst holds one at least")
        self.rate = rate
        self._window_s = burst / rate
        self._keys_max = keys_max
        # By key, the least recent first. (A dict is slow to find its first after many removals.)
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._floor = -math.inf  # the level of unknown keys

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, key: str, now_s: float, tokens: float = 1) -> float:
        """Return the seconds until there are this many tokens, 0 if there are now. Nothing is taken."""
        wait_s = self._full_after(key, now_s, tokens) - now_s - self._window_s
        # Rounding may lose a part of a token, which must not cause a refusal.
        return wait_s if wait_s > 1e-9 * max(1.0, abs(now_s)) else 0.0

    def take(self, key: str, now_s: float, tokens: float = 1) -> float:
        """Take tokens and return 0, or take nothing and return the seconds until there are enough."""
        if wait_s := self.wait_s(key, now_s, tokens):
            return wait_s
        self._full_at[key] = self._full_after(key, now_s, tokens)
        self._full_at.move_to_end(key)
        self._forget(now_s)
        return 0.0

    def _full_after(self, key: str, now_s: float, tokens: float) -> float:
        """Return when the bucket will be full again if this many tokens are taken; more than a burst count as
        a burst."""
        tokens = min(tokens, self._window_s * self.rate)
        return max(self._full_at.get(key, self._floor), now_s) + tokens / self.rate

    def _forget(self, now_s: float) -> None:
        """Drop full buckets, a few at a time, and beyond the bound the oldest, which raises the level of
        unknown keys."""
        for key in list(itertools.islice(self._full_at, 2)):
            if self._full_at[key] <= now_s:
                del self._full_at[key]
        while len(self._full_at) > self._keys_max:
            self._floor = max(self._floor, self._full_at.popitem(last=False)[1])


def rates_of(rate: float, burst_seconds: float) -> Rates | None:
    """Return the buckets for a setting; None (no bound) if the rate is 0. The tokens of `burst_seconds` may
    be taken at once."""
    return Rates(rate, max(1.0, rate * burst_seconds)) if rate else None
