"""A clock that stands still until it is told."""

from __future__ import annotations

TODAY = 1_700_000_000.0  # where a date is wanted


class Clock:
    """Gives seconds, as set: of no date, if none is given. Who sleeps by it moves it on."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
