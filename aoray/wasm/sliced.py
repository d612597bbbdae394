"""A message that takes long, evaluated in slices, beside the process that it is for.

The guest of a slice is one of its own, on the image of its process (instance.py), so the process's own guest
keeps the state from before: dry runs on it go on, and a message that is given up leaves nothing to undo. The
guest runs on a stack of its own and is left at any of its fuel checks; which ones they are changes neither
what it does nor the fuel that it takes.
"""

from __future__ import annotations

from aoray.wasm.guest import Answer, Guest


class Sliced:
    """One evaluation under way. For the thread that evaluates, as its process is."""

    def __init__(self, guest: Guest, message: bytes, env: bytes, fuel: int) -> None:
        self.guest, self.fuel_max = guest, fuel
        self._slices = guest.answer_in_slices(message, env, fuel)
        self._left = fuel

    @property
    def fuel(self) -> int:
        """What it has spent."""
        return self.fuel_max - self._left

    def step(self) -> Answer | None:
        """One slice more; the answer, once it is there."""
        try:
            next(self._slices)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        self._left = self.guest.fuel()
        return None

    def close(self) -> None:
        """End it where it is, and give its memory back."""
        self._slices.close()
        self.guest.close()
