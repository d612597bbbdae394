"""A whole computer on a cluster of nodes: `aoray up` on the head, and workers that come and go.

The head offers gateways only. Workers offer all: so process actors and shards are on nodes that may die.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from polling import wait_until
from postgres_server import PostgresServer
from raylets import RAY, Marked, Node, Raylets

from aoray.testing.local_computer import free_ports

GATEWAY = {"aoray_gateway": 1}
ALL = {"aoray_gateway": 1, "aoray_shard": 1, "aoray_process": 2}
SHARDS, GATEWAYS, ACTORS = 2, 2, 4
SCHEMA = "nodes"  # in PostgreSQL
SECONDS_MAX = 60.0
KINDS = ("ProcessActor", "ShardActor", "GatewayActor")


class SpreadComputer:
    """It looks to clients as a `LocalComputer` does (`url`, `unit`)."""

    def __init__(self, raylets: Raylets, postgres: PostgresServer) -> None:
        self.raylets = raylets
        self.port = free_ports()
        self.health: Mapping[str, Any] = {}
        self._postgres = postgres
        self._up = Marked(raylets.root / "up.log")

    @property
    def url(self) -> str:
        return f"http://{self.head.address}:{self.port}"

    def store(self, schema: str) -> str:
        """A schema of the PostgreSQL behind it."""
        return self._postgres.url(schema)

    def unit(self, offset: int) -> str:
        return f"http://{self.head.address}:{self.port + offset}"

    @property
    def head(self) -> Node:
        return self.raylets.nodes["head"]

    @property
    def workers(self) -> list[Node]:
        """The nodes beside the head that live."""
        return [node for node in self.raylets.nodes.values() if node is not self.head and node.pids("raylet")]

    def __enter__(self) -> Self:
        try:
            self.raylets.head(GATEWAY)
            for node in [self.raylets.join(ALL) for _ in range(2)]:
                node.started()
            self.start()
        except BaseException:
            self._up.kill()
            raise
        return self

    def start(self) -> None:
        """Run `aoray up`, and wait until all is there."""
        command = [sys.executable, "-m", "aoray", "up", "--ray-address", self.raylets.address, *self.kept]
        command += ["--host", self.head.address, "--port", str(self.port), "--shards", str(SHARDS)]
        self._up.run([*command, "--gateways", str(GATEWAYS)], self.raylets.environment)
        self.whole()

    def stop(self) -> None:
        """As by Ctrl-C."""
        assert self._up.process is not None
        self._up.process.send_signal(signal.SIGINT)
        assert self._up.process.wait(SECONDS_MAX) == 0, self._up.said()

    @property
    def kept(self) -> list[str]:
        """Where everything is that is kept, for commands."""
        return ["--store", self.store(SCHEMA), "--data", str(self.head.data)]

    def change_result(self, process: str, nonce: int, result: bytes) -> None:
        """Exchange what is stored of a slot."""
        with self._postgres.connect() as db:
            where = "WHERE process_id = %s AND nonce = %s"
            done = db.execute(f"UPDATE {SCHEMA}.results SET result = %s {where}", (result, process, nonce))
            assert done.rowcount == 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._up.kill()

    def whole(self) -> Self:
        """Wait until two workers live, have their share of the actors each, and the computer takes work."""
        while len(self.workers) < 2:
            self.raylets.join(ALL).started()
        self.until(self._is_even)
        self.until(self._is_healthy)
        return self

    def _is_even(self) -> bool:
        return all(self.count(node) == (ACTORS // 2, SHARDS // 2) for node in self.workers)

    def count(self, node: Node) -> tuple[int, int]:
        """Its process actors and shards."""
        return len(node.pids("ray::ProcessActor")), len(node.pids("ray::ShardActor"))

    def _is_healthy(self) -> bool:
        assert self._up.process is not None and self._up.process.poll() is None, self._up.said()
        try:
            answer = httpx.get(f"{self.url}/health", timeout=5)
        except httpx.TransportError:
            return False
        self.health = answer.json()
        return answer.status_code == httpx.codes.OK

    def until(self, true: Callable[[], bool]) -> None:
        wait_until(true, self._said, SECONDS_MAX)

    def _said(self) -> str:
        return f"{ {node.name: self.count(node) for node in self.workers} }, {self.health}\n{self._up.said()}"

    def said_on(self, node: Node) -> str:
        """What the actors on a node have written into their logs."""
        logs = self.raylets.logs(node).glob("worker-*.err")
        return "".join(log.read_text(errors="replace") for log in logs)

    def drain(self, node: Node) -> None:
        """What an autoscaler says before it takes a node away."""
        code = f"import ray; ray.init({self.raylets.address!r}, logging_level='ERROR', log_to_driver=False);"
        code += "print(*(n['NodeID'] for n in ray.nodes() if n['NodeManagerAddress'] == "
        code += f"{node.address!r} and n['Alive']))"
        asked = [sys.executable, "-c", code]
        environment = self.raylets.environment
        [node_id] = subprocess.run(
            asked, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
        drain = [RAY, "drain-node", "--address", self.raylets.address, "--node-id", node_id, *reason]
        subprocess.run(
            [*drain, "--deadline-remaining-seconds", "60"], env=environment, check=True, capture_output=True
        )
