"""What every virtual machine offers, what it is given, and what it gives back.

A virtual machine is three classes, derived from those here: a `Vm` makes a `Program` of a module's bytes, a
`Program` makes an `Instance` for each process, and an `Instance` evaluates messages. What has a default below
need not be written: without checkpoints a process that was let go is evaluated again from its first message,
without slices a message is evaluated in one go. `vm/registry.py` lists them all.

What holds for all of them: a result depends on the module's bytes, the environment and the messages alone
(no clock, no chance, no network, no order of a hash table). A message changes all of the state or, if its
outcome is an error, nothing. Evaluation ends: it counts fuel, and stops at `Limits.fuel`; no result is larger
than `Limits.result_bytes_max`. What a program does wrong is an `Outcome`; what is raised means that this
machine failed, and the process is made again from its log. Changing any result needs another Module-Format.
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
    """A virtual machine. An OS process that evaluates makes one when the first module needs it, and uses it
    from several threads. The static methods are called where nothing is evaluated: at gateways, by clients
    and on the command line."""

    content_type: ClassVar[str] = "application/octet-stream"  # of modules, as their item says

    @abstractmethod
    def __init__(self, directory: Path) -> None:
        """With a directory for what it keeps from start to start, such as compiled code; it may not be there
        yet, other OS processes use it at the same time, and people may delete it."""

    @abstractmethod
    def load(self, module: bytes, rules: Engine, owner: str) -> Program:
        """Return the program of a module, under a version of the engine. Raises `UnsupportedModule` for
        what the bytes alone decide. It may take seconds. `owner` published the module."""

    @staticmethod
    @abstractmethod
    def check(module: bytes, *, thoroughly: bool = False) -> None:
        """Raise `UnsupportedModule`, in words, if no process could run these bytes: in milliseconds as a
        process is spawned, and thoroughly before they are published."""

    @staticmethod
    def from_file(content: bytes, name: str) -> bytes:
        """Return the module in a file, for `aoray module publish`. A form for people may be translated. What
        is not a module raises `UnsupportedModule`."""
        return content


class Program(ABC):
    """A module, loaded; it may be used by several threads."""

    @abstractmethod
    def boot(self, limits: Limits) -> Instance:
        """Boot a new process. It takes a millisecond at most, if it `is_prepared`; raises
        `UnsupportedModule` for a program that does not start."""

    def is_prepared(self, limits: Limits) -> bool:
        """Return whether everything that `boot` needs is at hand."""
        return True

    def prepare(self, limits: Limits) -> None:
        """Have at hand what `boot` needs, however long that takes. It is called in a thread of its own."""
        return

    def held(self) -> int:
        """Bytes of memory that it takes, and that its instances share."""
        return 0


class Instance(ABC):
    """One process: its program and its state. It is used by one thread at a time."""

    supports_checkpoints: ClassVar[bool] = False
    """Whether the last five members are there. If not, a process that wakes is evaluated from its first
    message, and neither attestations nor `aoray verify` know a hash of its state."""
    limits: Limits

    @abstractmethod
    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message (JSON: docs/wire-contract.md §3.7); `env` is the same for all of a process."""

    @abstractmethod
    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        """Evaluate a message, and leave the state as it was."""

    def memory(self) -> bytes:
        """Return the whole state, for people (`GET /state`)."""
        raise NotFound("the virtual machine of this process has no memory to show")

    def held(self) -> int:
        """Bytes of memory that the process takes for itself: by them idle ones are let go."""
        return 0

    def compact(self) -> None:
        """Hold less memory until the next message."""
        return

    def close(self) -> None:
        """Give everything back."""
        return

    # What takes long, in slices

    def attempt(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a message if it takes no longer than others can wait for (about FUEL_AT_ONCE); else None,
        and nothing has changed: `start` follows."""
        return self.evaluate(message, env)

    def attempt_dry_run(self, message: bytes, env: bytes) -> Outcome | None:
        """Evaluate a dry run as `attempt` evaluates a message; `start_dry_run` is for those that take
        longer."""
        return self.dry_run(message, env)

    def start(self, message: bytes, env: bytes) -> Sliced:
        """Begin to evaluate in slices. Until the last the state is as before, and may be read."""
        raise Unavailable("this virtual machine does not evaluate in slices")

    def start_dry_run(self, message: bytes, env: bytes) -> Sliced:
        """Begin a dry run in slices, on the state as it is now. The process goes on meanwhile."""
        raise Unavailable("this virtual machine does not evaluate in slices")

    # Checkpoints: a state as pages of UNIT bytes, and as what differs from that of the program just booted

    @property
    def boot_id(self) -> str:
        """What `changes` are counted from: the same for all instances that can restore them."""
        raise Unavailable("this virtual machine has no checkpoints")

    @property
    def boot_state(self) -> State:
        """The state that `changes` are counted from: the program's, just booted."""
        raise Unavailable("this virtual machine has no checkpoints")

    def state(self) -> State:
        """Return the present state, as hashes of its pages."""
        raise Unavailable("this virtual machine has no checkpoints")

    def changes(self, offsets: Sequence[int]) -> Changes:
        """Return the state as those pages (see `State.differing`), each as its difference (XOR) from the
        boot's."""
        raise Unavailable("this virtual machine has no checkpoints")

    def restore(self, changes: Changes) -> None:
        """Become the state that all its `changes` from the boot make (with the same `boot_id`)."""
        raise Unavailable("this virtual machine has no checkpoints")


class Sliced(ABC):
    """One evaluation under way, for the thread that evaluates. Slices are milliseconds long."""

    @property
    @abstractmethod
    def fuel(self) -> int:
        """The fuel that it has spent so far."""

    @abstractmethod
    def step(self) -> Outcome | None:
        """Go on for a slice; gives the outcome, once it is there. The state is the new one then."""

    @abstractmethod
    def held(self) -> int:
        """Bytes of memory that it takes beside its process."""

    @abstractmethod
    def close(self) -> None:
        """End the evaluation where it is, and release everything; also after the last slice."""


class RejectedProgram(Instance):
    """Stands for the instance of a process that can't have one: every message's result is the same error."""

    def __init__(self, reason: str) -> None:
        self._outcome = failed(reason, 0)

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        return self._outcome

    dry_run = evaluate

    def memory(self) -> bytes:
        return b""


class Limits(NamedTuple):
    """What one process may use. Fuel is for each message; a unit is about one WASM instruction."""

    memory_bytes_max: int = ENGINES[NEWEST].memory_bytes_default
    fuel: int = ENGINES[NEWEST].fuel_default
    result_bytes_max: int = ENGINES[NEWEST].result_bytes_max


class State(NamedTuple):
    """All that a state is made of: the memory's size, the globals' bits, and the SHA-256 of every page (of
    pages.UNIT bytes) that is not zero, by its offset. Code, tables and segments cannot change
    (vm/wasm/rewriter.py); clock and chance are set again for each message (vm/wasm/shim.py)."""

    memory_bytes: int
    globals: tuple[int, ...]
    pages: Mapping[int, bytes]

    @property
    def hash(self) -> str:
        """SHA-256; equal states have equal hashes, on every machine, however they came about."""
        digest = hashlib.sha256(repr((self.memory_bytes, self.globals)).encode())
        for offset, page in sorted(self.pages.items()):
            digest.update(offset.to_bytes(8, "little") + page)
        return digest.hexdigest()

    def differing(self, other: State) -> list[int]:
        """Return the offsets of the pages that differ from the other state's."""
        mine, others = self.pages, other.pages
        changed = {offset for offset, page in mine.items() if others.get(offset) != page}
        return sorted(changed | (others.keys() - mine.keys()))


UNIT = 4096


MemoryPage = tuple[int, bytes]  # offset in a memory, and UNIT bytes


class Changes(NamedTuple):
    """Pages of a state: their offsets, and each as what differs (XOR) from the module's boot, one after
    another; and what else a state is made of."""

    memory_bytes: int
    globals: tuple[int, ...]
    offsets: tuple[int, ...]
    data: bytes


class Outcome(NamedTuple):
    """What a message did. With an error, `response` says it too, and is otherwise empty."""

    response: dict[str, Any]
    error: str | None
    fuel: int


OUTBOX = ("Messages", "Spawns", "Assignments")


def failed(error: str, fuel: int) -> Outcome:
    """Return the outcome of a message that changed nothing."""
    return Outcome({"Error": error, "Output": "", **{name: [] for name in OUTBOX}}, error, fuel)


def outcome_of(response: object, fuel: int, rules: Engine) -> Outcome:
    """Return what the response of a program means (docs/wire-contract.md §3.7): `Output`, the three lists
    of the outbox, or an `Error`. A response that is none is one."""
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
    """Return an error as text, whatever the program gave."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # deeper than orjson writes, though not than it reads
        return "the module's error is nested too deeply to be shown"
