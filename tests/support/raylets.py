"""A Ray cluster of several nodes on one machine: each has its raylet, its address (127.0.0.2 and up), its
ports, its Ray directory and its aoray data directory, so that nodes share nothing by accident.

    with Raylets(tmp_path) as cluster:
        cluster.head({"aoray_gateway": 1})
        cluster.join("one", {"aoray_process": 2})

Nodes are started by `ray start`, as people do; behind the head's GCS is a real Redis. What belongs to a node
is found by a mark in its environment, which its orphans have too: only such pids are ever signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import programs
from polling import wait_until

from aoray.testing.local_computer import MARK, command_of, free_ports, running, send_kill, wait_gone

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
START_SECONDS_MAX = 60.0
OBJECT_STORE_BYTES = 80 * 1024 * 1024
START = [str(RAY), "start", "--disable-usage-stats", "--num-cpus", "2", "--include-log-monitor", "false"]
START += ["--object-store-memory", str(OBJECT_STORE_BYTES)]


class Marked:
    """An OS process with all that it starts, told by a mark."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._mark = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, MARK: self._mark, "SPT_NOENV": "1"},
                start_new_session=True,
            )

    def members(self) -> list[int]:
        """The pids of all that runs for it, orphans too."""
        mark = f"{MARK}={self._mark}".encode()
        own = {self.process.pid} if self.process is not None else set()
        return [pid for pid in running() if pid in own or mark in environment_of(pid)]

    def pids(self, title: str) -> list[int]:
        """Those members whose title begins so (`ray::ShardActor`), or that run this program (`raylet`)."""
        commands = {pid: command_of(pid) for pid in self.members()}
        return [
            pid
            for pid, command in commands.items()
            if command.startswith(title) or Path(command.partition(" ")[0]).name == title
        ]

    def send(self, number: signal.Signals) -> None:
        """A signal to all of it."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when a machine loses its power."""
        while alive := self.members():
            send_kill(alive)
            wait_gone(alive, 30)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class Node(Marked):
    """One node of the cluster."""

    def __init__(self, name: str, address: str, root: Path) -> None:
        super().__init__(root / f"{name}.log")
        self.name = name
        self.address = address
        self.data = root / f"data-{name}"

    def started(self) -> None:
        """Wait until `ray start` has ended; what it started goes on."""
        assert self.process is not None
        assert self.process.wait(START_SECONDS_MAX) == 0, self.said()

    def kill_gcs(self) -> Callable[[], None]:
        """SIGKILL to the GCS; what starts it again, by the same command."""
        [pid] = self.pids("gcs_server")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        variables = [pair.partition(b"=") for pair in environment_of(pid).split(b"\0") if pair]
        os.kill(pid, signal.SIGKILL)
        assert not wait_gone([pid], 10)
        environment = {name.decode(): value.decode() for name, _, value in variables}

        def start() -> None:
            with self.log.open("ab") as log:
                subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

        return start


class Raylets:
    """The cluster: Redis, a head, and the nodes that have joined."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes: dict[str, Node] = {}
        self.port, self.redis_port = free_ports(), free_ports()
        self.scratch = Path(tempfile.mkdtemp(prefix="aoray-n-"))  # Unix sockets: a short name
        self._redis = Marked(root / "redis.log")
        token = root / "ray-token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self._password = secrets.token_hex(8)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AORAY_"))},
            **HEALTH_CHECKS,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_worker_niceness": "0",
            "RAY_external_storage_namespace": "aoray",
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests/support",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            node.kill()
        self._redis.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def address(self) -> str:
        """What `--ray-address` takes."""
        return f"127.0.0.2:{self.port}"

    def head(self, resources: Mapping[str, float], *words: str, **variables: str) -> Node:
        """Redis, and the first node with the GCS; `ray start` has these words and variables too."""
        directory = self.scratch / "redis"
        directory.mkdir()
        options = {"port": self.redis_port, "bind": "127.0.0.1", "dir": directory, "appendonly": "yes"}
        options |= {"appendfsync": "always", "requirepass": self._password}
        told = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._redis.run([programs.redis_server(), *told], self.environment)
        _until(lambda: _listens("127.0.0.1", self.redis_port), self._redis)
        own = [*words, "--head", "--include-dashboard", "false", "--port", str(self.port)]
        own += ["--redis-password", self._password]
        variables |= {"RAY_REDIS_ADDRESS": f"127.0.0.1:{self.redis_port}"}
        node = self._start("head", own, resources, **variables)
        node.started()
        return node

    def join(self, resources: Mapping[str, float]) -> Node:
        """One node more; it is there when `started` returns."""
        return self._start(f"node-{len(self.nodes)}", ["--address", self.address], resources)

    def logs(self, node: Node) -> Path:
        """Ray's logs of a node."""
        [session] = [each for each in (self.scratch / node.name).glob("session_*") if not each.is_symlink()]
        return session / "logs"

    def _start(self, name: str, own: list[str], resources: Mapping[str, float], **variables: str) -> Node:
        number = len(self.nodes) + 2
        node = self.nodes[name] = Node(name, f"127.0.0.{number}", self.root)
        given = {
            "--node-ip-address": node.address,
            "--temp-dir": str(self.scratch / name),
            "--resources": json.dumps(dict(resources)),
        }
        words = [word for pair in given.items() for word in pair]
        node.run([*START, *own, *words], {**self.environment, **variables, "AORAY_DATA": str(node.data)})
        return node


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 1):
            return True
    except OSError:
        return False


def _until(true: Callable[[], bool], starting: Marked) -> None:
    def so() -> bool:
        assert starting.process is not None and starting.process.poll() is None, starting.said()
        return true()

    wait_until(so, starting.said, START_SECONDS_MAX)
