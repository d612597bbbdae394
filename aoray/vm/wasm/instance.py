"""A WASM process: its live state, and the rule that a message changes all of the state or nothing.

The memory of a process is mapped over an **image** of it (pages.py), made by a **snapshot**. Messages that
succeeded since the snapshot are kept. When a message fails (trap, out of compute or memory, unreadable
answer, or an error that the module reports), the memory goes back to the image, the kept messages are
evaluated again, and a new snapshot is taken. This gives exactly the state before the message, since
evaluation is deterministic. A snapshot is taken once the kept messages took SNAPSHOT_COSTS times as long as a
snapshot takes, so neither snapshots nor failures cost much. A dry run takes a snapshot first, and goes back
to the image afterwards.

`state` gives the state as hashes; `changes` and `restore` give and take the difference from the module's boot
as plain data, for checkpoints. An idle, compacted instance takes only the memory of its image. A guest's
faults raise nothing. Any exception means that this machine failed; after that the instance refuses to be used
(`Unavailable`), and must be made again from the log.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Self

import orjson

from aoray.errors import Unavailable
from aoray.limits import BOOTS_MAX, FUEL_AT_ONCE, FUEL_DRY_RUN_MAX, KEPT_BYTES_MAX, KEPT_MESSAGES_MAX
from aoray.vm.engines import Engine as Rules
from aoray.vm.interface import Changes, Instance, Limits, Outcome, State, failed, outcome_of, text_of
from aoray.vm.wasm import pages
from aoray.vm.wasm.guest import Guest, GuestAnswer
from aoray.vm.wasm.native import OUT_OF_FUEL
from aoray.vm.wasm.sliced import WasmSliced

if TYPE_CHECKING:
    from aoray.vm.wasm.engine import Boot, WasmModule

SNAPSHOT_COSTS = 20


class WasmInstance(Instance):
    """One process: a module and its state. It is used by one thread at a time; `close` releases its
    memory."""

    supports_checkpoints = True

    def __init__(self, module: WasmModule, limits: Limits, state: Boot) -> None:
        """Start from the state of the module after boot (see `boot`)."""
        self._module, self.limits, self._images = module, limits, module.images
        self._base = state
        self._image, self._globals = state.image, state.state.globals
        self._resting = self._broken = False
        self._snapshot_ns = 1_000_000  # how long a snapshot takes, smoothed; a guess at first
        self._forget()
        self._guest = self._beside(self._image)

    @classmethod
    def boot(cls, module: WasmModule, limits: Limits) -> Self:
        """Make a new process. The module's own boot runs once, and all processes share it."""
        return cls(module, limits, cls.prepare(module, limits))

    @staticmethod
    def prepare(module: WasmModule, limits: Limits) -> Boot:
        """Boot the module under these limits, unless that was done before. Any thread may call this."""
        boot = module.boots.get(limits)
        if boot is None:
            while len(module.boots) >= BOOTS_MAX:
                module.boots.pop(next(iter(module.boots)), None)
            boot = module.boots[limits] = _booted(module, limits)
        return boot

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message. If the outcome is an error, the state is unchanged."""
        outcome = self._evaluated(message, env, self.limits.fuel)
        assert outcome is not None, "it had all the fuel that it may have"
        return outcome

    def attempt(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a message if it takes no more fuel than other processes can wait for. Otherwise return
        None with the state unchanged; the caller then uses `start`."""
        return self._evaluated(message, env, min(self.limits.fuel, FUEL_AT_ONCE))

    def _evaluated(self, message: bytes, env: bytes, fuel: int) -> Outcome | None:
        started = perf_counter_ns()
        guest = self._awake()
        try:
            answer = guest.answer(message, env, fuel)
            if answer.error == OUT_OF_FUEL and fuel < self.limits.fuel:
                self._roll_back()
                self._replay()
                return None
            outcome = self.judged(answer)
            if outcome.error is not None:
                self._roll_back()
                self._replay()
                return outcome
        except BaseException:
            self._broken = True
            raise
        self._kept.append((message, env))
        self._kept_bytes += len(message) + len(env)
        self._kept_ns += perf_counter_ns() - started
        if self._snapshot_is_due():
            self._take_snapshot()
        return outcome

    def start(self, message: bytes, env: bytes) -> WasmSliced:
        """Begin to evaluate a message in slices. Until the last slice the state is unchanged and may be
        read."""
        self._take_snapshot()
        guest = self._beside(self._image)
        return WasmSliced(guest, message, env, self.limits.fuel, self._finish, self._held_beside)

    def _held_beside(self, guest: Guest) -> int:
        """Return the bytes that a guest mapped over the image has written."""
        return self._images.held(guest.base, guest.size, self._base.image)

    def _finish(self, guest: Guest, answer: GuestAnswer) -> Outcome:
        """Return the outcome of an evaluation in slices, and take over the guest's state unless it is an
        error."""
        try:
            outcome = self.judged(answer)
            if outcome.error is None:
                self._become(self._images.snapshot(guest.base, guest.size, self._image), guest.globals())
                self._renew()
            return outcome
        except BaseException:
            self._broken = True
            raise

    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message and leave the state as it was."""
        return self.judged(self._dry_run(message, env, self._dry_run_fuel))

    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a dry run if it takes no more fuel than other processes can wait for. Otherwise return
        None; the caller then uses `start_dry_run`."""
        fuel = min(self._dry_run_fuel, FUEL_AT_ONCE)
        answer = self._dry_run(message, env, fuel)
        return None if answer.error == OUT_OF_FUEL and fuel < self._dry_run_fuel else self.judged(answer)

    def _dry_run(self, message: bytes, env: bytes, fuel: int) -> GuestAnswer:
        self._take_snapshot()
        guest = self._awake()
        try:
            answer = guest.answer(message, env, fuel)
            self._roll_back()
        except BaseException:
            self._broken = True
            raise
        return answer

    @property
    def _dry_run_fuel(self) -> int:
        return min(self.limits.fuel, FUEL_DRY_RUN_MAX)

    def start_dry_run(self, message: bytes, env: bytes) -> WasmSliced:
        """Begin a dry run in slices, on the present state, while the process may go on."""
        self._take_snapshot()
        guest = self._beside(self._image)
        self._images.detach(guest.base, guest.size, self._image)
        fuel = self._dry_run_fuel
        return WasmSliced(guest, message, env, fuel, lambda _, answer: self.judged(answer), self._held_beside)

    def _beside(self, image: pages.Image) -> Guest:
        """Return another guest whose memory is the image."""
        guest = Guest(self._module, self.limits)
        guest.grow(image.size)
        self._images.attach(guest.base, image)
        guest.set_globals(self._globals)
        return guest

    def judged(self, answer: GuestAnswer) -> Outcome:
        """Return the outcome for an answer of the module."""
        return judged(answer, self._module.rules)

    def memory(self) -> bytes:
        """Return the whole memory."""
        guest = self._awake()
        return ctypes.string_at(guest.base, guest.size)

    def held(self) -> int:
        """Return the bytes of memory that the process takes besides what it shares with others. The call
        takes 20 to 100 µs."""
        return self._images.held(self._guest.base, self._guest.size, self._image)

    @property
    def boot_id(self) -> str:
        """The id of the boot that `changes` refer to: equal for all instances that can restore them."""
        return self._base.id

    @property
    def boot_state(self) -> State:
        """The state that `changes` refer to: that of the module just after its boot."""
        return self._base.state

    def state(self) -> State:
        """Return the present state, as hashes of its pages."""
        self._take_snapshot()
        return _state(self._image, self._globals, self._base.state.pages)

    def state_hash(self) -> str:
        """Return the SHA-256 of the whole state, in hex. Equal states have equal hashes, however they were
        reached."""
        return self.state().hash

    def changes(self, offsets: Sequence[int]) -> Changes:
        """Return the state as these pages (see `State.differing`), each as the XOR with the page after
        boot."""
        self._take_snapshot()
        data = pages.differing(self._image, self._base.image, offsets)
        return Changes(self._image.size, self._globals, tuple(offsets), data)

    def restore(self, changes: Changes) -> None:
        """Become the state in `changes`, which must be of the same `boot_id` and hold every page that differs
        from the boot."""
        try:
            self._become(self._images.build(self._base.image, changes), changes.globals)
            self._forget()
            if self._guest.size <= self._image.size:
                self._guest.grow(self._image.size)
                self._bring()
            else:
                self._renew()
        except BaseException:
            self._broken = True
            raise

    def compact(self) -> None:
        """Take as little memory as possible until the next message. The call takes a fraction of a
        millisecond, or some milliseconds if much of the memory has changed."""
        self._take_snapshot()
        if not self._resting:
            try:
                image = self._images.compact(self._guest.base, self._image, self._base.image)
            except BaseException:
                self._broken = True
                raise
            self._become(image, self._globals)
            self._resting = True

    def close(self) -> None:
        """Release the memory and the image."""
        self._guest.close()
        if not self._image.shared:
            self._image.close()

    def _bring(self) -> None:
        """Bring the guest, whose memory has the size of the image, to the image."""
        self._images.attach(self._guest.base, self._image)
        self._guest.set_globals(self._globals)
        self._resting = False

    def _renew(self) -> None:
        """Replace a guest whose memory grew by a new guest, since a memory can't shrink."""
        self._guest, old = self._beside(self._image), self._guest
        self._resting = False
        old.close()

    def _awake(self) -> Guest:
        """Return the guest, with all of its memory."""
        self._check()
        if self._resting:
            try:
                self._roll_back()
            except BaseException:
                self._broken = True
                raise
        return self._guest

    def _check(self) -> None:
        """Raise `Unavailable` after a fault of this machine, since memory and image may be in any state."""
        if self._broken:
            raise Unavailable("an instance in which this machine failed is not used again")

    def _forget(self) -> None:
        self._kept: list[tuple[bytes, bytes]] = []
        self._kept_bytes = self._kept_ns = 0

    def _snapshot_is_due(self) -> bool:
        full = len(self._kept) >= KEPT_MESSAGES_MAX or self._kept_bytes >= KEPT_BYTES_MAX
        return full or self._kept_ns > SNAPSHOT_COSTS * self._snapshot_ns

    def _become(self, image: pages.Image, globals_: tuple[int, ...]) -> None:
        if image is not self._image and not self._image.shared:
            self._image.close()
        self._image, self._globals = image, globals_

    def _take_snapshot(self) -> None:
        """Update the image to the present state."""
        self._check()
        if not self._kept:
            return
        started = perf_counter_ns()
        guest = self._guest
        try:
            self._become(self._images.snapshot(guest.base, guest.size, self._image), guest.globals())
        except BaseException:  # the image may be partly written
            self._broken = True
            raise
        self._forget()
        self._snapshot_ns = (3 * self._snapshot_ns + perf_counter_ns() - started) // 4

    def _roll_back(self) -> None:
        """Go back to the image. If the memory grew, the guest is made again, since a memory can't shrink."""
        guest = self._guest
        if guest.size == self._image.size:
            self._images.roll_back(guest.base, self._image)
            guest.set_globals(self._globals)
            self._resting = False
        else:
            self._renew()

    def _replay(self) -> None:
        """After a rollback, evaluate the kept messages again, and take a snapshot."""
        for message, env in self._kept:
            error = judged(self._guest.answer(message, env), self._module.rules).error
            if error is not None:
                raise Unavailable("a message that succeeded fails when it is evaluated again", reason=error)
        self._take_snapshot()


def _booted(module: WasmModule, limits: Limits) -> Boot:
    guest = Guest(module, limits)
    try:
        guest.boot()
        image = module.images.capture(guest.base, guest.size)
        return module.booted(limits, image, _state(image, guest.globals(), {}))
    finally:
        guest.close()


def _state(image: pages.Image, globals_: tuple[int, ...], beneath: Mapping[int, bytes]) -> State:
    """Return the state of an image. `beneath` are the hashes of the pages of the shared image under a partial
    image."""
    digests = dict(beneath) if image.partial else {}
    for offset, page in image.pages():
        if page == pages.ZEROS:
            digests.pop(offset, None)
        else:
            digests[offset] = hashlib.sha256(page).digest()
    return State(image.size, globals_, digests)


def judged(answer: GuestAnswer, rules: Rules) -> Outcome:
    """Return the outcome for the answer of a module (docs/wire-contract.md §3.7)."""
    if answer.error is not None:
        return failed(answer.error, answer.fuel)
    result = _parsed(answer.data)
    if not isinstance(result, dict) or "ok" not in result:
        return failed("the module's answer is not JSON with ok and response", answer.fuel)
    response = result.get("response")
    if not result["ok"]:
        return failed(text_of(response) or "the module answers that it failed", answer.fuel)
    return outcome_of(response, answer.fuel, rules)


def _parsed(data: bytes) -> Any:
    """Return the JSON of an answer. Bytes that are not UTF-8 become U+FFFD, as they do in JavaScript
    loaders."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return orjson.loads(data.decode(errors="replace"))
        except orjson.JSONDecodeError:
            return None
