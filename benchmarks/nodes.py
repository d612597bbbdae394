"""A computer on several Ray nodes of one machine: a head and workers, each a raylet of its own, with the
computer's own way onto a cluster that runs already (`aoray up --ray-address`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray.testing.local_computer import LocalComputer, free_ports

MEMORY_BYTES = 128 * 1024 * 1024
SCRIPT = """
import sys
from ray.cluster_utils import Cluster
nodes, port, memory = map(int, sys.argv[2:])
head = {"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False}
head |= {"gcs_server_port": port, "temp_dir": sys.argv[1]}
cluster = Cluster(initialize_head=True, head_node_args=head)
for _ in range(nodes - 1):
    cluster.add_node(num_cpus=1, object_store_memory=memory)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
"""


@contextmanager
def several_nodes(nodes: int) -> Iterator[LocalComputer]:
    """So many raylets, a process actor for each, and the computer on them; all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="aor-nodes-", ignore_cleanup_errors=True) as directory:
        computer = LocalComputer(Path(directory) / "data")
        words = [directory + "/ray", str(nodes), str(free_ports()), str(MEMORY_BYTES)]
        cluster = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=computer.environment,  # with the mark: its CPU and memory are the computer's
        )
        assert cluster.stdout is not None
        try:
            address = cluster.stdout.readline().decode().strip()
            computer.options = ["--ray-address", address, "--actors-per-node", str(nodes)]
            yield computer.start()
        finally:
            computer.kill()
            cluster.communicate()
