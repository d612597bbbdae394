"""The evaluation of a long message in slices, beside the process that it is for.

The evaluation has a guest of its own, over the image of its process (instance.py), so the process's own guest
keeps the state before the message: dry runs use it, and if the evaluation is given up, nothing has to be
undone. The guest runs on a stack of its own and is suspended at checks of its fuel; at which ones affects
neither results nor fuel.
"""

from __future__ import annotations

from collections.abc import Callable

from aoray.vm.interface import Outcome, Sliced
from aoray.vm.wasm.guest import Guest, GuestAnswer


class WasmSliced(Sliced):
    """An evaluation in slices. Like its process it belongs to the thread that evaluates."""

    def __init__(
        self,
        guest: Guest,
        message: bytes,
        env: bytes,
        fuel: int,
        finish: Callable[[Guest, GuestAnswer], Outcome],
        held: Callable[[Guest], int],
    ) -> None:
        """`finish` makes the outcome from the guest's answer; `held` returns how many bytes the guest has
        written."""
        self.guest, self._fuel_max = guest, fuel
        self._slices = guest.answer_in_slices(message, env, fuel)
        self._finish, self._held = finish, held
        self._left = fuel

    @property
    def fuel(self) -> int:
        """The fuel that the evaluation has spent so far."""
        return self._fuel_max - self._left

    def step(self) -> Outcome | None:
        """Run one more slice. Return the outcome if this was the last."""
        try:
            next(self._slices)
        except StopIteration as end:
            return self._finish(self.guest, end.value)
        self._left = self.guest.fuel()
        return None

    def held(self) -> int:
        """Return the bytes that the guest has written."""
        return self._held(self.guest)

    def close(self) -> None:
        """End the evaluation where it is, and release its memory."""
        self._slices.close()
        self.guest.close()
