"""One process's live state, and the rule that a message changes all of it or nothing.

The memory of a process lies on an **image** of it (pages.py), made by a **snapshot**. Messages that went
well since the snapshot are kept. When a message fails (trap, out of compute or memory, no readable answer,
an error that the module reports), the memory goes back to the image, the kept messages are evaluated
again, and a snapshot is taken: exactly what it was before the message, since evaluation is
deterministic. A snapshot is made when the kept messages have taken FOLD_COSTS times as long as a snapshot
takes, so snapshots cost little, and so does a failure. A dry run takes a snapshot first, and goes back to the
image after.

`state` says what a state is by hashes; `changes` and `restore` give and take as plain data what of it differs
from the module's own boot, for checkpoints. An instance at rest holds its image alone. Nothing is raised for
what a guest does. Whatever is raised means that this machine failed; from there on the instance refuses to
be used (`Unavailable`), and must be made again from the log.
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
    """One process: a module and its state. Used by one thread at a time; `close` gives the memory back."""

    supports_checkpoints = True

    def __init__(self, module: WasmModule, limits: Limits, state: Boot) -> None:
        """From a state (see `boot`)."""
        self._module, self.limits, self._images = module, limits, module.images
        self._base = state
        self._image, self._globals = state.image, state.state.globals
        self._resting = self._broken = False
        self._snapshot_ns = 1_000_000  # how long a snapshot takes, smoothed; a guess at first
        self._forget()
        self._guest = self._beside(self._image)

    @classmethod
    def boot(cls, module: WasmModule, limits: Limits) -> Self:
        """Boot a new process. The module's own boot is run once, and shared."""
        return cls(module, limits, cls.prepare(module, limits))

    @staticmethod
    def prepare(module: WasmModule, limits: Limits) -> Boot:
        """Run the module's own boot, if it was not run before; in any thread."""
        boot = module.boots.get(limits)
        if boot is None:
            while len(module.boots) >= BOOTS_MAX:
                module.boots.pop(next(iter(module.boots)), None)
            boot = module.boots[limits] = _booted(module, limits)
        return boot

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message; with an error, the state is as before."""
        outcome = self._evaluated(message, env, self.limits.fuel)
        assert outcome is not None, "it had all the fuel that it may have"
        return outcome

    def attempt(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a message if it takes no more fuel than others can wait for; else None, and nothing has
        changed; see `start`."""
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
        """Begin to evaluate a message in slices. Until the last the state is as before and may be read."""
        self._take_snapshot()
        guest = self._beside(self._image)
        return WasmSliced(guest, message, env, self.limits.fuel, self._finish, self._held_beside)

    def _held_beside(self, guest: Guest) -> int:
        """Bytes that a guest on the image has written."""
        return self._images.held(guest.base, guest.size, self._base.image)

    def _finish(self, guest: Guest, answer: GuestAnswer) -> Outcome:
        """The outcome of what was begun by `start`, and the guest's state, unless it is an error."""
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
        """Evaluate a message, and forget it."""
        return self.judged(self._dry_run(message, env, self._dry_run_fuel))

    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a message and forget it, if others can wait for so long; else None: see
        `start_dry_run`."""
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
        """Begin a dry run in slices. The process goes on meanwhile."""
        self._take_snapshot()
        guest = self._beside(self._image)
        self._images.detach(guest.base, guest.size, self._image)
        fuel = self._dry_run_fuel
        return WasmSliced(guest, message, env, fuel, lambda _, answer: self.judged(answer), self._held_beside)

    def _beside(self, image: pages.Image) -> Guest:
        """Another guest on the image."""
        guest = Guest(self._module, self.limits)
        guest.grow(image.size)
        self._images.attach(guest.base, image)
        guest.set_globals(self._globals)
        return guest

    def judged(self, answer: GuestAnswer) -> Outcome:
        """Return what an answer of the module means."""
        return judged(answer, self._module.rules)

    def memory(self) -> bytes:
        """Return the whole memory."""
        guest = self._awake()
        return ctypes.string_at(guest.base, guest.size)

    def held(self) -> int:
        """Return the bytes of memory that the process takes, beside what it shares with others; it takes
        20 to 100 µs."""
        return self._images.held(self._guest.base, self._guest.size, self._image)

    @property
    def boot_id(self) -> str:
        """The id of what `changes` are counted from: the same for all that can restore them."""
        return self._base.id

    @property
    def boot_state(self) -> State:
        """The state that `changes` are counted from: the module's, just booted."""
        return self._base.state

    def state(self) -> State:
        """Return the present state, as hashes of its pages."""
        self._take_snapshot()
        return _state(self._image, self._globals, self._base.state.pages)

    def state_hash(self) -> str:
        """Return SHA-256 over the whole state; equal states have equal hashes, however they came about."""
        return self.state().hash

    def changes(self, offsets: Sequence[int]) -> Changes:
        """Return the state as those pages (see `State.differing`), each as it differs from the module's
        boot."""
        self._take_snapshot()
        data = pages.differing(self._image, self._base.image, offsets)
        return Changes(self._image.size, self._globals, tuple(offsets), data)

    def restore(self, changes: Changes) -> None:
        """Become the state that all its `changes` from the boot make (with the same `boot_id`)."""
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
        """Hold as little memory as can be, until the next message; it costs a fraction of a millisecond, and
        some of them if much of the memory has changed."""
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
        """Give back the memory and the image."""
        self._guest.close()
        if not self._image.shared:
            self._image.close()

    def _bring(self) -> None:
        """The guest, whose memory has the image's size, to the image."""
        self._images.attach(self._guest.base, self._image)
        self._guest.set_globals(self._globals)
        self._resting = False

    def _renew(self) -> None:
        """A memory cannot shrink: a new guest in place of one that grew."""
        self._guest, old = self._beside(self._image), self._guest
        self._resting = False
        old.close()

    def _awake(self) -> Guest:
        """The guest, with all of its memory."""
        self._check()
        if self._resting:
            try:
                self._roll_back()
            except BaseException:
                self._broken = True
                raise
        return self._guest

    def _check(self) -> None:
        """After a fault nobody knows how much of the memory and of its image is as it was."""
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
        """Bring the image up to the present state."""
        self._check()
        if not self._kept:
            return
        started = perf_counter_ns()
        guest = self._guest
        try:
            self._become(self._images.snapshot(guest.base, guest.size, self._image), guest.globals())
        except BaseException:  # what the snapshot was to hold may be half written
            self._broken = True
            raise
        self._forget()
        self._snapshot_ns = (3 * self._snapshot_ns + perf_counter_ns() - started) // 4

    def _roll_back(self) -> None:
        """Go back to the image. A memory cannot shrink: if it grew, the guest is made again."""
        guest = self._guest
        if guest.size == self._image.size:
            self._images.roll_back(guest.base, self._image)
            guest.set_globals(self._globals)
            self._resting = False
        else:
            self._renew()

    def _replay(self) -> None:
        """After a rollback: evaluate the kept messages again, and take a snapshot."""
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
    """`beneath` are the pages of the shared image that a partial one lies on."""
    digests = dict(beneath) if image.partial else {}
    for offset, page in image.pages():
        if page == pages.ZEROS:
            digests.pop(offset, None)
        else:
            digests[offset] = hashlib.sha256(page).digest()
    return State(image.size, globals_, digests)


def judged(answer: GuestAnswer, rules: Rules) -> Outcome:
    """Return what a module's answer means (docs/wire-contract.md §3.7)."""
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
    """The JSON of an answer. Bytes that are not UTF-8 become U+FFFD, as they do for JavaScript loaders."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return orjson.loads(data.decode(errors="replace"))
        except orjson.JSONDecodeError:
            return None
