"""A computer on several Ray nodes of one machine: a head and workers, each a raylet of its own, with the
computer's own way onto a cluster that runs already (`aoray up --ray-address`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray.testing import LocalComputer, free_ports

MEMORY_BYTES = 128 * 1024 * 1024
SCRIPT = """
import sys
from ray.cluster_utils import Cluster
nodes, port, memory = map(int, sys.argv[1:])
arguments = {"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=arguments | {"gcs_server_port": port})
for _ in range(nodes - 1):
    cluster.add_node(num_cpus=1, object_store_memory=memory)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def several_nodes(nodes: int) -> Iterator[LocalComputer]:
    """So many raylets, a process actor for each, and the computer on them; all gone at the end."""
    command = [sys.executable, "-c", SCRIPT, str(nodes), str(free_ports()), str(MEMORY_BYTES)]
    with tempfile.TemporaryDirectory(prefix="aoray-nodes-") as directory:
        computer = LocalComputer(Path(directory) / "data")
        cluster = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=computer.environment
        )
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        try:
            address = cluster.stdout.readline().decode().strip()
            computer.options = ["--ray-address", address, "--actors-per-node", str(nodes)]
            with computer:
                yield computer
        finally:
            cluster.stdin.close()
            cluster.wait(60)
