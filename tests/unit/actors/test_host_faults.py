"""A fault of the machine is never a result (guarantee G10): every place where evaluation touches the machine
fails, once and for a while, under load, and over a restart; the results are those of a run without faults,
byte for byte.

Faults are put in where Python calls the system, or are real (address space, memory, a small disk). The
processes count, trap, run out of compute, grow their memory and ask the calendar; they are checkpointed,
hibernate and wake meanwhile.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import itertools
import os
import resource
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from actor_rig import GUEST, House, module_item
from ordering import message
from polling import until

from aoray import limits
from aoray.actors import evaluation, process_actor
from aoray.actors.process_actor import ProcessActor
from aoray.errors import BadSignature, ClientError, MalformedInput, NotFound, TooLarge, Unavailable
from aoray.storage import results
from aoray.storage.files import LocalFiles
from aoray.storage.log_reader import LogReader
from aoray.storage.results import Results
from aoray.util.backoff import Backoff
from aoray.vm.wasm import calendar, instance, memory, native

pytestmark = pytest.mark.long

GROWING = module_item(bytes(wasmtime.wat2wasm(Path(__file__).with_name("growing.wat").read_text())))
LIMITED = ("Compute-Limit", "3000000")
ECHO_SAYS = ("a", "!", "@", "b", "~", "c", "!", "d")
GROWING_SAYS = ("a", "%", "b", "!", "c", "%", "d", "e")
LAST = 2 * len(ECHO_SAYS)
SECONDS_MAX = 60
PATTERNS = {"once": range(1, 2), "at first": range(1), "for a while": range(2, 9)}


class Failing:
    """Says of the calls of a place which ones fail."""

    def __init__(self, calls: range) -> None:
        self.calls = calls
        self.seen = 0

    def __call__(self) -> bool:
        self.seen += 1
        return self.seen - 1 in self.calls

    @property
    def happened(self) -> bool:
        return self.seen > self.calls.start

    def raising(self, function: Callable[..., Any], error: Callable[[], Exception]) -> Callable[..., Any]:
        """The function, which raises when it is to fail."""

        def called(*arguments: Any, **named: Any) -> Any:
            if self():
                raise error()
            return function(*arguments, **named)

        return called

    def awaited(
        self, function: Callable[..., Awaitable[Any]], error: Callable[[], Exception]
    ) -> Callable[..., Any]:
        async def called(*arguments: Any) -> Any:
            if self():
                raise error()
            return await function(*arguments)

        return called

    def limiting(self, function: Callable[..., Any], kind: int, room: int) -> Callable[..., Any]:
        """The function, with hardly more than it has of something when it is to fail."""

        def called(*arguments: Any) -> Any:
            if not self():
                return function(*arguments)
            with limited(kind, room):
                return function(*arguments)

        return called


@contextmanager
def limited(kind: int, room: int) -> Iterator[None]:
    """This process may have little more of its address space, or of its data, than it has."""
    field = "VmSize" if kind == resource.RLIMIT_AS else "VmData"
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) * 1024
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (used + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


class Libc:
    """The C library, of which one function fails now and then."""

    def __init__(self, name: str, number: int, failing: Failing) -> None:
        self._name, self._number, self._failing = name, number, failing

    def __getattr__(self, name: str) -> Any:
        function = getattr(memory_libc, name)
        if name != self._name:
            return function

        def called(*arguments: Any) -> Any:
            if not self._failing():
                return function(*arguments)
            ctypes.set_errno(self._number)
            return 2**64 - 1 if name == "mmap" else -1

        return called


memory_libc = memory._libc
Install = Callable[[pytest.MonkeyPatch, Failing, House], None]


def raises(owner: Any, name: str, error: Callable[[], Exception]) -> Install:
    def install(patch: pytest.MonkeyPatch, failing: Failing, _: House) -> None:
        patch.setattr(owner, name, failing.raising(getattr(owner, name), error))

    return install


def system(name: str, number: int) -> Install:
    return raises(os, name, lambda: OSError(number, os.strerror(number)))


def library(name: str, number: int) -> Install:
    return lambda patch, failing, _: patch.setattr(memory, "_libc", Libc(name, number, failing))


def gateway(error: Callable[[], Exception]) -> Install:
    def install(patch: pytest.MonkeyPatch, failing: Failing, house: House) -> None:
        patch.setattr(house.arweave, "item", failing.awaited(house.arweave.item, error))

    return install


def compiler(outcome: Callable[[], Any]) -> Install:
    """What becomes of the process that compiles."""

    def install(patch: pytest.MonkeyPatch, failing: Failing, _: House) -> None:
        run = subprocess.run

        def ran(*arguments: Any, **named: Any) -> Any:
            if not failing():
                return run(*arguments, **named)
            found = outcome()
            if isinstance(found, Exception):
                raise found
            return found

        patch.setattr(subprocess, "run", ran)

    return install


def little(function: str, kind: int, room: int) -> Install:
    def install(patch: pytest.MonkeyPatch, failing: Failing, _: House) -> None:
        patch.setattr(native, function, failing.limiting(getattr(native, function), kind, room))

    return install


def ended(status: int) -> Callable[[], Any]:
    return lambda: subprocess.CompletedProcess(
        [], status, stdout="", stderr="OSError: No space left on device"
    )


def reading(patch: pytest.MonkeyPatch, failing: Failing, _: House) -> None:
    """Of compiled modules, of modules, and of checkpoints."""
    read = Path.read_bytes
    broken = failing.raising(read, lambda: OSError(errno.EIO, "broken"))

    def chosen(path: Path) -> bytes:
        evaluated = path.suffix == ".aoray" or path.parent.name in ("modules", "checkpoints")
        return bytes((broken if evaluated else read)(path))

    patch.setattr(Path, "read_bytes", chosen)


def growing(patch: pytest.MonkeyPatch, failing: Failing, _: House) -> None:
    """Of calls of a message's handler alone: they have three words."""
    call = native._call
    limiting = failing.limiting(call, resource.RLIMIT_DATA, 0)
    patch.setattr(native, "_call", lambda *given: (limiting if given[3] == 3 else call)(*given))


PLACES: dict[str, Install] = {
    "mmap": library("mmap", errno.ENOMEM),
    "madvise": library("madvise", errno.ENOMEM),
    "writing an image": library("pwrite", errno.ENOSPC),
    "asking which pages were written": library("ioctl", errno.EIO),
    "memfd": system("memfd_create", errno.EMFILE),
    "a larger image": system("ftruncate", errno.ENOSPC),
    "address space of an instance": little("_new", resource.RLIMIT_AS, 1 << 28),
    "growth of a memory": growing,
    "a store": raises(wasmtime, "Store", lambda: wasmtime.WasmtimeError("no memory")),
    "memory of Python": raises(instance, "judged", MemoryError),
    "the calendar": raises(calendar, "formatted", MemoryError),
    "the results": raises(results.SqliteConnection, "rows", lambda: Unavailable("the disk")),
    "the log": raises(LogReader, "entries", lambda: Unavailable("the disk")),
    "the spawn in the log": raises(LogReader, "process", lambda: Unavailable("the disk")),
    "a file that is written": raises(LocalFiles, "write", lambda: OSError(errno.ENOSPC, "full")),
    "a file that is read": reading,
}
COMPILING: dict[str, Install] = {
    "fork": compiler(lambda: BlockingIOError(errno.EAGAIN, "fork")),
    "time of the compiler": compiler(lambda: subprocess.TimeoutExpired([], 120)),
    "room for what is compiled": compiler(ended(1)),
    "memory of the compiler": compiler(ended(-9)),
    "room for what is to be compiled": raises(Path, "write_bytes", lambda: OSError(errno.ENOSPC, "full")),
}
GATEWAY: dict[str, Install] = {
    "the gateway says 404": gateway(lambda: NotFound("404")),
    "the gateway is down": gateway(lambda: Unavailable("503")),
    "the gateway forges": gateway(lambda: BadSignature("forged")),
    "the gateway sends another item": gateway(lambda: MalformedInput("another", field="id")),
    "the gateway sends too much": gateway(lambda: TooLarge("more than anybody takes")),
    "the gateway refuses": gateway(lambda: ClientError("403")),
}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds and checkpoints at every turn, and no long waits."""
    monkeypatch.setattr(instance, "KEPT_MESSAGES_MAX", 3)
    monkeypatch.setattr(limits, "CHECKPOINT_COSTS", 0)
    monkeypatch.setattr(limits, "REST_SECONDS", 0.0)
    monkeypatch.setattr(limits, "HIBERNATION_SCAN_SECONDS", 0.02)
    monkeypatch.setattr(process_actor, "ACTIVATION_BACKOFF", Backoff(0.001, 10.0))
    monkeypatch.setattr(evaluation, "WRITE_BACKOFF", Backoff(0.001, 0.01))


class Load:
    """Four processes with their messages in the log."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.numbers = itertools.count()
        spawned = [house.spawn(module, LIMITED) for module in (GROWING.id, GUEST.id) * 2]
        self.processes = [each.process_id for each in spawned]
        self.terms = [(each.process_id, each.work[0].term) for each in spawned]
        self.sent = spawned + self._more() + self._more()

    def _more(self) -> list[Any]:
        house, sent = self.house, []
        for say in zip(GROWING_SAYS, ECHO_SAYS, strict=True):
            for process_id, data in zip(self.processes, say * 2, strict=True):
                sent.append(house.commit(message(process_id, data=f"{data}{next(self.numbers)}".encode())))
        return sent

    async def run(self, data: Path) -> list[list[bytes]]:
        """Half of it by one actor, and all that is left by its successor; the results as they are stored."""
        for nonce in (len(ECHO_SAYS), LAST):
            actor = self.house.actor(data=data)
            if nonce == LAST:  # it is told of the processes alone, and reads their logs
                await actor.activate(self.terms)
            else:
                works = [work for sent in self.sent for work in sent.work]
                await actor.assign([work for work in works if work.entry.nonce <= nonce])
            await self.evaluated(actor, nonce)
            await actor.close()
            self.house._actors.remove(actor)
        store = Results(data / "results.sqlite")
        found = [
            [row.result for n in range(LAST + 1) if (row := store.at(each, n))] for each in self.processes
        ]
        store.close()
        return found

    async def evaluated(self, actor: ProcessActor, nonce: int) -> None:
        """Wait until all have their results up to this one, and at the end until nothing waits."""
        machine = actor._planner

        def reached(process_id: str) -> bool:
            process = machine.processes.get(process_id)
            return process_id in machine.hibernated or (process is not None and process.next_nonce > nonce)

        async with asyncio.timeout(SECONDS_MAX):
            await until(lambda: all(map(reached, self.processes)))
        assert not machine.halted


@pytest.fixture
def load(tmp_path: Path, compiled: Path, eager: None) -> Iterator[Load]:
    house = House(tmp_path, compiled, GROWING, idle_seconds_max=1, resident_processes_max=3)
    yield Load(house)


async def compared(
    load: Load, tmp_path: Path, install: Install, calls: range, compiled: Path | None = None
) -> None:
    truth = await load.run(tmp_path / "without faults")
    assert [len(each) for each in truth] == [LAST + 1] * 4
    failing = Failing(calls)
    if compiled:
        load.house._compiled = compiled
    with pytest.MonkeyPatch.context() as patch:
        install(patch, failing, load.house)
        found = await load.run(tmp_path / "with faults")
    await load.house.close()
    assert failing.happened, "nothing failed: the test tries nothing"
    assert found == truth


@pytest.mark.parametrize("calls", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_fault_of_the_machine_is_never_a_result(
    load: Load, tmp_path: Path, place: str, calls: range
) -> None:
    await compared(load, tmp_path, PLACES[place], calls)


@pytest.mark.parametrize("calls", (range(1), range(4)), ids=("once", "for a while"))
@pytest.mark.parametrize("place", COMPILING | GATEWAY)
async def test_a_module_that_cannot_be_had_or_compiled_just_now_is_waited_for(
    load: Load, tmp_path: Path, place: str, calls: range
) -> None:
    await compared(load, tmp_path, (COMPILING | GATEWAY)[place], calls, tmp_path / "compiled anew")


async def test_a_disk_that_is_full_for_a_while_changes_no_result(load: Load, tmp_path: Path) -> None:
    """A real one: everything of the actor is on a file system without room, which then gets some."""
    truth = await load.run(tmp_path / "without faults")
    small = tmp_path / "small"
    small.mkdir()
    mount("-t", "tmpfs", "-o", "size=300k", "aoray-test", str(small))
    try:
        load.house._compiled = small / "compiled"
        running = asyncio.create_task(load.run(small / "data"))
        await until(lambda: running.done() or full(small))
        mount("-o", "remount,size=64m", str(small))
        found = await running
        await load.house.close()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(small)], check=True)
    assert found == truth


def full(directory: Path) -> bool:
    """Whether something failed there for want of room: the compiler gets nothing written."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_bsize < 40_000


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"a small disk is needed, and mount (as root) says: {done.stderr.strip()}")
