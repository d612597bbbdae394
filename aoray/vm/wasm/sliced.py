"""A message that takes long, evaluated in slices, beside the process that it is for.

The guest of a slice is one of its own, on the image of its process (instance.py), so the process's own guest
keeps the state from before: dry runs on it go on, and a message that is given up leaves nothing to undo. The
guest runs on a stack of its own and is left at any of its fuel checks; which ones they are changes neither
what it does nor the fuel that it takes.
"""

from __future__ import annotations

from collections.abc import Callable

from aoray.vm.interface import Outcome, Sliced
from aoray.vm.wasm.guest import Guest, GuestAnswer


class WasmSliced(Sliced):
    """One evaluation under way, in slices. For the thread that evaluates, as its process is."""

    def __init__(
        self,
        guest: Guest,
        message: bytes,
        env: bytes,
        fuel: int,
        finish: Callable[[Guest, GuestAnswer], Outcome],
        held: Callable[[Guest], int],
    ) -> None:
        """`finish` makes the outcome of the guest's answer, `held` says what the guest has written."""
        self.guest, self._fuel_max = guest, fuel
        self._slices = guest.answer_in_slices(message, env, fuel)
        self._finish, self._held = finish, held
        self._left = fuel

    @property
    def fuel(self) -> int:
        """The fuel that the evaluation has spent so far."""
        return self._fuel_max - self._left

    def step(self) -> Outcome | None:
        """Run one slice more; gives the outcome, once it is there."""
        try:
            next(self._slices)
        except StopIteration as end:
            return self._finish(self.guest, end.value)
        self._left = self.guest.fuel()
        return None

    def held(self) -> int:
        """Bytes that its guest has written."""
        return self._held(self.guest)

    def close(self) -> None:
        """End the evaluation where it is, and give its memory back."""
        self._slices.close()
        self.guest.close()
