"""A clock that stands still until it is told."""

from __future__ import annotations


class Clock:
    """Gives seconds, as set; who sleeps by it moves it on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
