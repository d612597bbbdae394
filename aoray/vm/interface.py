"""The interface of a virtual machine: what it offers, what it is given, and what it returns.

A virtual machine has three classes, derived from the classes here: a `Vm` makes a `Program` from the bytes of
a module, a `Program` makes an `Instance` for each process, and an `Instance` evaluates messages. Methods with
a default need not be implemented: without checkpoints, a process that left memory is evaluated again from its
first message; without slices, a message is evaluated in one go. `vm/registry.py` lists the virtual machines.

Rules for all of them: a result depends only on the module's bytes, the environment and the messages (no
clock, randomness, network, or order of a hash table). A message changes the state completely or, if its
outcome is an error, not at all. Evaluation counts fuel and ends at `Limits.fuel`; no result is larger than
`Limits.result_bytes_max`. What a program does wrong is an `Outcome`; an exception means that this machine
failed, and the process is made again from its log. A change of any result needs another Module-Format.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import orjson

from aoray.errors import NotFound, Unavailable
from aoray.vm.engines import ENGINES, NEWEST, Engine


class Vm(ABC):
    """A virtual machine. An OS process that evaluates makes one instance when the first module needs it, and
    uses it from several threads. Gateways, clients and the command line call the static methods, without an
    instance."""

    content_type: ClassVar[str] = "application/octet-stream"  # the Content-Type of the modules' items

    @abstractmethod
    def __init__(self, directory: Path) -> None:
        """Make the virtual machine, with a directory for what it keeps between runs, such as compiled code.
        The directory may not exist yet, other OS processes use it at the same time, and people may delete
        it."""

    @abstractmethod
    def load(self, module: bytes, rules: Engine, owner: str) -> Program:
        """Return the program of a module under a version of the engine. This may take seconds. `owner` is the
        address that published the module. Raises `UnsupportedModule` for what the bytes alone decide."""

    @staticmethod
    @abstractmethod
    def check(module: bytes, *, thoroughly: bool = False) -> None:
        """Raise `UnsupportedModule`, with an explanation, if no process could run these bytes: in
        milliseconds when a process is spawned, and `thoroughly` before a module is published."""

    @staticmethod
    def from_file(content: bytes, name: str) -> bytes:
        """Return the module in a file, for `aoray module publish`. A source form may be translated. Raises
        `UnsupportedModule` if the file is not a module."""
        return content


class Program(ABC):
    """A loaded module. Several threads may use it."""

    @abstractmethod
    def boot(self, limits: Limits) -> Instance:
        """Make a new process. This takes at most a millisecond if the program `is_prepared`. Raises
        `UnsupportedModule` for a program that does not start."""

    def is_prepared(self, limits: Limits) -> bool:
        """Return whether everything that `boot` needs under these limits is ready."""
        return True

    def prepare(self, limits: Limits) -> None:
        """Make ready what `boot` needs under these limits. This may take long, and is called in a thread of
        its own."""
        return

    def held(self) -> int:
        """Return the bytes of memory that the program takes, which its instances share."""
        return 0


class Instance(ABC):
    """One process: its program and its state. It is used by one thread at a time."""

    supports_checkpoints: ClassVar[bool] = False
    """Whether the members from `boot_id` to `restore` work. If not, a process that wakes is evaluated from
    its first message, and neither attestations nor `aoray verify` have hashes of its state."""
    limits: Limits

    @abstractmethod
    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message and change the state. `message` is JSON (docs/wire-contract.md §3.7); `env` is
        the same for all messages of a process."""

    @abstractmethod
    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message and leave the state as it was. Arguments as in `evaluate`."""

    def memory(self) -> bytes:
        """Return the whole state, for people (`GET /state`). Raises `NotFound` if the virtual machine has
        none to show."""
        raise NotFound("the virtual machine of this process has no memory to show")

    def held(self) -> int:
        """Return the bytes of memory that this process takes for itself; idle processes are unloaded by this
        figure."""
        return 0

    def compact(self) -> None:
        """Reduce the memory that the process takes until its next message."""
        return

    def close(self) -> None:
        """Release all memory."""
        return

    # Evaluation of long messages, in slices

    def attempt(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a message if that takes no longer than other processes can wait (about FUEL_AT_ONCE).
        Otherwise return None with the state unchanged; the caller then uses `start`."""
        return self.evaluate(message, env)

    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a dry run if that takes no longer than other processes can wait. Otherwise return None;
        the caller then uses `start_dry_run`."""
        return self.dry_run(message, env)

    def start(self, message: bytes, env: bytes) -> Sliced:
        """Begin to evaluate a message in slices. Until the last slice the state is unchanged and may be read.
        Raises `Unavailable` if the virtual machine has no slices."""
        raise Unavailable("this virtual machine does not evaluate in slices")

    def start_dry_run(self, message: bytes, env: bytes) -> Sliced:
        """Begin a dry run in slices, on the present state, while the process may go on. Raises `Unavailable`
        if the virtual machine has no slices."""
        raise Unavailable("this virtual machine does not evaluate in slices")

    # Checkpoints: a state as pages of UNIT bytes that differ from those after the program's boot

    @property
    def boot_id(self) -> str:
        """The id of the boot that `changes` refer to: equal for all instances that can restore them."""
        raise Unavailable("this virtual machine has no checkpoints")

    @property
    def boot_state(self) -> State:
        """The state that `changes` refer to: that of the program just after its boot."""
        raise Unavailable("this virtual machine has no checkpoints")

    def state(self) -> State:
        """Return the present state, as hashes of its pages."""
        raise Unavailable("this virtual machine has no checkpoints")

    def changes(self, offsets: Sequence[int]) -> Changes:
        """Return the state as these pages (see `State.differing`), each as the XOR with the page after
        boot."""
        raise Unavailable("this virtual machine has no checkpoints")

    def restore(self, changes: Changes) -> None:
        """Become the state in `changes`, which must be of the same `boot_id` and hold every page that differs
        from the boot."""
        raise Unavailable("this virtual machine has no checkpoints")


class Sliced(ABC):
    """An evaluation in slices of some milliseconds. It belongs to the thread that evaluates."""

    @property
    @abstractmethod
    def fuel(self) -> int:
        """The fuel that the evaluation has spent so far."""

    @abstractmethod
    def step(self) -> Outcome | None:
        """Run one more slice. Return the outcome if this was the last; the process then has the new state."""

    @abstractmethod
    def held(self) -> int:
        """Return the bytes of memory that the evaluation takes besides its process."""

    @abstractmethod
    def close(self) -> None:
        """End the evaluation where it is, and release its memory. This is called after the last slice too."""


class RejectedProgram(Instance):
    """An instance for a process that can't have one: the result of every message is the same error."""

    def __init__(self, reason: str) -> None:
        self._outcome = failed(reason, 0)

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Return the error that all messages of this process get."""
        return self._outcome

    dry_run = evaluate

    def memory(self) -> bytes:
        """Return nothing, since the process has no state."""
        return b""


class Limits(NamedTuple):
    """What one process may use. `fuel` is for each message; a unit is about one WASM instruction."""

    memory_bytes_max: int = ENGINES[NEWEST].memory_bytes_default
    fuel: int = ENGINES[NEWEST].fuel_default
    result_bytes_max: int = ENGINES[NEWEST].result_bytes_max


class State(NamedTuple):
    """A complete state: the size of the memory, the bits of the globals, and the SHA-256 of every page (of
    UNIT bytes) that is not zero, by its offset.

    Code, tables and segments can't change (vm/wasm/rewriter.py), and each message sets clock and randomness
    anew (vm/wasm/shim.py), so they are not part of the state.
    """

    memory_bytes: int
    globals: tuple[int, ...]
    pages: Mapping[int, bytes]

    @property
    def hash(self) -> str:
        """SHA-256 of the state, in hex. Equal states have equal hashes on every machine, however they were
        reached."""
        digest = hashlib.sha256(repr((self.memory_bytes, self.globals)).encode())
        for offset, page in sorted(self.pages.items()):
            digest.update(offset.to_bytes(8, "little") + page)
        return digest.hexdigest()

    def differing(self, other: State) -> list[int]:
        """Return the offsets of the pages that differ from those of the other state, sorted."""
        mine, others = self.pages, other.pages
        changed = {offset for offset, page in mine.items() if others.get(offset) != page}
        return sorted(changed | (others.keys() - mine.keys()))


UNIT = 4096


MemoryPage = tuple[int, bytes]  # offset in a memory, and UNIT bytes


class Changes(NamedTuple):
    """Pages of a state, each as the XOR with the page after boot: their offsets, and their data one after
    another; with the size of the memory and the globals."""

    memory_bytes: int
    globals: tuple[int, ...]
    offsets: tuple[int, ...]
    data: bytes


class Outcome(NamedTuple):
    """What a message did. If there is an error, `response` contains it, and is otherwise empty."""

    response: dict[str, Any]
    error: str | None
    fuel: int


OUTBOX = ("Messages", "Spawns", "Assignments")


def failed(error: str, fuel: int) -> Outcome:
    """Return the outcome of a message that failed and changed nothing."""
    return Outcome({"Error": error, "Output": "", **{name: [] for name in OUTBOX}}, error, fuel)


def outcome_of(response: object, fuel: int, rules: Engine) -> Outcome:
    """Return the outcome for the response of a program (docs/wire-contract.md §3.7): `Output` and the three
    lists of the outbox, or an `Error`. A malformed response is an error."""
    if not isinstance(response, dict):
        return failed("the module's response is not an object", fuel)
    if response.get("Error"):
        return failed(text_of(response["Error"]), fuel)
    boxes = {name: response.get(name) or [] for name in OUTBOX}
    if not all(isinstance(box, list) for box in boxes.values()):
        return failed("the module's outbox is not made of lists", fuel)
    most = rules.outbox_messages_max
    if sum(map(len, boxes.values())) > most:
        return failed(f"the module sends over {most} messages at once", fuel)
    return Outcome({"Output": "", **response, **boxes}, None, fuel)


def text_of(value: Any) -> str:
    """Return the error that a program gave as text, whatever its type."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # orjson reads deeper nesting than it writes
        return "the module's error is nested too deeply to be shown"
