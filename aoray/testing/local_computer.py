"""A whole computer on this machine, in OS processes of its own, for tests and benchmarks that use, break and
measure it.

    with LocalComputer(tmp_path) as computer:
        httpx.get(computer.url + "/health")

Entering it runs `aoray up` on free ports, and waits until `/health` answers 200. Leaving it sends SIGINT, as
Ctrl-C does, and raises `AssertionError` if any of its processes is still alive (after ending them, so that a
failed run does not affect others). `kill` ends everything at once by SIGKILL, like a power cut; `start` then
continues with the same data.

The processes of a computer are found in /proc (Linux): children of children, the session, and a mark in the
environment, since Ray's workers outlive the daemon that was their parent.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from aoray import limits

UNITS = 5
# Neither the ports that the system assigns by itself (from 32768), nor those of Ray's workers (to 19999),
# since one of those may be taken between the check and the start.
PORTS = range(20_000, 32_000, UNITS)
HEALTH_INTERVAL_S = 0.05
MARK = "AORAY_TESTING_MARK"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def free_ports(count: int = UNITS) -> int:
    """Return the first of `count` neighbouring loopback ports on which nothing listens."""
    for _ in range(100):
        first = random.SystemRandom().choice(PORTS)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports side by side")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


class LocalComputer:
    """A whole computer on this machine, for tests: an `aoray up` in a process of its own.

    Args: data: The directory of everything that it stores. options: More arguments of `aoray up`.
    environment: More environment variables.
    """

    def __init__(
        self, data: Path, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.port = free_ports()
        self.log = data.with_name(data.name + ".log")
        self.health: Mapping[str, Any] = {}
        self.options = options
        self._mark = uuid.uuid4().hex
        # Without SPT_NOENV Ray's process titles overwrite the environment that the mark is in.
        self.environment = os.environ | {MARK: self._mark, "SPT_NOENV": "1"} | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL at which all units answer."""
        return f"http://127.0.0.1:{self.port}"

    def unit(self, offset: int) -> str:
        """Return the URL at which one unit answers alone. The offsets are: Arweave 1, messenger 2, scheduler
        3, compute unit 4."""
        return f"http://127.0.0.1:{self.port + offset}"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the computer, and wait until it accepts work. After `kill` or `stop` it continues with the
        same data and ports."""
        command = [sys.executable, "-m", "aoray", "up", "--data", str(self.data), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        self._wait_healthy(self._process)
        return self

    def whole(self) -> Self:
        """Wait until every part of the computer accepts work, whatever was done to it; start it if it does
        not run."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            return self.start()
        self._wait_healthy(self._process)
        return self

    def _wait_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + limits.START_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                process.wait(HEALTH_INTERVAL_S)
                raise AssertionError(f"aoray up ended with {process.returncode}:\n{self.said()}")
            except subprocess.TimeoutExpired:
                if (health := self._ask_health()) is not None:
                    self.health = health
                    return
        raise AssertionError(f"not ready within {limits.START_SECONDS_MAX} s:\n{self.said()}")

    def _ask_health(self) -> Mapping[str, Any] | None:
        try:
            response = httpx.get(f"{self.url}/health", timeout=5)
        except httpx.TransportError:
            return None
        return dict(response.json()) if response.status_code == httpx.codes.OK else None

    def stop(self) -> None:
        """Stop the computer by SIGINT, as Ctrl-C does. Raises `AssertionError` unless everything ends soon,
        with exit code 0."""
        if self._process is None:
            return
        process, self._process = self._process, None
        started = self.members()
        process.send_signal(signal.SIGINT)
        try:
            code: int | None = process.wait(limits.STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            code = None
        left = wait_gone([*started, *self.members()], 10.0)
        commands = [f"{pid} {command_of(pid)}" for pid in left]
        if left or code is None:
            self._process = process
            self.kill()
        assert code == 0, f"after SIGINT `aoray up` gave {code}:\n{self.said()}"
        assert not left, f"left behind after SIGINT: {commands}"

    def ended(self, seconds: float) -> int:
        """Wait until the computer ends by itself, with all its processes, and return its exit code."""
        assert self._process is not None
        started = self.members()
        code = self._process.wait(seconds)
        assert not wait_gone([*started, *self.members()], seconds)
        self._process = None
        return code

    def kill(self) -> None:
        """Kill all processes of this computer at once, by SIGKILL."""
        while alive := self.members():
            send_kill(alive)
            wait_gone(alive, limits.STOP_SECONDS_MAX)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def members(self) -> list[int]:
        """Return the pids of all processes of this computer."""
        processes = running()
        own = {self._process.pid} if self._process is not None else set()
        found = {p.pid for p in processes.values() if p.pid in own or p.session in own or self._marked(p.pid)}
        while more := {p.pid for p in processes.values() if p.parent in found and p.pid not in found}:
            found |= more
        return sorted(found & processes.keys())

    def _marked(self, pid: int) -> bool:
        return f"{MARK}={self._mark}".encode() in _read(pid, "environ")

    def actors(self, kind: str) -> list[int]:
        """Return the pids of the Ray actors of a class: `ProcessActor`, `ShardActor`, `GatewayActor`."""
        return [pid for pid in self.members() if command_of(pid).startswith(f"ray::{kind}")]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds that each living part (`ProcessActor`, `raylet`, …) has used so far."""
        processes = running()
        found: defaultdict[str, float] = defaultdict(float)
        for pid in self.members():
            if pid in processes:
                found[part_of(command_of(pid))] += processes[pid].cpu_seconds
        return found

    def memory_bytes(self) -> dict[str, int]:
        """Return the bytes of memory of each living part: its share of pages (PSS, without shared memory,
        which is Ray's object store), and the images of guests."""
        found: defaultdict[str, int] = defaultdict(int)
        for pid in self.members():
            found[part_of(command_of(pid))] += memory_of(pid)
        return found

    def ray(self) -> tuple[str, str]:
        """Return the address of the computer's Ray and its namespace there, as `aoray up` prints them once it
        is ready."""
        deadline = time.monotonic() + limits.START_SECONDS_MAX
        while (found := re.search(r"Ray +(\S+), namespace (\S+)", self.said())) is None:
            assert time.monotonic() < deadline, self.said()
            time.sleep(HEALTH_INTERVAL_S)
        return found[1], found[2]

    def said(self, characters: int = 4000) -> str:
        """Return the end of what the computer printed."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


class Running(NamedTuple):
    """One line of the process table, without zombies."""

    pid: int
    parent: int
    session: int
    cpu_seconds: float


def running() -> dict[int, Running]:
    """Return the process table, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            fields = _read(pid, "stat").rpartition(b")")[2].split()
            if fields and fields[0] not in (b"Z", b"X"):
                cpu = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
                found[pid] = Running(pid, int(fields[1]), int(fields[3]), cpu)
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process (Ray's actors are named `ray::Class`); '' if it is gone."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def memory_of(pid: int) -> int:
    """Return the bytes of memory of a process (see `LocalComputer.memory_bytes`); 0 if it is gone."""
    lines = (line.split() for line in _read(pid, "smaps_rollup").splitlines())
    held = {line[0]: int(line[1]) for line in lines if line[0].startswith(b"Pss_")}
    return 1024 * (held.get(b"Pss_Anon:", 0) + held.get(b"Pss_File:", 0)) + _images(pid)


def _images(pid: int) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(file.readlink()).startswith("/memfd:aoray-image"):
                    size += file.stat().st_blocks * 512
    return size


def part_of(command: str) -> str:
    """Return the part of a computer to which a command line belongs: the class of a Ray actor, or the module
    or program."""
    title = command.partition(" ")[0]
    if title.startswith("ray::"):
        return title.removeprefix("ray::").partition(".")[0]
    program = Path(title).name
    if not program.startswith("python"):  # the raylet has Python scripts among its arguments
        return program
    if " -m " in command:
        return command.partition(" -m ")[2].split()[0]
    scripts = (Path(word).name for word in command.split() if word.endswith(".py"))
    return next(scripts, program)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def send_kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to these processes; those that are gone already are skipped."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_gone(pids: Iterable[int], seconds: float) -> list[int]:
    """Wait until these processes have ended, and return those that have not within `seconds`."""
    deadline = time.monotonic() + seconds
    return [pid for pid in dict.fromkeys(pids) if not _ended(pid, deadline)]


def _ended(pid: int, deadline: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()  # `select` takes no descriptor beyond 1,023
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(handle)
