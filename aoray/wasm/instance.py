"""One process's live state, and the rule that a message changes all of it or nothing.

The memory of a process lies on an **image** of it (pages.py), made by a **fold**. Messages that went
well since the fold are kept. When a message fails (trap, out of compute or memory, no readable answer,
an error that the module reports), the memory goes back to the image, the kept messages are evaluated
again, and the state is folded: exactly what it was before the message, since evaluation is
deterministic. A fold is made when the kept messages have taken FOLD_COSTS times as long as a fold takes,
so folding costs little, and so does a failure. A dry run folds first, and goes back to the image after.

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
from typing import Any, NamedTuple, Self

import orjson

from aoray.errors import Unavailable
from aoray.limits import FUEL_AT_ONCE, FUEL_DRY_RUN_MAX, KEPT_BYTES_MAX, KEPT_MESSAGES_MAX
from aoray.protocol.engines import Engine as Rules
from aoray.wasm import pages
from aoray.wasm.engine import Boot, Limits, Module, State
from aoray.wasm.guest import Answer, Guest
from aoray.wasm.native import OUT_OF_FUEL
from aoray.wasm.pages import Changes
from aoray.wasm.sliced import Sliced

FOLD_COSTS = 20
_BOOTS_MAX = 8
_OUTBOX = ("Messages", "Spawns", "Assignments")


class Outcome(NamedTuple):
    """What a message did. With an error, `response` says it too, and is otherwise empty."""

    response: dict[str, Any]
    error: str | None
    fuel: int


class Instance:
    """One process: a module and its state. Used by one thread at a time; `close` gives the memory back."""

    def __init__(self, module: Module, limits: Limits, state: Boot) -> None:
        """From a state (see `boot`)."""
        self._module, self.limits, self._images = module, limits, module.images
        self._base = state
        self._image, self._globals = state.image, state.state.globals
        self._resting = self._broken = False
        self._fold_ns = 1_000_000  # how long a fold takes, smoothed; a guess at first
        self._forget()
        self._guest = self._beside(self._image)

    @classmethod
    def boot(cls, module: Module, limits: Limits) -> Self:
        """A new process. The module's own boot is run once, and shared."""
        return cls(module, limits, cls.prepare(module, limits))

    @staticmethod
    def prepare(module: Module, limits: Limits) -> Boot:
        """Run the module's own boot, if it was not run before; in any thread."""
        boot = module.boots.get(limits)
        if boot is None:
            while len(module.boots) >= _BOOTS_MAX:
                module.boots.pop(next(iter(module.boots)), None)
            boot = module.boots[limits] = _booted(module, limits)
        return boot

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message; with an error, the state is as before."""
        outcome = self._evaluated(message, env, self.limits.fuel)
        assert outcome is not None, "it had all the fuel that it may have"
        return outcome

    def attempt(self, message: bytes, env: bytes) -> Outcome | None:
        """The same, if it takes no more fuel than others can wait for. If it does: None, and nothing has
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
        if self._fold_is_due():
            self._fold()
        return outcome

    def start(self, message: bytes, env: bytes) -> Sliced:
        """Begin to evaluate a message in slices. Until `finish`, the state is as before and may be read."""
        self._fold()
        return Sliced(self._beside(self._image), message, env, self.limits.fuel)

    def held_beside(self, sliced: Sliced) -> int:
        """Bytes that its guest has written."""
        guest = sliced.guest
        return self._images.held(guest.base, guest.size, self._base.image)

    def finish(self, sliced: Sliced, answer: Answer) -> Outcome:
        """The outcome of what was begun by `start`, and its state, unless it is an error."""
        try:
            outcome = self.judged(answer)
            if outcome.error is None:
                guest = sliced.guest
                self._become(self._images.fold(guest.base, guest.size, self._image), guest.globals())
                self._renew()
            return outcome
        except BaseException:
            self._broken = True
            raise
        finally:
            sliced.close()

    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message, and forget it."""
        return self.judged(self._dry_run(message, env, self._dry_run_fuel))

    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None:
        """The same, if it takes no more fuel than others can wait for; None if it does: see
        `start_dry_run`."""
        fuel = min(self._dry_run_fuel, FUEL_AT_ONCE)
        answer = self._dry_run(message, env, fuel)
        return None if answer.error == OUT_OF_FUEL and fuel < self._dry_run_fuel else self.judged(answer)

    def _dry_run(self, message: bytes, env: bytes, fuel: int) -> Answer:
        self._fold()
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

    def start_dry_run(self, message: bytes, env: bytes) -> Sliced:
        """The same in slices; `judged` says what its answer means. The process goes on meanwhile."""
        self._fold()
        guest = self._beside(self._image)
        self._images.detach(guest.base, guest.size, self._image)
        return Sliced(guest, message, env, self._dry_run_fuel)

    def _beside(self, image: pages.Image) -> Guest:
        """Another guest on the image."""
        guest = Guest(self._module, self.limits)
        guest.grow(image.size)
        self._images.attach(guest.base, image)
        guest.set_globals(self._globals)
        return guest

    def judged(self, answer: Answer) -> Outcome:
        """What an answer of the module means."""
        return judged(answer, self._module.rules)

    def memory(self) -> bytes:
        """The whole memory."""
        guest = self._awake()
        return ctypes.string_at(guest.base, guest.size)

    def held(self) -> int:
        """Bytes of memory that the process takes, beside what is shared with others; 20 to 100 µs."""
        return self._images.held(self._guest.base, self._guest.size, self._image)

    @property
    def boot_id(self) -> str:
        """What `changes` are counted from: the same for all that can restore them."""
        return self._base.id

    @property
    def boot_state(self) -> State:
        """The state that `changes` are counted from: the module's, just booted."""
        return self._base.state

    def state(self) -> State:
        """The present state, as hashes of its pages."""
        self._fold()
        return _state(self._image, self._globals, self._base.state.pages)

    def state_hash(self) -> str:
        """SHA-256 over all of the state; equal states have equal hashes, however they came about."""
        return self.state().hash

    def changes(self, offsets: Sequence[int]) -> Changes:
        """The state as those pages (see `State.differing`), each as it differs from the module's boot."""
        self._fold()
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

    def rest(self) -> None:
        """Hold as little memory as can be, until the next message; it costs a fraction of a millisecond, and
        some of them if much of the memory has changed."""
        self._fold()
        if not self._resting:
            try:
                image = self._images.rest(self._guest.base, self._image, self._base.image)
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
            raise Unavailable("An instance that this machine failed in is not used any more.")

    def _forget(self) -> None:
        self._kept: list[tuple[bytes, bytes]] = []
        self._kept_bytes = self._kept_ns = 0

    def _fold_is_due(self) -> bool:
        full = len(self._kept) >= KEPT_MESSAGES_MAX or self._kept_bytes >= KEPT_BYTES_MAX
        return full or self._kept_ns > FOLD_COSTS * self._fold_ns

    def _become(self, image: pages.Image, globals_: tuple[int, ...]) -> None:
        if image is not self._image and not self._image.shared:
            self._image.close()
        self._image, self._globals = image, globals_

    def _fold(self) -> None:
        """Bring the image up to the present state."""
        self._check()
        if not self._kept:
            return
        started = perf_counter_ns()
        guest = self._guest
        try:
            self._become(self._images.fold(guest.base, guest.size, self._image), guest.globals())
        except BaseException:  # what was to be folded may be half written
            self._broken = True
            raise
        self._forget()
        self._fold_ns = (3 * self._fold_ns + perf_counter_ns() - started) // 4

    def _roll_back(self) -> None:
        """Go back to the image. A memory cannot shrink: if it grew, the guest is made anew."""
        guest = self._guest
        if guest.size == self._image.size:
            self._images.roll_back(guest.base, self._image)
            guest.set_globals(self._globals)
            self._resting = False
        else:
            self._renew()

    def _replay(self) -> None:
        """After a rollback: evaluate the kept messages again, and fold."""
        for message, env in self._kept:
            error = judged(self._guest.answer(message, env), self._module.rules).error
            if error is not None:
                raise Unavailable("A message that went well fails when it is evaluated again.", reason=error)
        self._fold()


def _booted(module: Module, limits: Limits) -> Boot:
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


def judged(answer: Answer, rules: Rules) -> Outcome:
    """What a module's answer means (wire-contract §3.7)."""
    if answer.error is not None:
        return _failed(answer.error, answer.fuel)
    result = _parsed(answer.data)
    if not isinstance(result, dict) or "ok" not in result:
        return _failed("the module's answer is not JSON with ok and response", answer.fuel)
    response = result.get("response")
    if not result["ok"]:
        return _failed(_text(response) or "the module answers that it failed", answer.fuel)
    if not isinstance(response, dict):
        return _failed("the module's response is not an object", answer.fuel)
    if response.get("Error"):
        return _failed(_text(response["Error"]), answer.fuel)
    boxes = {name: response.get(name) or [] for name in _OUTBOX}
    if not all(isinstance(box, list) for box in boxes.values()):
        return _failed("the module's outbox is not made of lists", answer.fuel)
    most = rules.outbox_messages_max
    if sum(map(len, boxes.values())) > most:
        return _failed(f"the module sends over {most} messages at once", answer.fuel)
    return Outcome({"Output": "", **response, **boxes}, None, answer.fuel)


def _parsed(data: bytes) -> Any:
    """The JSON of an answer. Bytes that are not UTF-8 become U+FFFD, as they do for JavaScript loaders."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return orjson.loads(data.decode(errors="replace"))
        except orjson.JSONDecodeError:
            return None


def _text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # deeper than orjson writes, though not than it reads
        return "the module's error is nested too deeply to be shown"


def _failed(error: str, fuel: int) -> Outcome:
    return Outcome({"Error": error, "Output": "", **{name: [] for name in _OUTBOX}}, error, fuel)
